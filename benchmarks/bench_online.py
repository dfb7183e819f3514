"""
The online store beside Feast's stock SQLite and Redis stores: filling and reading, answers compared, in one run.

    python benchmarks/bench_online.py --scale 0.02     20,000 keys, under a minute
    python benchmarks/bench_online.py                  a million keys
    python benchmarks/bench_online.py --scale 10 --parts fill      ten million keys, filled only: peak memory

Ours is timed from the lake to synced bytes. Feast is timed from an Arrow table in memory to SQLite (its own
conversion and write, 5,000 rows a batch), on fewer rows, since its rate does not depend on their number.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from lifecycle.config import LakeSettings
from lifecycle.definitions import Definitions, Field, View, Window
from lifecycle.engine import settle
from lifecycle.lake import Lake, Release
from lifecycle.online import Reader, materialize, open_store
from lifecycle.online.codec import Codec
from lifecycle.online.needed import columns_of, needed

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.online_cases import PASSWORD, redis_server

START = datetime(2026, 1, 1, tzinfo=UTC)
AT = START + timedelta(days=30)
FEAST_BATCH = 5_000
OURS = "lifecycle.feast_plugin.online_store.LifecycleOnlineStore"
READS = {1: 2_000, 10: 500, 100: 100}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is a million keys")
    parser.add_argument("--parts", nargs="*", default=["fill", "read", "views", "windows"], help="what to measure")
    parser.add_argument("--features", type=int, nargs="*", default=[10, 50, 200], help="features of the read tests")
    given = parser.parse_args()
    scale, widths = given.scale, given.features
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few = int(20_000 * min(1.0, scale * 10))
        if "fill" in given.parts:
            filling(folder / "filling", int(1_000_000 * scale), few)
        for width in widths if "read" in given.parts else ():
            reading(folder / f"read{width}", width, few)
        if "views" in given.parts:
            reading(folder / "views", 50, few, views=5)
        if "windows" in given.parts:
            windows(folder / "windows")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory of this process, Feast included: {peak:.2f} GiB")


def filling(folder, keys, feast_keys):
    print(f"materialize {keys:,} keys x 10 features (Feast: {feast_keys:,} keys)")
    lake, release, table = make_lake(folder, keys, 10)
    feast = Feast(folder / "feast", table.slice(0, feast_keys), release.definitions.views)
    base = feast_keys / timed(feast.write)
    report("Feast SQLite, first", base)
    report("Feast SQLite, again", again := feast_keys / timed(feast.write))
    with redis(folder) as address:
        if address is not None:
            stock = Feast(
                folder / "feast redis", table.slice(0, feast_keys), release.definitions.views, stock_redis(address)
            )
            report("Feast Redis", feast_keys / timed(stock.write))
        for title, place in (("LMDB", folder / "lmdb"), ("Redis", address)):
            if place is None:
                print("  Redis: not installed (Debian: redis-server)")
                continue
            store = open_store(place)
            connection = lake.connect(release.snapshot)
            report(f"{title}, lake to store", keys / timed(partial(materialize, store, connection, release)), base)
            rewrite = timed(partial(write_all, store, connection, release))
            report(f"{title}, guarded rewrite of all keys", keys / rewrite, again)
            connection.close()
            store.close()


def reading(folder, width, keys, views=1):
    print(f"\nread {width} features in {views} view(s) of {keys:,} keys, median microseconds")
    lake, release, table = make_lake(folder, keys, width)
    each = width // views
    names = [f"state{at}" if views > 1 else "state" for at in range(views)]
    [whole] = release.definitions.views
    parts = [
        replace(whole, name=name, features=whole.features[at * each : (at + 1) * each]) for at, name in enumerate(names)
    ]
    release = replace(release, definitions=Definitions(tuple(parts)))
    feast = Feast(folder / "feast", table, parts)
    feast.write()
    with redis(folder) as address:
        readers = {}
        if address is not None:
            stock = Feast(folder / "feast redis", table, parts, stock_redis(address))
            stock.write()
            readers["Feast Redis"] = stock.read
        for title, place in (("LMDB", folder / "lmdb"), ("Redis", address)):
            if place is not None:
                store = open_store(place)
                connection = lake.connect(release.snapshot)
                materialize(store, connection, release)
                connection.close()
                reader = Reader(store, release.definitions, names)
                readers[title] = partial(ours, reader)
                through = {"type": OURS, "place": str(place)}
                readers[f"{title} by Feast"] = Feast(folder / f"feast {title}", table, parts, through).read
        chance = random.Random(1)
        for size, times in READS.items():
            asked = [[f"cus_{chance.randrange(keys)}" for _ in range(size)] for _ in range(times)]
            base = median(feast.read, asked[: max(20, times // 10)])
            print(f"  {size:>3} keys: Feast {base:>9,.0f}")
            for title, read in readers.items():
                assert read(asked[0]) == feast.read(asked[0]), "answers differ"
                mine = median(read, asked)
                print(f"            {title:<15} {mine:>9,.1f} ({base / mine:>5.1f} x)")


def windows(folder):
    """4 windows x 5 aggregates evaluated as they are read, beside a plain row of one feature."""
    print("\nwindows at read time, 4 x 5 aggregates, one key, median microseconds")
    lake = Lake(LakeSettings(folder / "lake", memory_limit="1GiB"))
    sizes = (50, 500, 5_000)
    day = 86_400_000_000
    with lake.lock():
        connection = lake.connect(write=True)
        connection.execute("CREATE SCHEMA lake.features")
        for size in sizes:
            connection.execute(
                f"CREATE TABLE lake.features.events{size} AS SELECT 'cus_' || k AS consumer_id, ?::TIMESTAMPTZ + "
                f"INTERVAL 1 SECOND * (i * {29 * 86400 // size}) AS event_timestamp, (i * 7919 % 10007)::BIGINT "
                f"AS amount, 'm' || (i % 37) AS merchant FROM range({size}) AS e(i), range(100) AS c(k)",
                [START],
            )
        connection.execute(
            "CREATE TABLE lake.features.plain AS SELECT DISTINCT consumer_id, event_timestamp, event_timestamp AS "
            "known_at, false AS deleted, 1::BIGINT AS one FROM lake.features.events50"
        )
        common = {"join_keys": (("consumer_id", "consumer_id"),), "event_timestamp": "event_timestamp"}
        keys = (Field("consumer_id", "VARCHAR"),)
        functions = {"count": None, "sum": "amount", "mean": "amount", "max": "amount", "count_distinct": "merchant"}
        made = tuple(
            Window(f"{name}_{days}d", name, column, days * day)
            for name, column in functions.items()
            for days in (1, 7, 14, 30)
        )
        types = tuple(Field(one.name, "DOUBLE" if one.function == "mean" else "BIGINT") for one in made)
        views = [
            View(f"w{n}", f"features.events{n}", known_at=None, features=types, keys=keys, windows=made, **common)
            for n in sizes
        ]
        plain = View(
            "plain", "features.plain", known_at="known_at", features=(Field("one", "BIGINT"),), keys=keys, **common
        )
        views.append(settle(connection, plain))
        release = Release(1, AT, 1, "", lake.snapshot(connection), {"bench": AT}, Definitions(tuple(views)))
        connection.close()
    store = open_store(folder / "lmdb")
    connection = lake.connect(release.snapshot)
    materialize(store, connection, release)
    connection.close()
    asked = [[f"cus_{at % 100}"] for at in range(2_000)]
    names = ["plain", *(f"w{size}" for size in sizes)]
    base, *each = medians([partial(ours, Reader(store, release.definitions, name)) for name in names], asked)
    print(f"  plain row {base:.1f}")
    for size, mine in zip(sizes, each, strict=True):
        print(f"  {size:>5} events {mine:>8.1f} ({mine - base:+.1f})")


def ours(reader, keys):
    return [row.to_dict() for row in reader.read([{"consumer_id": key} for key in keys])]


def write_all(store, connection, release):
    """Write every key again under the guard, as rows of a later release."""
    [view] = release.definitions.views
    codec, space = Codec(view), store.catalog()[1].of(view.name).serving
    wanted = needed(connection, view, space.at)
    for batch in connection.execute(wanted.ordered()).to_arrow_reader(100_000):
        packed = codec.pack(columns_of(batch, view), prefix=space.prefix, epoch=space.epoch, release=release.number + 1)
        store.write(packed, exclude=codec.exclude)


def make_lake(folder, keys, width):
    lake = Lake(LakeSettings(folder / "lake", memory_limit="1GiB"))
    names = [f"f{at}" for at in range(width)]
    values = ", ".join(
        f"(i * {at + 7} % 100003)::BIGINT AS f{at}" if at % 2 else f"i * {at + 1} / 64.0::DOUBLE AS f{at}"
        for at in range(width)
    )
    with lake.lock():
        connection = lake.connect(write=True)
        connection.execute("CREATE SCHEMA lake.features")
        connection.execute(
            f"CREATE TABLE lake.features.state AS SELECT 'cus_' || i AS consumer_id, event_timestamp, event_timestamp "
            f"AS known_at, false AS deleted, {values} FROM (SELECT i, ?::TIMESTAMPTZ + INTERVAL 1 SECOND * (i % 86400) "
            f"AS event_timestamp FROM range({keys}) AS r(i))",
            [START],
        )
        view = View(
            name="state",
            relation="features.state",
            join_keys=(("consumer_id", "consumer_id"),),
            event_timestamp="event_timestamp",
            known_at="known_at",
            features=tuple(Field(name, "BIGINT" if at % 2 else "DOUBLE") for at, name in enumerate(names)),
            keys=(Field("consumer_id", "VARCHAR"),),
            deleted="deleted",
        )
        view = settle(connection, view)
        release = Release(1, datetime.now(UTC), 1, "", lake.snapshot(connection), {"bench": AT}, Definitions((view,)))
        listed = ", ".join(["consumer_id", "event_timestamp", *names])
        table = connection.execute(f"SELECT {listed} FROM lake.features.state LIMIT 20000").to_arrow_table()
        connection.close()
    return lake, replace(release), table


class Feast:
    """Feast's own provider and API over SQLite, or over our store."""

    def __init__(self, folder, table, views, online=None):
        import pyarrow.parquet as pq
        from feast import Entity, FeatureStore, FeatureView, FileSource, RepoConfig, ValueType
        from feast import Field as FeastField
        from feast.types import Float64, Int64

        folder.mkdir()
        pq.write_table(table, folder / "state.parquet")
        self.table = table
        self.store = FeatureStore(
            config=RepoConfig(
                project="bench",
                provider="local",
                registry=str(folder / "registry.db"),
                online_store=online or {"type": "sqlite", "path": str(folder / "online.db")},
                entity_key_serialization_version=3,
            )
        )
        entity = Entity(name="consumer", join_keys=["consumer_id"], value_type=ValueType.STRING)
        types = {"BIGINT": Int64, "DOUBLE": Float64}
        made = [
            FeatureView(
                name=view.name,
                entities=[entity],
                ttl=timedelta(0),
                schema=[FeastField(name=one.name, dtype=types[one.dtype]) for one in view.features],
                source=FileSource(
                    name=f"source {view.name}", path=str(folder / "state.parquet"), timestamp_field="event_timestamp"
                ),
            )
            for view in views
        ]
        self.store.apply([entity, *made])
        self.features = [f"{view.name}:{one.name}" for view in views for one in view.features]
        self.views = [self.store.get_feature_view(view.name) for view in views]

    def write(self):
        from feast import ValueType
        from feast.utils import _convert_arrow_to_proto

        provider = self.store._get_provider()  # noqa: SLF001
        for start in range(0, len(self.table), FEAST_BATCH):
            for batch in self.table.slice(start, FEAST_BATCH).combine_chunks().to_batches():
                for view in self.views:
                    rows = _convert_arrow_to_proto(batch, view, {"consumer_id": ValueType.STRING})
                    provider.online_write_batch(self.store.config, view, rows, None)

    def read(self, keys):
        found = self.store.get_online_features(self.features, [{"consumer_id": key} for key in keys]).to_dict()
        found.pop("consumer_id")
        return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]


@contextmanager
def redis(folder):
    import os

    os.environ["LIFECYCLE_REDIS_PASSWORD"] = PASSWORD
    with redis_server(folder) as address:
        yield address


def stock_redis(address):
    """Return the configuration of Feast's own store over the same server."""
    return {"type": "redis", "connection_string": f"{address.removeprefix('redis://')},password={PASSWORD}"}


def timed(call):
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def median(call, asked):
    for some in asked[:3]:
        call(some)
    return statistics.median(timed(lambda some=some: call(some)) for some in asked) * 1e6


def medians(calls, asked, together=50):
    """Return the median of each call, in turns of so many: a machine that changes its pace does so for all of them."""
    for call in calls:
        call(asked[0])
    taken = [[] for _ in calls]
    for start in range(0, len(asked), together):
        for call, times in zip(calls, taken, strict=True):
            times += [timed(partial(call, some)) for some in asked[start : start + together]]
    return [statistics.median(times) * 1e6 for times in taken]


def report(title, rate, base=None):
    beside = f"{rate / base:>8.1f} x Feast's" if base else ""
    print(f"  {title:<40} {rate:>12,.0f} rows/s {beside}")


if __name__ == "__main__":
    main()
