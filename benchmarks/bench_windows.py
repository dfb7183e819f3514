"""
Window features against their floor and against SQL's range join, in one run.

    python benchmarks/bench_windows.py --scale 0.1

At scale 1: 10M events, 1M observations, four windows x (sum, count, max), as known. The floor is DuckDB sorting
both inputs into Arrow. Each figure is the least of alternating rounds. Of the range join, which takes many
minutes with hot keys, a sample of the observations is asked and its time multiplied.

    python benchmarks/bench_windows.py --tenfold

A frame of those features from a lake on disk to Parquet, 5M events x 500,000 observations and 50M x 5M, each in a
process of its own that is held to 4 GiB: what ten times the data costs, and the peak memory of the whole process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from lifecycle.definitions import Definitions, Field, View, Window
from lifecycle.engine import training_frame
from lifecycle.engine.session import STREAM_BUFFER
from lifecycle.engine.windows import warm, window_features

DAY = 86_400_000_000
SPAN_DAYS = 400
WIDTHS = (1, 7, 30, 90)
BASE = tuple(
    Window(f"{function}_{days}d", function, None if function == "count" else "amount", days * DAY)
    for days in WIDTHS
    for function in ("sum", "count", "max")
)
MORE = tuple(
    Window(f"{function}_{days}d", function, column, days * DAY, parameter=10)
    for days in WIDTHS
    for function, column in (("count_distinct", "merchant"), ("std", "amount"), ("last_k", "amount"))
)
SPINE = "SELECT row, t, k0 FROM spine"
FEEDS = {"on time": (0.0, 0.0, 1.4), "5 % late": (0.05, 0.0, 1.6), "5 % late, 1 % amended": (0.05, 0.01, 1.8)}

LARGE = (50_000_000, 5_000_000, 1_000_000)  # events, observations, consumers
LIMIT_MIB, DUCKDB_LIMIT = 4096, "2500MiB"


def view(windows):
    features = tuple(Field(one.name, "BIGINT") for one in windows)
    key = (("consumer", "customer"),)
    return View("events", "features.events", key, "event_timestamp", "known_from", features, windows=windows)


def make(connection, events, observations, keys, *, late, amended, giant=False):
    """Fill lake.features.events and the spine; amended events get a second version some days later."""
    owner = f"CASE WHEN hash(i * 17) % 2 = 0 THEN 0 ELSE hash(i) % {keys} END" if giant else f"hash(i) % {keys}"
    connection.execute(
        f"""
        CREATE OR REPLACE TABLE lake.features.events AS
        WITH drawn AS (
            SELECT i, ({owner})::BIGINT AS customer, (hash(i * 7 + 1) % ({SPAN_DAYS} * {DAY}))::BIGINT AS happened,
                   CASE WHEN hash(i * 5 + 2) % 10000 < {late * 10000}
                        THEN hash(i * 19) % (5 * {DAY}) ELSE 0 END::BIGINT AS delay,
                   CASE WHEN hash(i * 23) % 10000 < {amended * 10000}
                        THEN (hash(i * 29) % (30 * {DAY}))::BIGINT END AS later,
                   (hash(i * 3) % 100000)::BIGINT AS amount, (hash(i * 31) % 1000)::INTEGER AS merchant
            FROM range({events}) AS r(i)
        ), versions AS (
            SELECT *, happened + delay AS known, happened + delay + later AS until FROM drawn
            UNION ALL
            SELECT * REPLACE (amount + 1 AS amount), happened + delay + later, NULL FROM drawn WHERE later IS NOT NULL
        )
        SELECT customer, make_timestamptz(happened) AS event_timestamp, make_timestamptz(known) AS known_from,
               make_timestamptz(until) AS known_until, amount, merchant
        FROM versions ORDER BY hash(i)
        """
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE spine AS
        SELECT i AS row, make_timestamptz((hash(i * 13 + 1) % ({SPAN_DAYS} * {DAY}))::BIGINT) AS t,
               ({owner.replace("hash(i)", "hash(i * 11)")})::BIGINT AS k0
        FROM range({observations}) AS r(i)
        """
    )


def floor(connection):
    connection.execute(
        "SELECT customer, event_timestamp, known_from, known_until, amount FROM lake.features.events "
        "ORDER BY customer, event_timestamp, known_from"
    ).to_arrow_table()
    connection.execute("SELECT k0, t, row FROM spine ORDER BY k0, t").to_arrow_table()


def range_join(connection, rows):
    """Ask the same of SQL for the spine's first `rows`; return the answers in row order."""
    listed = ", ".join(
        f"{call} FILTER (e.event_timestamp >= s.t - INTERVAL {days} DAY)"
        for days in WIDTHS
        for call in ("sum(e.amount)", "count(e.amount)", "max(e.amount)")
    )
    return connection.execute(
        f"""
        SELECT {listed} FROM (FROM spine WHERE row < {rows}) AS s LEFT JOIN lake.features.events AS e
        ON e.customer = s.k0 AND e.event_timestamp < s.t AND e.event_timestamp >= s.t - INTERVAL {max(WIDTHS)} DAY
           AND e.known_from <= s.t AND coalesce(e.known_until, 'infinity') > s.t
        GROUP BY s.row ORDER BY s.row
        """
    ).fetchall()


