"""Other processes read while one writes, and a writer may be killed at any moment."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from contextlib import closing
from dataclasses import replace

import pytest

from lifecycle.lake import Lake
from lifecycle.online import Reader, filling, materialize, open_store
from lifecycle.online.lmdb_store import open_lmdb
from lifecycle.online.rows import split
from tests.online_cases import VIEW, hold, new_store, rows, write_release

KEYS = 6_000
# The claim is 50: ONLINE_KILLS=50 pytest tests/test_online_processes.py
KILLS = int(os.environ.get("ONLINE_KILLS", "5"))
BATCH = 100
FOREVER = replace(VIEW, ttl_us=None)


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lifecycle.lake", "lifecycle.online", "tests.online_cases"])
    return context


def relation(value: int, at: int, earlier: str = "") -> str:
    both = f"{earlier} UNION ALL" if earlier else ""
    return f"""{both} SELECT 'c' || i AS consumer_id, make_timestamptz({at}) AS event_timestamp, false AS deleted,
        make_timestamptz({at}) AS known_at, {value}::BIGINT AS amount, 'w{value}' AS word FROM range({KEYS}) AS r(i)"""


def fill(settings, folder, made, written):
    def count(_):
        written.value += 1

    connection = Lake(settings).connect(made.snapshot)
    filling.BATCH_ROWS = BATCH
    materialize(open_store(folder), connection, made, progress=count)
    connection.close()


def write_on(folder, started):
    store = open_store(folder)
    started.set()
    for number in range(1, 100_000):
        at = 100 + number
        store.put(FOREVER, rows(*((f"c{i}", at, at, False, number, f"w{number}") for i in range(200))), at=at)


def unseen(store):
    """Count the keys that hold a row of a release that is not shown yet, beside the one in force or in a new epoch."""
    spaces = store.catalog()[1].of("spend")
    if spaces.loading is not None:
        return sum(1 for _ in store.backend.scan(spaces.loading.prefix))
    return sum(len(list(split(entry))) > 1 for _, entry in store.backend.scan(spaces.serving.prefix))


def amounts(reader, keys):
    found = {tuple(row.to_dict().items()) for row in reader.read([{"consumer_id": key} for key in keys])}
    values = {dict(row)["amount"] for row in found}
    assert found == {(("amount", value), ("word", f"w{value}")) for value in values}
    return values


@pytest.mark.parametrize("history", ["continued", "rewritten"])
def test_killed_at_random_moments_a_materialization_leaves_old_or_new_values(lake, tmp_path, processes, history):
    before = relation(1, 10)
    old = write_release(lake, 1, before, 100, FOREVER)
    new = write_release(lake, 2, relation(2, 150, before if history == "continued" else ""), 200, FOREVER)
    first = tmp_path / "first"
    with closing(lake.connect(old.snapshot)) as connection:
        materialize(open_store(first), connection, old)
    open_lmdb(first).close()
    connection = lake.connect(new.snapshot)
    chance = random.Random(5)
    asked = [f"c{chance.randrange(KEYS)}" for _ in range(50)]
    everyone = [f"c{i}" for i in range(KEYS)]
    halves = 0
    for number in range(KILLS):
        folder = tmp_path / f"round{number}"
        shutil.copytree(first, folder)
        written = processes.Value("i", 0)
        child = processes.Process(target=fill, args=(lake.settings, folder, new, written))
        child.start()
        store = open_store(folder)
        reader = Reader(store, store.definitions(), "spend")
        wanted, deadline = chance.randint(1, KEYS // BATCH // 2), time.monotonic() + 60
        while written.value < wanted and time.monotonic() < deadline:
            assert amounts(reader, asked) in ({1}, {2})
            time.sleep(0.001)  # the child needs a core too
        time.sleep(chance.random() / 200)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert written.value >= wanted
        assert amounts(reader, everyone) in ({1}, {2})
        halves += 0 < unseen(store) < KEYS
        materialize(store, connection, new)
        assert amounts(reader, everyone) == {2}
        store.close()
        shutil.rmtree(folder)
    connection.close()
    assert halves >= KILLS // 2


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


def test_a_process_opens_more_stores_than_it_has_room_for_at_once(tmp_path):
    kept = open_lmdb(tmp_path / "kept")
    for number in range(200):
        store = open_store(tmp_path / str(number))
        store.backend.load([(b"key", b"value")], [])
    assert open_lmdb(tmp_path / "kept") is kept
    assert open_store(tmp_path / "0").backend.read([b"key"]) == [b"value"]


def _definitions():
    from lifecycle.definitions import Definitions

    return Definitions(views=(FOREVER,))
