"""
As-of frames against hand-written SQL, Polars, pandas and Feast's stock DuckDB store, in one run.

    python benchmarks/bench_asof.py                        # 10M rows of 200k keys x 1M observations, 4 features
    python benchmarks/bench_asof.py --rows 1000000 --observations 100000 --keys 20000
    python benchmarks/bench_asof.py --tenfold              # one view, at that size and at ten times that size

Each contender is a process of its own that reads the same facts (a lake's, or a Parquet file) and the same spine
(Parquet) and writes a frame as Parquet; processes take turns, round by round. Figures are medians; peak memory is the
process's. Answers are compared row by row. Every process is held to 6 GiB by DuckDB's memory limit. Feast's store needs
`pip install "feast[duckdb]"` and is left out, with a word, without it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.config import LakeSettings
from lifecycle.definitions import Definitions, Field, View
from lifecycle.engine import settle, training_frame
from lifecycle.lake import Lake

VIEWS = 5
FEATURES = ("f1", "f2", "f3", "f4")
KEY = (("consumer_id", "consumer_id"),)
RESULTS = Path(__file__).parent / "results"
SPAN_DAYS = 365
BOUNDS = (
    # ratio, the greatest that is wanted
    ("settled as known / by hand", "settled", "by hand", 1.3),
    ("event time only / by hand", "event time", "by hand", 1.3),
    ("settled as known / event time only", "settled", "event time", 1.3),
    ("unprepared as known / event time only", "unprepared", "event time", 2.0),
    ("unprepared event time only / by hand", "unprepared event time", "by hand", 1.3),
    ("five views / one view", "five views", "settled", 3.5),
    ("settled as known / Feast's store", "settled", "feast", 1 / 8),
    ("event time only / Feast's store", "event time", "feast", 1 / 8),
)


def make(folder, rows, observations, keys, views=VIEWS):
    """Write facts (5 % known up to 30 days late), other facts for more views, and the spine; settle all."""
    with lake_in(folder).lock():
        lake = lake_in(folder).connect(write=True)
        lake.execute("CREATE SCHEMA lake.features")
        span = f"{SPAN_DAYS * 86_400_000_000}"
        late = "CASE WHEN hash(i * 11) % 20 = 0 THEN hash(i * 13) % (30 * 86400 * 1000000::BIGINT) ELSE 0 END"
        for number in range(views):
            at = f"TIMESTAMPTZ '2024-01-01' + to_microseconds((hash(i * 7 + {number}) % {span})::BIGINT)"
            lake.execute(f"""
                CREATE TABLE lake.features.facts_{number} AS
                SELECT (hash(i + {number} * 1000003) % {keys})::BIGINT AS consumer_id, {at} AS event_timestamp,
                    {at} + to_microseconds(({late})::BIGINT) AS known_at,
                    (hash(i * 17) % 1000)::BIGINT AS f1, (hash(i * 19) % 1000) / 7.0 AS f2,
                    (hash(i * 23) % 100000)::BIGINT AS f3, (hash(i * 29) % 1000)::DOUBLE AS f4
                FROM range({rows}) AS r(i)""")
            settle(lake, view(number))
        lake.execute(f"COPY lake.features.facts_0 TO '{folder}/facts.parquet'")
        lake.execute(f"""
            COPY (SELECT (hash(i * 31) % {keys})::BIGINT AS consumer_id, i AS id,
                  TIMESTAMPTZ '2024-01-01' + to_microseconds((hash(i * 37) % {span})::BIGINT) AS event_timestamp
                  FROM range({observations}) AS r(i)) TO '{folder}/spine.parquet'""")
        lake.close()


def lake_in(folder):
    return Lake(LakeSettings(home=Path(folder) / "lake", memory_limit="6GiB"))


def view(number=0):
    types = ("BIGINT", "DOUBLE", "BIGINT", "DOUBLE")
    return View(
        name=f"facts_{number}",
        relation=f"features.facts_{number}",
        join_keys=KEY,
        event_timestamp="event_timestamp",
        known_at="known_at",
        features=tuple(Field(name, dtype) for name, dtype in zip(FEATURES, types, strict=True)),
    )


def ours(folder, out, known_time, *, settled=False, views=1):
    # Loading libraries is in nobody's time; Arrow loads pandas with the first array that it makes.
    import pandas as pd  # noqa: F401

    import lifecycle.engine.merge  # noqa: F401

    connection = lake_in(folder).connect()
    chosen = tuple(view(number) for number in range(views))
    if settled:
        chosen = tuple(replace(one, settled=f"asof.{one.name}") for one in chosen)
    start = time.perf_counter()
    frame = training_frame(
        connection,
        Definitions(chosen),
        f"{folder}/spine.parquet",
        features=[one.name for one in chosen],
        known_time=known_time,
        full_feature_names=views > 1,
    )
    frame.write_parquet(out)
    return time.perf_counter() - start


def by_hand(folder, out):
    connection = lake_in(folder).connect()
    start = time.perf_counter()
    connection.execute(f"""
        COPY (SELECT s.*, r.f1, r.f2, r.f3, r.f4
              FROM read_parquet('{folder}/spine.parquet') AS s ASOF LEFT JOIN lake.features.facts_0 AS r
              ON s.consumer_id = r.consumer_id AND s.event_timestamp >= r.event_timestamp
              ORDER BY s.id) TO '{out}'""")
    return time.perf_counter() - start


def polars(folder, out):
    import polars as pl

    start = time.perf_counter()
    facts = pl.read_parquet(f"{folder}/facts.parquet").drop("known_at").sort("event_timestamp")
    spine = pl.read_parquet(f"{folder}/spine.parquet").sort("event_timestamp")
    joined = spine.join_asof(facts, on="event_timestamp", by="consumer_id", check_sortedness=False)
    joined.sort("id").write_parquet(out)
    return time.perf_counter() - start


def pandas(folder, out):
    import pandas as pd

    start = time.perf_counter()
    facts = pd.read_parquet(f"{folder}/facts.parquet").drop(columns="known_at").sort_values("event_timestamp")
    spine = pd.read_parquet(f"{folder}/spine.parquet").sort_values("event_timestamp")
    joined = pd.merge_asof(spine, facts, on="event_timestamp", by="consumer_id")
    joined.sort_values("id").to_parquet(out, index=False)
    return time.perf_counter() - start


def feast(folder, out):
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, FileSource, RepoConfig, ValueType
    from feast import Field as Column
    from feast.types import Float64, Int64

    work = Path(tempfile.mkdtemp(dir=folder))
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(work / "registry.db"),
            offline_store={"type": "duckdb"},
            online_store={"type": "sqlite", "path": str(work / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    entity = Entity(name="consumer", join_keys=["consumer_id"], value_type=ValueType.INT64)
    types = (Int64, Float64, Int64, Float64)
    facts = FeatureView(
        name="facts",
        entities=[entity],
        ttl=timedelta(days=0),
        schema=[Column(name=name, dtype=dtype) for name, dtype in zip(FEATURES, types, strict=True)],
        source=FileSource(path=f"{folder}/facts.parquet", timestamp_field="event_timestamp"),
    )
    store.apply([entity, facts])
    start = time.perf_counter()
    spine = pd.read_parquet(f"{folder}/spine.parquet")
    job = store.get_historical_features(spine, [f"facts:{name}" for name in FEATURES])
    pq.write_table(job.to_arrow(), out)
    return time.perf_counter() - start


CONTENDERS = {
    "by hand": by_hand,
    "event time": lambda folder, out: ours(folder, out, "feast", settled=True),
    "settled": lambda folder, out: ours(folder, out, "as_known", settled=True),
    "unprepared event time": lambda folder, out: ours(folder, out, "feast"),
    "unprepared": lambda folder, out: ours(folder, out, "as_known"),
    "five views": lambda folder, out: ours(folder, out, "as_known", settled=True, views=VIEWS),
    "polars": polars,
    "pandas": pandas,
    "feast": feast,
}
OURS = ("settled", "event time", "unprepared event time", "unprepared")
EVENT_TIME_ONLY = ("by hand", "event time", "unprepared event time", "polars", "pandas", "feast")


def peak():
    """Return this process's peak memory in MiB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def run(name, folder):
    """Run one contender in a process of its own; return (seconds, peak MiB), or None where it cannot run."""
    command = [sys.executable, "-W", "ignore", __file__, "--contender", name, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name} did not run: {done.stderr.strip().splitlines()[-1]}", flush=True)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def answer(folder, name):
    """Return a contender's features in the spine's order, of one schema."""
    table = pq.read_table(f"{folder}/{name.replace(' ', '_')}.parquet").sort_by("id")
    prefix = "facts_0__" if name == "five views" else ""
    columns = [table[prefix + one].cast(pa.float64()).combine_chunks().fill_null(-1.0) for one in FEATURES]
    return pa.table(columns, names=FEATURES)


