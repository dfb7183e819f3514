"""Windows online: the frame's values at any time, through releases, late and amended events, and pushes."""

from __future__ import annotations

import random
from dataclasses import replace

import pyarrow as pa
import pytest

from lifecycle.definitions import Window
from lifecycle.engine.windows import evaluate, mask_column
from lifecycle.engine.windows.single import Single
from lifecycle.errors import DataError
from lifecycle.online import Reader, event_filling, materialize
from lifecycle.online.events import EventCodec
from lifecycle.times import from_microseconds
from tests.online_cases import VIEW, release
from tests.online_events import (
    DAY,
    HOUR,
    START,
    STATES,
    check,
    event,
    fill,
    grow,
    same,
    table,
    window_view,
    write_release,
)

INPUTS = {
    "count": (None, "place"),
    "count_distinct": ("place", "amount", "rate", "flag"),
    "sum": ("amount", "rate"),
    "mean": ("amount", "rate"),
    "min": ("amount", "rate", "moment", "flag"),
    "max": ("amount", "rate", "moment"),
    "var": ("amount", "rate"),
    "std": ("amount",),
    "rate": ("flag",),
    "first": ("place", "amount"),
    "last": ("place", "moment", "rate"),
    "last_k": ("place", "amount"),
    "seconds_since_first": (None,),
    "seconds_since_last": (None, "place"),
    "approx_quantile": ("amount", "rate"),
}


def windows():
    made = []
    for function, columns in INPUTS.items():
        for column in columns:
            for length in (HOUR, 7 * DAY, None):
                for where in (None, "amount > 50"):
                    parameter = {"last_k": 3.0, "approx_quantile": 0.5}.get(function)
                    name = f"w{len(made)}_{function}"
                    made.append(Window(name, function, column, length, where, None, parameter))
    made.append(Window("here", "count", None, DAY, None, ("place", "DE")))
    return tuple(made)


