"""Other processes read while one writes, and a writer may be killed at any moment."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from dataclasses import replace

import pytest

from lifecycle.lake import Lake
from lifecycle.online import Reader, filling, materialize, open_store
from lifecycle.online.lmdb_store import open_lmdb
from tests.online_cases import VIEW, hold, new_store, rows, write_release

KEYS = 6_000
KILLS = 10
STARTED_LATEST = 0.6
FOREVER = replace(VIEW, ttl_us=None)


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lifecycle.lake", "lifecycle.online", "tests.online_cases"])
    return context


def relation(value: int, at: int) -> str:
    return f"""SELECT 'c' || i AS consumer_id, make_timestamptz({at}) AS event_timestamp, false AS deleted,
        make_timestamptz({at}) AS known_at, {value}::BIGINT AS amount, 'w{value}' AS word FROM range({KEYS}) AS r(i)"""


def fill(settings, folder, made, started=None):
    lake = Lake(settings)
    connection = lake.connect(made.snapshot)
    filling.BATCH_ROWS = 1000
    if started is not None:
        started.set()
    materialize(open_store(folder), connection, made)
    connection.close()


def write_on(folder, started):
    store = open_store(folder)
    started.set()
    for number in range(1, 100_000):
        at = 100 + number
        store.put(FOREVER, rows(*((f"c{i}", at, at, False, number, f"w{number}") for i in range(200))), at=at)


def amounts(reader, keys):
    found = reader.read([{"consumer_id": key} for key in keys])
    assert all(row["word"].value == f"w{row['amount'].value}" for row in found)
    return {row["amount"].value for row in found}


def test_killed_at_random_moments_a_materialization_leaves_old_or_new_values(lake, tmp_path, processes):
    old = write_release(lake, 1, relation(1, 10), 100, FOREVER)
    new = write_release(lake, 2, relation(2, 150), 200, FOREVER)
    first = tmp_path / "first"
    fill(lake.settings, first, old)
    open_lmdb(first).close()
    chance = random.Random(5)
    asked = [f"c{chance.randrange(KEYS)}" for _ in range(300)]
    everyone = [f"c{i}" for i in range(KEYS)]
    for number in range(KILLS):
        folder = tmp_path / f"round{number}"
        shutil.copytree(first, folder)
        started = processes.Event()
        child = processes.Process(target=fill, args=(lake.settings, folder, new, started))
        child.start()
        store = open_store(folder)
        reader = Reader(store, store.definitions(), "spend")
        assert started.wait(30)
        until = time.monotonic() + STARTED_LATEST * (number + chance.random()) / KILLS
        while time.monotonic() < until:
            assert amounts(reader, asked) in ({1}, {2})
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert amounts(reader, everyone) in ({1}, {2})
        fill(lake.settings, folder, new)
        assert amounts(reader, everyone) == {2}
        store.close()
        shutil.rmtree(folder)


def test_a_reader_beside_a_writer_sees_whole_rows_that_only_grow(tmp_path, processes):
    store = new_store(tmp_path)
    hold(store, FOREVER, at=100)
    folder = store.backend.path
    started = processes.Event()
    child = processes.Process(target=write_on, args=(folder, started))
    child.start()
    reader = Reader(store, _definitions(), "spend")
    assert started.wait(30)
    keys = [f"c{i}" for i in range(0, 200, 7)]
    seen = []
    deadline = time.monotonic() + 30
    while len(set(seen)) < 5 and time.monotonic() < deadline:
        found = reader.read([{"consumer_id": key} for key in keys])
        values = {row["amount"].value for row in found}
        assert len(values) == 1
        assert values == {None} or {row["word"].value for row in found} == {f"w{value}" for value in values}
        seen.append(values.pop() or 0)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert seen == sorted(seen)
    assert len(set(seen)) >= 5
    assert store.backend.reader_check() >= 0
    store.close()


def test_a_folder_is_opened_once_per_process(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    one = open_lmdb(tmp_path / "real")
    assert open_lmdb(tmp_path / "link") is one
    assert open_lmdb(tmp_path / "real" / ".." / "real") is one
    one.close()
    again = open_lmdb(tmp_path / "real")
    assert again is not one
    again.close()


def _definitions():
    from lifecycle.definitions import Definitions

    return Definitions(views=(FOREVER,))