def compare(folder, names):
    """Return which contenders agree with the first of their kind."""
    agreed = {}
    for group in (EVENT_TIME_ONLY, ("settled", "unprepared", "five views")):
        present = [name for name in group if name in names]
        if not present:
            continue
        first = answer(folder, present[0])
        for name in present:
            # An engine that picks either of two facts of one microsecond is not wrong by its own rule.
            other = answer(folder, name)
            unequal = np.zeros(first.num_rows, bool)
            for feature in FEATURES:
                unequal |= np.asarray(first[feature]) != np.asarray(other[feature])
            agreed[name] = {"with": present[0], "rows that differ": int(unequal.sum())}
    return agreed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--observations", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--tenfold", action="store_true", help="compare this size with ten times it")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender:
        out = f"{given.folder}/{given.contender.replace(' ', '_')}.parquet"
        seconds = CONTENDERS[given.contender](given.folder, out)
        print(json.dumps([seconds, peak()]))
        return
    if given.tenfold:
        tenfold(given)
        return
    with tempfile.TemporaryDirectory(prefix="bench-asof-") as folder:
        report(given, folder)


def tenfold(given):
    """Time our own contenders at two sizes, in turns: a machine that changes its pace does so for both."""
    sizes, runs = ("rows", "observations", "keys"), {}
    with tempfile.TemporaryDirectory(prefix="bench-asof-") as both:
        folders = {times: Path(both) / f"x{times}" for times in (1, 10)}
        for times, folder in folders.items():
            folder.mkdir()
            make(folder, *(getattr(given, name) * times for name in sizes), views=1)
        for _ in range(given.rounds):
            for name in (one for one in OURS if one in given.only):
                for times, folder in folders.items():
                    runs.setdefault((name, times), []).append(run(name, folder))
    found = {one: (statistics.median(s for s, _ in some), max(m for _, m in some)) for one, some in runs.items()}
    for (name, times), (seconds, memory) in found.items():
        size = f"{given.rows * times:,} x {given.observations * times:,}"
        print(f"  {size} {name:21} {seconds:8.2f} s {memory:8.0f} MiB")
    ratios = {name: found[name, 10][0] / found[name, 1][0] for name, times in found if times == 1}
    for name, ratio in ratios.items():
        print(f"  ten times the data, {name:21} {ratio:6.2f}   wanted at most 12")
    RESULTS.mkdir(exist_ok=True)
    written = {f"{name} x{times}": {"seconds": s, "peak_mib": m} for (name, times), (s, m) in found.items()}
    content = {"sizes": {name: getattr(given, name) for name in sizes}, "runs": written, "ratios": ratios}
    (RESULTS / "asof_tenfold.json").write_text(json.dumps(content, indent=2), encoding="utf-8")


