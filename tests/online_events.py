"""Events, window views and releases of both for the tests of windows online."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from lifecycle.definitions import Field, View
from lifecycle.engine import training_frame
from lifecycle.engine.windows.functions import result_type
from lifecycle.online import materialize
from lifecycle.times import from_microseconds
from tests.online_cases import put_rows, release, settle_touched, typed

HOUR = 3_600_000_000
DAY = 24 * HOUR
START = 1_700_000_000_000_000
TYPES = {
    "amount": pa.int64(),
    "rate": pa.float64(),
    "flag": pa.bool_(),
    "place": pa.string(),
    "moment": pa.timestamp("us", "UTC"),
}
SQL_TYPES = {pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN", pa.string(): "VARCHAR"}
SQL_TYPES |= {pa.timestamp("us", "UTC"): "TIMESTAMP WITH TIME ZONE"}


def dtype(window):
    kind = result_type(window, TYPES[window.column] if window.column else None)
    return f"{SQL_TYPES[kind.value_type]}[]" if pa.types.is_list(kind) else SQL_TYPES[kind]


def window_view(made, name="events", cap=None, **more):
    return View(
        name=name,
        relation="features.events",
        join_keys=(("consumer_id", "consumer_id"),),
        event_timestamp="event_timestamp",
        known_at=None,
        features=tuple(Field(one.name, dtype(one)) for one in made),
        keys=(Field("consumer_id", "VARCHAR"),),
        windows=tuple(made),
        history_cap=cap,
        **{"tie_break": ("event_id",), "event_id": ("event_id",), **more},
    )


def event(chance, number, keys, before):
    """One event; a third are known late."""
    time = START + chance.randrange(0, before - START)
    if chance.random() < 0.3:
        time -= time % HOUR  # equal times
    known = min(time if chance.random() < 0.66 else time + chance.randrange(3 * DAY), before)
    value = lambda options: None if chance.random() < 0.1 else chance.choice(options)  # noqa: E731
    return {
        "consumer_id": chance.choice(keys),
        "event_id": f"e{number:05}",
        "event_timestamp": time,
        "known_from": known,
        "known_until": None,
        "amount": value(range(100)),
        "rate": value([1e17, 0.1, 0.2, -0.0, 0.0, float("nan")] if number % 50 == 0 else [0.1, 0.2, -1.5]),
        "flag": value([True, False]),
        "place": value(["DE", "FR", "IE"]),
        "moment": value(range(START, START + 100)),
    }


def grow(chance, facts, keys, at, count):
    """Add events up to `at`, and amend or retract some of those there."""
    for old in chance.sample(facts, len(facts) // 10):
        if old["known_until"] is None:
            old["known_until"] = max(old["known_from"] + 1, at - chance.randrange(DAY))
            if chance.random() < 0.7:
                time = old["event_timestamp"] + chance.choice([0, 0, -HOUR, HOUR])
                changed = {"amount": 77, "known_from": old["known_until"], "known_until": None, "event_timestamp": time}
                facts.append(old | changed | ({"consumer_id": chance.choice(keys)} if chance.random() < 0.3 else {}))
    facts += [event(chance, len(facts) + n, keys, at) for n in range(count)]


def table(facts):
    times = pa.timestamp("us", "UTC")
    kinds = {"consumer_id": pa.string(), "event_id": pa.string(), **TYPES}
    kinds |= dict.fromkeys(("event_timestamp", "known_from", "known_until"), times)
    return pa.table({name: pa.array([one[name] for one in facts], kind) for name, kind in kinds.items()})


def write_release(lake, number, facts, states, views, at, complete=None, *, anew=False):
    """Write a release; `complete` is the watermark of the source "slow", `at` that of the fastest."""
    with lake.lock():
        connection = lake.connect(write=True)
        connection.execute("CREATE SCHEMA IF NOT EXISTS lake.features; CREATE SCHEMA IF NOT EXISTS lake.raw")
        connection.register("facts", table(facts))
        put_rows(connection, "features.events", "FROM facts", anew=anew)
        put_rows(connection, "features.spend", states, anew=anew)
        settled = [settle_touched(connection, lake, typed(connection, view)) for view in views]
        made = release(number, settled, at, lake.snapshot(connection))
        connection.close()
    if complete is not None:
        made = replace(made, watermarks={**made.watermarks, "slow": from_microseconds(complete)})
    return made


def fill(store, lake, made):
    connection = lake.connect(made.snapshot)
    try:
        return materialize(store, connection, made)
    finally:
        connection.close()


def frame(lake, made, asked):
    """The frame's values of every feature at (key, time) pairs."""
    spine = pa.table(
        {
            "consumer_id": pa.array([key for key, _ in asked], pa.string()),
            "event_timestamp": pa.array([t for _, t in asked], pa.timestamp("us", "UTC")),
        }
    )
    names = [view.name for view in made.definitions.views]
    connection = lake.connect(made.snapshot)
    try:
        found = training_frame(connection, made.definitions, spine, features=names).table
    finally:
        connection.close()
    return found.drop_columns(["consumer_id", "event_timestamp"]).to_pylist()


def same(one, other):
    return one == other or (one != one and other != other)  # noqa: PLR0124 - NaN


def check(reader, lake, made, asked):
    for (key, t), wanted in zip(asked, frame(lake, made, asked), strict=True):
        [row] = reader.read([{"consumer_id": key}], from_microseconds(t))
        found = row.to_dict()
        assert [name for name in wanted if not same(found[name], wanted[name])] == []
        for name, one in row.items():
            assert one.status == ("PRESENT" if name not in {"amount", "word"} or wanted["word"] else "NOT_FOUND")


STATES = """SELECT 'k' || (i % 12) AS consumer_id, make_timestamptz({start} + i * {step}) AS event_timestamp,
    make_timestamptz({start} + i * {step} + (i % 3) * {step}) AS known_at, i % 11 = 0 AS deleted, i::BIGINT AS amount,
    'w' || i AS word FROM range({rows}) AS r(i)"""