def timed(call, *arguments, **options):
    began = time.perf_counter()
    result = call(*arguments, **options)
    return time.perf_counter() - began, result


def compare(connection, name, limit, rounds, windows=BASE):
    floors, totals = [], []
    for _ in range(rounds):
        floors.append(timed(floor, connection)[0])
        totals.append(timed(window_features, connection, view(windows), SPINE)[0])
    low, total = min(floors), min(totals)
    print(f"{name:45s} floor {low:6.2f} s   total {total:6.2f} s   {total / low:5.2f} x (at most {limit})", flush=True)
    return total


def against_sql(connection, total, sample, observations, least):
    took, answers = timed(range_join, connection, sample)
    table = window_features(connection, view(BASE), f"{SPINE} WHERE row < {sample}").drop_columns("row")
    ours = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    same = [tuple(row) for row in answers] == ours
    whole = took * observations / sample
    print(
        f"{'SQL range join':45s} {whole:6.1f} s   {whole / total:5.1f} x ours (at least {least})   same: {same}",
        flush=True,
    )


def on_disk(folder):
    connection = duckdb.connect(config={"temp_directory": f"{folder}/spill", "memory_limit": DUCKDB_LIMIT})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"ATTACH '{folder}/lake.duckdb' AS lake")
    return connection


def frame(folder):
    """Write one frame; say how long it took and how much memory this process took at most."""
    connection = on_disk(folder)
    began = time.perf_counter()
    made = training_frame(connection, Definitions((view(BASE),)), f"{folder}/spine.parquet", features=["events"])
    made.write_parquet(f"{folder}/frame.parquet")
    seconds = time.perf_counter() - began
    peak = int(Path("/proc/self/status").read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]) // 1024
    print(json.dumps([seconds, peak]))


def tenfold(scale, rounds):
    """Time frames at two sizes, each in processes of their own."""
    found = {}
    for times in (0.1, 1.0):
        sizes = [int(one * times * scale) for one in LARGE]
        with tempfile.TemporaryDirectory(prefix="bench-windows-") as folder:
            connection = on_disk(folder)
            connection.execute("CREATE SCHEMA lake.features")
            make(connection, *sizes, late=0.05, amended=0.01)
            spine = "SELECT k0 AS consumer, t AS event_timestamp, row AS id FROM spine ORDER BY row"
            connection.execute(f"COPY ({spine}) TO '{folder}/spine.parquet'")
            connection.close()
            command = [sys.executable, __file__, "--worker", folder]
            done = [subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True) for _ in range(rounds)]
        runs = [json.loads(one.stdout.splitlines()[-1]) for one in done]
        found[times] = statistics.median(seconds for seconds, _ in runs)
        peak = max(peak for _, peak in runs)
        print(
            f"{sizes[0]:,} events, {sizes[1]:,} observations, {sizes[2]:,} consumers: {found[times]:.1f} s, "
            f"{peak:,} MiB (at most {LIMIT_MIB:,})",
            flush=True,
        )
    print(f"ten times the data: {found[1.0] / found[0.1]:.1f} x the time (at most 12)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keys", type=int, nargs="*", default=[200_000, 2_000])
    parser.add_argument("--tenfold", action="store_true", help="frames from disk at two sizes, memory held")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        frame(options.worker)
        return
    warm()
    if options.tenfold:
        tenfold(options.scale, options.rounds)
        return
    events, observations = int(10_000_000 * options.scale), int(1_000_000 * options.scale)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET streaming_buffer_size = '{STREAM_BUFFER}'")  # as a frame's own cursor has it
    connection.execute("ATTACH ':memory:' AS lake")
    connection.execute("CREATE SCHEMA lake.features")
    for keys in options.keys:
        print(f"{events:,} events, {observations:,} observations, {keys:,} consumers")
        for name, (late, amended, limit) in FEEDS.items():
            make(connection, events, observations, max(2, int(keys * options.scale)), late=late, amended=amended)
            total = compare(connection, name, limit, options.rounds)
        hot = keys < 10_000
        against_sql(connection, total, observations // (100 if hot else 1), observations, 200 if hot else 4)
        more = compare(connection, "count_distinct, std, last_k besides", "-", options.rounds, BASE + MORE)
        print(f"{'':45s} {more / total:5.2f} x the total without them (at most 1.6)")
    make(connection, events, observations, int(200_000 * options.scale), late=0.05, amended=0.01, giant=True)
    compare(connection, "one key with half of all events", "-", options.rounds)


if __name__ == "__main__":
    main()