def report(given, folder):
    make(folder, given.rows, given.observations, given.keys)
    taken = {}
    for _ in range(given.rounds):
        for name in given.only:
            if taken.get(name, []) is not None:
                one = run(name, folder)
                taken[name] = None if one is None else [*taken.get(name, []), one]
    times = {name: statistics.median(s for s, _ in runs) for name, runs in taken.items() if runs}
    memory = {name: max(m for _, m in runs) for name, runs in taken.items() if runs}
    agreed = compare(folder, times)
    print(f"{given.rows:,} rows of {given.keys:,} keys x {given.observations:,} observations, {given.rounds} rounds")
    for name, seconds in times.items():
        differ = agreed[name]["rows that differ"]
        print(
            f"  {name:21} {seconds:8.2f} s {memory[name]:8.0f} MiB   {differ} rows differ from {agreed[name]['with']}"
        )
    ratios = {}
    for said, above, below, bound in BOUNDS:
        if above in times and below in times:
            ratios[said] = times[above] / times[below]
            print(f"  {said:40} {ratios[said]:6.2f}   wanted at most {bound:.3g}")
    RESULTS.mkdir(exist_ok=True)
    sizes = {name: getattr(given, name) for name in ("rows", "observations", "keys", "rounds")}
    content = {"sizes": sizes, "seconds": times, "peak_mib": memory, "ratios": ratios, "answers": agreed}
    (RESULTS / "asof.json").write_text(json.dumps(content, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
