"""
What many daily builds cost the builds after them, and what compaction gives back.

    python benchmarks/bench_compaction.py                  # 10,000 consumers, 30 days of 300 lines
    python benchmarks/bench_compaction.py --days 60

A history, then each day's lines taken in and built, as `lifecycle ingest` and `lifecycle build` do, each build a
process of its own. The last day is built twice, on two copies of the lake that differ in one thing: `lifecycle
compact` ran on one of them. Both must hold the same rows afterwards.
"""

import argparse
import gc
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from bench_build import RATES, ROOT, compare

from lifecycle import config
from lifecycle.lake import Lake
from lifecycle.lake.compaction import compact, live_files
from lifecycle.lake.fork import fork
from lifecycle.pipeline.build import build
from lifecycle.pipeline.intake import ingest
from lifecycle.synth import generate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--consumers", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--lines", type=int, default=300, help="lines of a day")
    parser.add_argument("--worker", nargs=3, metavar=("HOME", "DATA", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("LIFECYCLE_KEY", "a key for benchmarks and nothing else")
    if given.worker:
        work(*given.worker)
        return
    with tempfile.TemporaryDirectory(prefix="bench-compaction-") as folder:
        report(given, Path(folder))


def report(given, folder):
    history, *days, last = feed(folder, given)
    lake = Lake(config.load(ROOT, home=folder / "lake").lake)
    run(lake, history)
    for number, day in enumerate(days, start=1):
        say(f"day {number}: {run(lake, day):.1f} s, {files(lake):,} files")
    copies = {name: Lake(fork(lake, folder / name)) for name in ("as it grew", "compacted")}
    # The first build in a folder has dbt read the whole project.
    nothing = {name: run(one, None) for _ in range(2) for name, one in copies.items()}
    began = time.perf_counter()
    done = compact(copies["compacted"])
    took = time.perf_counter() - began
    builds = {name: run(one, last) for name, one in copies.items()}
    print(f"compaction after {len(days)} days, {took:.1f} s: {done}")
    for name, seconds in builds.items():
        print(f"  {name:12} a day's build {seconds:5.1f} s, {seconds - nothing[name]:5.1f} s over an empty one before")
    ratio = builds["compacted"] / builds["as it grew"]
    print(f"  compacted / as it grew: {ratio:.2f}")
    print(f"  rows that differ: {compare(*copies.values())['rows_that_differ'] or 'none'}")


def feed(folder, given):
    """Generate lives; return the files of the history and of each day after it."""
    made = generate(folder / "feed", consumers=given.consumers, months=12, seed=3, rates=RATES)
    lines = []
    for path in made.events:
        with gzip.open(path, "rb") as file:
            lines += file
    left = len(lines) - given.lines * (given.days + 1)
    cuts = [0, *range(left, len(lines) + 1, given.lines)]
    return [
        written(folder / f"day-{number:03}.ndjson.gz", lines[start:stop])
        for number, (start, stop) in enumerate(pairwise(cuts))
    ]


def written(path, lines):
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.writelines(lines)
    return path


def run(lake, file):
    """Take a file in and build, in a process of its own; returns the build's seconds."""
    worker = ["--worker", str(lake.settings.home), lake.settings.data, str(file or "")]
    done = subprocess.run([sys.executable, __file__, *worker], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def work(home, data, file):
    settings = config.load(ROOT, home=Path(home))
    settings = replace(settings, lake=replace(settings.lake, data=data))
    lake = Lake(settings.lake)
    if file:
        ingest(settings, lake, "stripe", [Path(file)])
    gc.set_threshold(200_000)  # as the command line does
    began = time.perf_counter()
    build(settings, lake)
    print(time.perf_counter() - began)


def files(lake):
    with closing(lake.connect()) as connection:
        return live_files(connection)[0]


def say(text):
    columns = shutil.get_terminal_size().columns
    print(text[:columns], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
