"""
A full build of the marts, a build with nothing new, and a build of one day's new events, at the same size; and what
their releases and the filling of the online store take.

    python benchmarks/bench_build.py                          # about 5M events of 500,000 consumers over a year
    python benchmarks/bench_build.py --consumers 20000        # a small run
    python benchmarks/bench_build.py --folder /data/bench     # keep the feed and the lakes; a feed or a lake of
                                                              # the history that stands there is used again

The feed is generated (`lifecycle.synth`, dirt and all) and taken in by intake. Its last lines in the order of
receipt, 0.2 % unless told, are the new day: late, amended, retracted and merged events among them. The
incremental build is compared row for row with a full rebuild on a fork of the lake. Each build is a process of
its own, runs models and data tests as `lifecycle build` does, and reports wall and CPU seconds, peak memory and
the seconds of each model. It then releases what it built and fills an online store in LMDB; that is timed apart,
with the bytes that the release adds to the lake. Needs `dbt_project/` as it stands in this checkout.
"""

import argparse
import gc
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from lifecycle import config
from lifecycle.lake import Lake, Ledger
from lifecycle.lake.fork import fork
from lifecycle.pipeline.build import build
from lifecycle.pipeline.intake import ingest
from lifecycle.synth import Rates, generate

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
# Quieter lives than the generator's own, for ten events a consumer over a year.
RATES = Rates(
    payments_per_month=0.08, applies=0.06, never_pays=0.45, checked=0.30, second_card=0.10, moved_or_renamed=0.10
)
MONTHS = 12
FULL_MINUTES, SHARE_OF_FULL = 6, 0.1
SHOWN = 12


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--consumers", type=int, default=500_000)
    parser.add_argument("--day", type=float, default=0.002, help="share of the feed's lines that are the new day")
    parser.add_argument("--folder", type=Path, help="where feed and lake are kept; empty: a temporary folder")
    parser.add_argument("--project", type=Path, default=ROOT, help="the project to build")
    parser.add_argument("--worker", nargs=3, metavar=("HOME", "DATA", "MODE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("LIFECYCLE_KEY", "a key for benchmarks and nothing else")
    if given.worker:
        work(given.project, *given.worker)
    elif given.folder:
        report(given, given.folder.resolve())
    else:
        with tempfile.TemporaryDirectory(prefix="bench-build-") as folder:
            report(given, Path(folder))


def report(given, folder):
    history, day = feed(folder / "feed", given.consumers, given.day)
    settings = config.load(given.project, home=folder / "lake")
    lake = Lake(settings.lake)
    if not lake.exists:
        ingest(settings, lake, "stripe", history, progress=say)
    before = head(lake)
    if before > len(history):
        sys.exit(f"{folder / 'lake'} holds the new day already: remove it, and the history is taken in again.")
    runs = {"full": run(given, folder / "lake", "full"), "no-op": run(given, folder / "lake", "increment")}
    ingest(settings, lake, "stripe", [day], progress=say)
    runs["incremental"] = run(given, folder / "lake", "increment")
    sizes = size_of(lake, before)
    forked = fork(lake, folder / "rebuilt")
    runs["full with the day"] = run(given, folder / "rebuilt", "full", data=forked.data)
    differing = compare(lake, Lake(forked))
    show(given, sizes, runs, differing)


def feed(folder, consumers, share):
    """Generate the feed and take its last lines apart; returns the history's files and the day's."""
    history, day = folder / "history", folder / "day.ndjson.gz"
    if not day.exists():
        made = generate(history, consumers=consumers, months=MONTHS, seed=3, rates=RATES, progress=say)
        left, tail = round(made.lines * share), []
        for path in reversed(made.events):
            with gzip.open(path, "rb") as file:
                lines = file.readlines()
            tail = lines[len(lines) - min(left, len(lines)) :] + tail
            lines, left = lines[: len(lines) - min(left, len(lines))], left - min(left, len(lines))
            if lines:
                with gzip.open(path, "wb", compresslevel=1) as file:
                    file.writelines(lines)
            else:
                path.unlink()
            if not left:
                break
        with gzip.open(day, "wb") as file:
            file.writelines(tail)
    return sorted(history.glob("events-*.ndjson.gz")), day


def run(given, home, mode, data=""):
    """Run a build in a process of its own; returns what it measured."""
    command = [sys.executable, __file__, "--project", str(given.project), "--worker", str(home), data, mode]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    told = {name: measured[name] for name in ("seconds", "cpu_seconds", "peak_mib", "load")}
    say(f"{home.name} {mode}: {told}")
    return measured


def work(project, home, data, mode):
    settings = config.load(project, home=Path(home))
    settings = replace(settings, lake=replace(settings.lake, data=data))
    lake = Lake(settings.lake)
    gc.set_threshold(200_000)  # as the command line does
    began = time.perf_counter()
    build(settings, lake, full_refresh=mode == "full")
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Not ru_maxrss: a child's begins with its parent's.
    peak = int(Path("/proc/self/status").read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]) // 1024
    results = json.loads((Path(home) / "dbt" / "target" / "run_results.json").read_text(encoding="utf-8"))["results"]
    of = {"model": {}, "test": {}}
    for result in results:
        kind, _, name = result["unique_id"].split(".")[:3]
        of.get(kind, {})[name] = round(result["execution_time"], 3)
    measured = {
        "seconds": round(seconds, 2), "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": peak, "load": os.getloadavg()[0], "models": of["model"],
        "tests": {"count": len(of["test"]), "seconds": round(sum(of["test"].values()), 2)},
    }  # fmt: skip
    if not data:
        measured |= serve(settings, lake)
    print(json.dumps(measured))


def serve(settings, lake):
    """Release what was built, and fill the online store from it."""
    # A process that only builds does not load these, and its seconds and memory are what is told of a build.
    from lifecycle.pipeline.materialize import materialize
    from lifecycle.pipeline.release import make_release

    before, began = held(settings), time.perf_counter()
    release = make_release(settings, lake, Ledger(lake))
    released = time.perf_counter()
    done = materialize(settings, lake, release)
    filled = time.perf_counter()
    return {
        "release": {"seconds": round(released - began, 2), "mb": round((held(settings) - before) / 1e6, 1)},
        "online": {"seconds": round(filled - released, 2), "rows": sum(done.rows.values())},
    }


def held(settings):
    return sum(path.stat().st_size for path in Path(settings.lake.data_path).rglob("*.parquet"))


def head(lake):
    connection = lake.connect()
    [(batch,)] = connection.execute("SELECT max(batch_id) FROM lake.raw.batches").fetchall()
    connection.close()
    return batch


def size_of(lake, before):
    """Count what the lake holds, and what came after batch `before`."""
    connection = lake.connect()
    row = connection.execute(
        """
        SELECT count(*) AS versions, count(*) FILTER (batch_id > $before) AS new,
            count(*) FILTER (batch_id > $before AND known_at - event_timestamp > INTERVAL 1 HOUR) AS late,
            count(*) FILTER (batch_id <= $before AND settled_batch > $before) AS superseded,
            count(*) FILTER (batch_id > $before AND retracted) AS retracted,
            (SELECT count(*) FROM lake.core.consumers) AS consumers
        FROM lake.raw.events
        """,
        {"before": before},
    )
    found = dict(zip([column[0] for column in row.description], row.fetchone(), strict=True))
    connection.close()
    return found


def compare(one, other):
    """Return the built tables whose rows differ between two lakes, with how many rows differ."""
    connection = one.connect()
    connection.execute(other.attach_statement(alias="other"))
    tables = [name for name in one.tables(connection) if not name.startswith(("raw.", "asof."))]
    differing = {}
    for name in tables:
        columns = connection.execute(f"SELECT * FROM lake.{name} LIMIT 0").description
        listed = ", ".join(f'"{column[0]}"' for column in columns)
        query = f"SELECT {listed} FROM {{}}.{name}"
        a, b = query.format("lake"), query.format("other")
        [(count,)] = connection.execute(
            f"SELECT (SELECT count(*) FROM ({a} EXCEPT ALL {b})) + (SELECT count(*) FROM ({b} EXCEPT ALL {a}))"
        ).fetchall()
        if count:
            differing[name] = count
    connection.close()
    return {"tables": len(tables), "rows_that_differ": differing}


def show(given, sizes, runs, differing):
    print(", ".join(f"{count:,} {name}" for name, count in sizes.items()))
    for name, run in runs.items():
        print(
            f"  {name:20} {run['seconds']:8.1f} s {run['cpu_seconds']:8.1f} CPU s {run['peak_mib']:6} MiB   "
            f"{len(run['models'])} models {sum(run['models'].values()):7.1f} s, {run['tests']['count']} tests "
            f"{run['tests']['seconds']:6.1f} s   load {run['load']:.1f}"
        )
        if "release" in run:
            print(
                f"    its release {run['release']['seconds']:.1f} s, {run['release']['mb']:.1f} MB more; "
                f"online {run['online']['seconds']:.1f} s, {run['online']['rows']:,} rows"
            )
    ratios = {}
    for unit in ("seconds", "cpu_seconds"):
        base = runs["no-op"][unit]
        ratios[unit] = (runs["incremental"][unit] - base) / (runs["full"][unit] - base)
    print(f"  full build {runs['full']['seconds'] / 60:.1f} minutes, wanted at most {FULL_MINUTES}")
    print(
        f"  (incremental - no-op) / (full - no-op): {ratios['seconds']:.3f} by wall, "
        f"{ratios['cpu_seconds']:.3f} by CPU, wanted at most {SHARE_OF_FULL}"
    )
    rows = differing["rows_that_differ"]
    print(f"  incremental against full rebuild: {differing['tables']} tables, rows that differ: {rows or 'none'}")
    slowest = sorted(runs["full"]["models"], key=runs["full"]["models"].get, reverse=True)
    slowest += sorted(runs["incremental"]["models"], key=runs["incremental"]["models"].get, reverse=True)[:SHOWN]
    for name in list(dict.fromkeys(slowest[:SHOWN] + slowest[-SHOWN:])):
        seconds = "".join(f"{runs[one]['models'].get(name, 0):8.2f}" for one in ("full", "no-op", "incremental"))
        print(f"    {name:32}{seconds} s  (full, no-op, incremental)")
    RESULTS.mkdir(exist_ok=True)
    content = {"consumers": given.consumers, "sizes": sizes, "ratios": ratios, "compared": differing, "runs": runs}
    (RESULTS / "build.json").write_text(json.dumps(content, indent=2), encoding="utf-8")


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
