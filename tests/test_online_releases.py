"""From release to release: only what changed is written, nothing half is seen, and the store equals the frame."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from lifecycle.definitions import Definitions, Field
from lifecycle.engine import training_frame
from lifecycle.errors import PlatformError
from lifecycle.online import Reader, filling, materialize, read
from lifecycle.online.needed import touched
from lifecycle.times import from_microseconds
from tests.online_cases import VIEW, new_store, rows, write_release
from tests.oracle import as_of

FOREVER = replace(VIEW, ttl_us=None, tie_break=("sequence", "event_id", "content_hash"))


@pytest.fixture
def store(tmp_path):
    made = new_store(tmp_path)
    yield made
    made.close()


def relation(*given) -> str:
    """SQL of rows (key, event, known, deleted, amount)."""
    listed = ", ".join(
        f"('{key}', make_timestamptz({event}), make_timestamptz({known}), {deleted}, {amount})"
        for key, event, known, deleted, amount in given
    )
    # A row that never counts keeps the types of an empty relation.
    return f"""SELECT consumer_id::VARCHAR AS consumer_id, event_timestamp, known_at, deleted, amount::BIGINT AS amount,
        'w' || amount AS word, NULL::BIGINT AS sequence, '' AS event_id, 'h' || amount AS content_hash
        FROM (VALUES {listed}) AS t(consumer_id, event_timestamp, known_at, deleted, amount)"""


def fill(store, lake, made):
    connection = lake.connect(made.snapshot)
    try:
        return materialize(store, connection, made)
    finally:
        connection.close()


def amounts(store, keys, t=None):
    found = read(
        store, store.definitions(), "spend", [{"consumer_id": key} for key in keys], t and from_microseconds(t)
    )
    return [row["amount"].value for row in found]


def entries(store):
    return dict(store.backend.scan(store.catalog()[1].of("spend").serving.prefix))


@pytest.mark.parametrize("anew", [False, True])
def test_a_later_release_writes_what_changed(store, lake, anew):
    first = [("a", 10, 10, False, 1), ("b", 10, 10, False, 2), ("c", 10, 10, False, 3)]
    fill(store, lake, write_release(lake, 1, relation(*first), 100, FOREVER))
    before = entries(store)
    late = ("b", 5, 150, False, 9)  # an older fact known later changes nothing
    second = [*first, ("a", 120, 120, False, 4), ("c", 50, 150, True, 0), ("d", 300, 150, False, 5), late]
    done = fill(store, lake, write_release(lake, 2, relation(*second), 200, FOREVER, anew=anew))
    assert done.rows == {"spend": 3}
    assert amounts(store, "abcd") == [4, 2, None, None]
    assert amounts(store, "d", t=300) == [5]
    [unchanged] = (key for key in before if key.endswith(b"b"))
    assert entries(store)[unchanged] is not None
    assert entries(store)[unchanged] == before[unchanged]


def test_only_keys_whose_records_came_or_went_are_compared(lake):
    rows = [("a", 10, 10, False, 1), ("b", 10, 10, False, 2), ("c", 10, 10, False, 3)]
    rows += [(f"other {number}", 10, 10, False, 0) for number in range(9)]
    first = write_release(lake, 1, relation(*rows), 100, FOREVER)
    rows[:2] = [("d", 50, 50, False, 4), ("b", 50, 50, False, 5)]
    second = write_release(lake, 2, relation(*rows), 100, FOREVER)
    third = write_release(lake, 3, relation(*rows), 100, FOREVER, anew=True)
    connection = lake.connect(second.snapshot)
    [view] = second.definitions.views
    keys = connection.execute(f"FROM {touched(connection, view, first.snapshot, second.snapshot)}").fetchall()
    assert sorted(keys) == [("a",), ("b",), ("d",)]
    assert touched(connection, view, second.snapshot, third.snapshot) is None
    connection.close()


def test_a_row_that_a_release_no_longer_has_is_taken_back(store, lake):
    first = [("a", 10, 10, False, 1), ("a", 20, 20, False, 2), ("b", 10, 10, False, 3), ("c", 10, 10, False, 4)]
    first += [("c", 300, 10, False, 5), ("c", 400, 10, False, 6)]
    fill(store, lake, write_release(lake, 1, relation(*first), 100, FOREVER))
    second = [first[0], first[3], first[5], ("d", 10, 10, False, 7)]
    fill(store, lake, write_release(lake, 2, relation(*second), 200, FOREVER))
    assert store.catalog()[1].of("spend").serving.epoch == 2
    assert amounts(store, "abcd") == [1, None, 4, 7]
    assert [amounts(store, "c", t=t)[0] for t in (299, 300, 399, 400)] == [4, 4, 4, 6]


def test_an_amended_row_ahead_is_a_change_like_any_other(store, lake):
    first = [("a", 10, 10, False, 1), ("a", 300, 10, False, 2)]
    fill(store, lake, write_release(lake, 1, relation(*first), 100, FOREVER))
    done = fill(store, lake, write_release(lake, 2, relation(*first, ("a", 300, 150, False, 3)), 200, FOREVER))
    assert done.rows == {"spend": 1}
    assert store.catalog()[1].of("spend").serving.epoch == 1
    assert [amounts(store, "a", t=t)[0] for t in (200, 299, 300)] == [1, 1, 3]


def test_pushed_rows_outlast_a_release_that_does_not_know_them(store, lake):
    fill(store, lake, write_release(lake, 1, relation(("a", 10, 10, False, 1)), 100, FOREVER))
    view = store.definitions().view("spend")
    store.put(view, rows(("a", 250, 250, False, 7, "pushed"), ("e", 250, 250, False, 8, "pushed")), at=250)
    second = [("a", 10, 10, False, 1), ("a", 150, 150, False, 2), ("b", 9, 9, False, 3)]
    fill(store, lake, write_release(lake, 2, relation(*second), 200, FOREVER))
    assert amounts(store, "aeb") == [7, 8, 3]


def test_nothing_of_a_release_is_seen_before_all_of_it(store, lake, monkeypatch):
    first = [(key, 10, 10, False, 1) for key in "abc"]
    fill(store, lake, write_release(lake, 1, relation(*first), 100, FOREVER))
    second = [*first, *((key, 150, 150, False, 2) for key in "abc")]
    made = write_release(lake, 2, relation(*second), 200, FOREVER)
    monkeypatch.setattr(filling, "BATCH_ROWS", 1)
    seen = []
    connection = lake.connect(made.snapshot)
    materialize(store, connection, made, progress=lambda text: seen.append((text, amounts(store, "abc"))))
    connection.close()
    assert [found for _, found in seen] == [[1, 1, 1]] * (len(seen) - 1) + [[2, 2, 2]]
    assert amounts(store, "abc") == [2, 2, 2]


def test_a_rollback_begins_an_epoch(store, lake):
    one = write_release(lake, 1, relation(("a", 10, 10, False, 1), ("b", 10, 10, False, 2)), 100, FOREVER)
    later = [("a", 10, 10, False, 1), ("b", 10, 10, False, 2), ("b", 150, 150, True, 0)]
    later += [("a", 150, 150, False, 3), ("c", 150, 150, False, 4)]
    two = write_release(lake, 2, relation(*later), 200, FOREVER)
    fill(store, lake, one)
    fill(store, lake, two)
    assert amounts(store, "abc") == [3, None, 4]
    assert store.catalog()[1].of("spend").serving.epoch == 1
    fill(store, lake, one)
    assert amounts(store, "abc") == [1, 2, None]
    assert store.catalog()[1].of("spend").serving.epoch == 2
    fill(store, lake, one)
    assert store.catalog()[1].of("spend").serving.epoch == 2


def test_a_release_of_another_lake_with_the_same_number_is_loaded(store, lake):
    fill(store, lake, write_release(lake, 1, relation(("a", 10, 10, False, 1)), 100, FOREVER))
    fill(store, lake, write_release(lake, 1, relation(("b", 10, 10, False, 2)), 100, FOREVER))
    assert amounts(store, "ab") == [None, 2]


def test_a_changed_definition_begins_an_epoch_and_readers_of_the_old_one_go_on(store, lake):
    fill(store, lake, write_release(lake, 1, relation(("a", 10, 10, False, 1)), 100, FOREVER))
    before = Reader(store, store.definitions(), "spend")
    narrow = replace(FOREVER, features=(Field("word", "VARCHAR"),))
    two = write_release(lake, 2, relation(("a", 150, 150, False, 2)), 200, narrow)
    fill(store, lake, two)
    [row] = read(store, store.definitions(), "spend", [{"consumer_id": "a"}])
    assert row.to_dict() == {"word": "w2"}
    assert before.read([{"consumer_id": "a"}])[0].to_dict() == {"amount": 1, "word": "w1"}
    three = write_release(lake, 3, relation(("a", 150, 150, False, 2)), 300, narrow)
    fill(store, lake, three)
    with pytest.raises(PlatformError, match="materialize the release you read with"):
        before.read([{"consumer_id": "a"}])
    spaces = {key[:4] for key, _ in store.backend.scan(bytes(1))} - {bytes(4)}
    assert spaces == {store.catalog()[1].of("spend").serving.prefix}


def test_a_view_that_is_gone_is_dropped(store, lake):
    fill(store, lake, write_release(lake, 1, relation(("a", 10, 10, False, 1)), 100, FOREVER))
    made = write_release(lake, 2, relation(("a", 10, 10, False, 1)), 200, FOREVER)
    fill(store, lake, replace(made, definitions=Definitions()))
    assert not store.catalog()[1].views
    assert {key[:4] for key, _ in store.backend.scan(bytes(1))} == {bytes(4)}


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_a_load_that_died_is_completed_where_it_stopped(store, lake, monkeypatch, stop):
    given = [(f"c{at:03}", 10 + at % 3 * 200, 10, False, at) for at in range(40)]
    given += [("c020", 5, 5, False, 99), ("c021", 900, 10, False, 98)]
    made = write_release(lake, 1, relation(*given), 100, FOREVER)
    monkeypatch.setattr(filling, "BATCH_ROWS", 8)

    class DiedError(Exception):
        pass

    said = []

    def die(text):
        said.append(text)
        if len(said) == stop:
            raise DiedError

    connection = lake.connect(made.snapshot)
    with pytest.raises(DiedError):
        materialize(store, connection, made, progress=die)
    done = materialize(store, connection, made, progress=said.append)
    connection.close()
    assert done.rows == {"spend": 40}
    fresh = new_store(store.backend.path.parent)
    fill(fresh, lake, made)
    assert sorted(entries(store).items()) == sorted(entries(fresh).items())
    fresh.close()
    assert amounts(store, ["c000", "c001", "c020"]) == [0, None, 99]


def test_values_equal_the_frame_through_random_releases(store, lake):
    chance = random.Random(7)
    keys = [f"k{at}" for at in range(12)]
    facts, at = [], 0
    for number in range(1, 6):
        at += 1000
        for _ in range(30):
            known = chance.randint(at - 1000, at)
            event = chance.choice([known, known - chance.randint(0, 3000), known + chance.randint(0, 1500)])
            facts.append((chance.choice(keys), max(event, 0), known, chance.random() < 0.2, len(facts)))
        if number == 4:
            facts = facts[:60] + facts[90:]  # erased, and with them what some keys were read by
        made = write_release(lake, number, relation(*facts), at, replace(FOREVER, ttl_us=2000))
        fill(store, lake, made)
        times = [at, *(at + chance.randint(0, 2000) for _ in range(8))]
        spine = pa.table(
            {
                "consumer_id": [key for t in times for key in keys],
                "event_timestamp": pa.array([t for t in times for _ in keys], pa.timestamp("us", "UTC")),
            }
        )
        connection = lake.connect(made.snapshot)
        frame = training_frame(connection, made.definitions, spine, features=["spend"]).table.to_pylist()
        connection.close()
        reader = Reader(store, made.definitions, "spend")
        asked = [{"consumer_id": key} for key in keys]
        online = [row.to_dict() for t in times for row in reader.read(asked, from_microseconds(t))]
        assert online == [{"amount": row["amount"], "word": row["word"]} for row in frame]
        plain = [
            {"key": (key,), "event": e, "known": k, "tie": ("", f"h{n}"), "deleted": gone, "values": (n,)}
            for key, e, k, gone, n in facts
        ]
        assert [row["amount"] for row in online] == [
            (as_of(plain, (key,), t, ttl=2000) or (None,))[0] for t in times for key in keys
        ]
        ages = [row["amount"].age for row in reader.read(asked) if row["amount"].status == "PRESENT"]
        assert ages
        assert store.catalog()[1].of("spend").serving.epoch == (1 if number < 4 else 2)
        assert all(timedelta(0) <= age <= timedelta(microseconds=2000) for age in ages)