@pytest.mark.parametrize("cap", [None, 5])
def test_a_thousand_random_reads_equal_the_frame(place, store, lake, cap, monkeypatch):
    reads = 200 if cap is None and not isinstance(place, str) else 30
    chance = random.Random(11 if cap is None else 12)
    monkeypatch.setattr(event_filling, "BATCH_ROWS", 97)
    monkeypatch.setattr(event_filling, "_KEYS_AT_ONCE", 5)
    keys = [f"k{at}" for at in range(12)]
    made_windows = windows() if cap is None else [one for one in windows() if one.window_us != HOUR]
    views = [window_view(made_windows, cap=cap), replace(VIEW, ttl_us=None)]
    facts: list[dict] = []
    for number in range(1, 6):
        at = START + number * 6 * DAY
        grow(chance, facts, keys, at, 120)
        if number == 4:
            facts[:] = [one for one in facts if one["consumer_id"] != "k3"]  # erased
        states = STATES.format(start=START, step=DAY // 10, rows=number * 60)
        made = write_release(lake, number, facts, states, views, at)
        fill(store, lake, made)
        reader = Reader(store, store.definitions(), [view.name for view in made.definitions.views])
        sides = (0, 1, HOUR, HOUR + 1, 7 * DAY, 7 * DAY + 1)
        edges = [one["event_timestamp"] + side for one in facts for side in sides]
        edges = [t for t in edges if t >= at] or [at]
        times = [chance.choice([at + chance.randrange(20 * DAY), chance.choice(edges)]) for _ in range(reads)]
        asked = [(chance.choice([*keys, "nobody"]), t) for t in times]
        check(reader, lake, made, asked)
        assert store.catalog()[1].of("events").serving.epoch == 1


def test_a_week_without_events_decays_as_the_frame_says_at_every_edge(store, lake):
    week = Window("spend_7d", "sum", "amount", 7 * DAY)
    view = window_view([week, Window("spends_7d", "count", None, 7 * DAY)])
    chance = random.Random(3)
    facts = [event(chance, n, ["k1"], START + DAY) for n in range(20)]
    made = write_release(lake, 1, facts, STATES.format(start=START, step=1, rows=1), [view], START + DAY + 1)
    fill(store, lake, made)
    reader = Reader(store, store.definitions(), "events")
    edges = sorted({one["event_timestamp"] + 7 * DAY + add for one in facts for add in (-1, 0, 1)})
    check(reader, lake, made, [("k1", t) for t in edges])
    [row] = reader.read([{"consumer_id": "k1"}], from_microseconds(edges[-1]))
    assert row.to_dict() == {"spend_7d": None, "spends_7d": 0}
    assert (row["spend_7d"].status, row["spends_7d"].age is None) == ("PRESENT", False)


def test_a_release_may_bring_an_event_that_another_is_like_in_all_that_windows_read(store, lake):
    view = window_view([Window("spends", "count", None, None), Window("spend", "sum", "amount", None)])
    states = STATES.format(start=START, step=1, rows=1)
    one = event(random.Random(1), 1, ["k1"], START + DAY) | {"amount": 5, "known_until": None}
    for number, facts in ((1, [one]), (2, [one, one | {"event_id": "twin"}]), (3, [one])):
        fill(store, lake, write_release(lake, number, facts, states, [view], START + number * DAY))
        [row] = Reader(store, store.definitions(), "events").read([{"consumer_id": "k1"}])
        assert list(row.to_dict().values()) == [len(facts), 5 * len(facts)]


@pytest.mark.parametrize("stop", [1, 3])
def test_a_load_of_events_that_died_is_completed(store, lake, monkeypatch, stop):
    monkeypatch.setattr(event_filling, "_KEYS_AT_ONCE", 4)
    view = window_view([Window("spends", "count", None, None)])
    facts = [event(random.Random(n), n, [f"k{n % 20:02}"], START + DAY) for n in range(60)]
    made = write_release(lake, 1, facts, STATES.format(start=START, step=1, rows=1), [view], START + DAY)
    said = []

    class DiedError(Exception):
        pass

    def die(text):
        said.append(text)
        if len(said) == stop:
            raise DiedError

    connection = lake.connect(made.snapshot)
    with pytest.raises(DiedError):
        materialize(store, connection, made, progress=die)
    assert materialize(store, connection, made).rows == {"events": 20}
    connection.close()
    reader = Reader(store, store.definitions(), "events")
    found = reader.read([{"consumer_id": f"k{n:02}"} for n in range(20)], from_microseconds(START + 9 * DAY))
    assert [row.to_dict()["spends"] for row in found] == [3] * 20


def test_mixed_money_and_sums_beyond_64_bits_are_errors():
    made = (Window("spend", "sum", "amount", None, currency="place"),)
    view = window_view(made)
    codec = EventCodec(view)
    rows = [event(random.Random(n), n, ["k"], START + DAY) | {"amount": 2**62, "place": "DE"} for n in range(3)]
    for change, words in (({}, "does not fit 64 bits"), ({"place": "FR"}, "mixes money")):
        lot = codec.lot(table([*rows[:2], rows[2] | change]).drop_columns(["known_until", "known_from"]))
        entry = codec.encode(lot, 1, 1)
        with pytest.raises(DataError, match=words):
            Single(made, codec.inputs).values(codec.decode(entry), START + 9 * DAY)


def test_one_key_at_one_time_is_the_kernels_answer_to_the_last_bit():
    chance = random.Random(5)
    made = windows()
    columns = {one: mask_column(one) for one in made if one.window_us is not None and not one.bucket}
    view = window_view(list(columns))
    codec = EventCodec(view)
    for _ in range(5):
        facts: list[dict] = []
        grow(chance, facts, ["k"], START + 9 * DAY, 80)
        grow(chance, facts, ["k"], START + 12 * DAY, 40)
        facts.sort(key=lambda one: (one["event_timestamp"], one["known_from"], one["event_id"]))
        given = table(facts).append_column("key", pa.array([0] * len(facts), pa.int64()))
        for mask in {one for one in columns.values() if one}:
            taken = [one["amount"] is not None and one["amount"] > 50 for one in facts]
            given = given.append_column(mask, pa.array(taken))
        t = START + chance.randrange(14 * DAY)
        spine = pa.table({"key": [0], "t": [t], "row": [0]})
        wanted = evaluate(given, spine, list(columns), threads=1).to_pylist()[0]
        events = codec.decode(codec.encode(codec.lot(given), 1, 1))
        found, _ = Single(list(columns), codec.inputs).values(events, t)
        for window, value in zip(columns, found, strict=True):
            if window.function in {"min", "max"} and window.column in {"moment", "flag"}:
                continue
            assert same(value, wanted[window.name]), (window, value, wanted[window.name])


def test_a_change_that_the_feed_counts_wrongly_is_written(store, lake):
    """DuckLake tells a row twice that one statement takes out of a file which another empties."""
    view = replace(window_view([Window("n", "count")]), event_id=(), tie_break=())
    table = "lake.features.events"

    def write(number, sql):
        with lake.lock():
            connection = lake.connect(write=True)
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS lake.features; {sql}")
            made = release(number, [view], START + DAY, lake.snapshot(connection))
            connection.close()
        fill(store, lake, made)
        check(Reader(store, made.definitions, ["events:n"]), lake, made, [("a", START + DAY), ("b", START + DAY)])

    values = f"SELECT *, make_timestamptz({START}) AS event_timestamp FROM"
    write(1, f"CREATE TABLE {table} AS {values} (VALUES ('a', 'first'), ('c', 'first')) AS t(consumer_id, note)")
    write(
        2,
        f"""
        BEGIN;
        UPDATE {table} SET note = 'other' WHERE consumer_id = 'a';
        INSERT INTO {table} {values} (VALUES ('a', 'second')) AS t(consumer_id, note);
        DELETE FROM {table} WHERE consumer_id = 'c';
        COMMIT""",
    )
