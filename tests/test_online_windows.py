"""Windows online: the frame's values at any time, through releases, late and amended events, and pushes."""

from __future__ import annotations

import random
from dataclasses import replace

import pyarrow as pa
import pytest

from lifecycle.definitions import Field, View, Window
from lifecycle.engine import settle, training_frame
from lifecycle.engine.windows import evaluate, mask_column
from lifecycle.engine.windows.functions import result_type
from lifecycle.engine.windows.single import Single
from lifecycle.errors import DataError, UsageError
from lifecycle.online import Reader, event_filling, materialize, push_events
from lifecycle.online.events import EventCodec
from lifecycle.online.redis_store import PASSWORD_VARIABLE
from lifecycle.times import from_microseconds
from tests.online_cases import PASSWORD, VIEW, new_store, redis_server, release, typed

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


def dtype(window):
    kind = result_type(window, TYPES[window.column] if window.column else None)
    return f"{SQL_TYPES[kind.value_type]}[]" if pa.types.is_list(kind) else SQL_TYPES[kind]


def window_view(made, name="events", cap=None):
    return View(
        name=name,
        relation="features.events",
        join_keys=(("consumer_id", "consumer_id"),),
        event_timestamp="event_timestamp",
        known_at=None,
        features=tuple(Field(one.name, dtype(one)) for one in made),
        keys=(Field("consumer_id", "VARCHAR"),),
        tie_break=("event_id",),
        windows=tuple(made),
        history_cap=cap,
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


def write_release(lake, number, facts, states, views, at):
    with lake.lock():
        connection = lake.connect(write=True)
        connection.execute("CREATE SCHEMA IF NOT EXISTS lake.features")
        connection.register("facts", table(facts))
        connection.execute("CREATE OR REPLACE TABLE lake.features.events AS FROM facts")
        connection.execute(f"CREATE OR REPLACE TABLE lake.features.spend AS {states}")
        settled = [settle(connection, typed(connection, view)) for view in views]
        made = release(number, settled, at, lake.snapshot(connection))
        connection.close()
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


@pytest.fixture(scope="module", params=["lmdb", "redis"])
def place(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "lmdb":
        yield folder
        return
    with redis_server(folder) as address, pytest.MonkeyPatch.context() as patch:
        if address is None:
            pytest.skip("redis-server is not installed (Debian: redis-server)")
        patch.setenv(PASSWORD_VARIABLE, PASSWORD)
        yield address


@pytest.fixture
def store(place):
    made = new_store(place)
    yield made
    made.close()


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


def test_pushed_events_count_from_the_push_on_until_a_release_has_them(store, lake):
    view = window_view([Window("spend_7d", "sum", "amount", 7 * DAY), Window("last", "last", "place", None)])
    base = event(random.Random(1), 1, ["k1"], START + DAY)
    facts = [base | {"amount": 1, "place": "DE", "event_timestamp": START + HOUR, "known_from": START + HOUR}]
    states = STATES.format(start=START, step=1, rows=1)
    made = write_release(lake, 1, facts, states, [view], START + DAY)
    fill(store, lake, made)
    reader = Reader(store, store.definitions(), "events")
    late = base | {"amount": 10, "place": "FR", "event_id": "p", "event_timestamp": START}
    new = base | {"consumer_id": "k2", "amount": 5, "place": None, "event_id": "q", "event_timestamp": START + DAY}
    stamp = START + DAY + HOUR
    connection = lake.connect(made.snapshot)
    [pushed] = store.definitions().views
    assert push_events(store, connection, pushed, table([late, new]), stamp) == 2

    def spend(key, t):
        return list(reader.read([{"consumer_id": key}], from_microseconds(t))[0].to_dict().values())

    assert spend("k1", stamp) == [11, "DE"]
    assert spend("k1", stamp - 1) == [1, "DE"]
    assert spend("k2", stamp) == [5, None]
    assert reader.read([{"consumer_id": "k1"}], from_microseconds(stamp))[0]["last"].freshness == "push"
    # A release from before the push keeps it beside; one from after it has it, or does not.
    second = write_release(lake, 2, [*facts, facts[0] | {"event_id": "r", "amount": 2}], states, [view], stamp - 1)
    fill(store, lake, second)
    assert (spend("k1", stamp)[0], spend("k2", stamp)[0]) == (13, 5)
    changed = replace(view, windows=view.windows[:1], features=view.features[:1])
    narrow = write_release(lake, 3, facts, states, [changed], stamp + DAY)
    fill(store, lake, narrow)
    reader = Reader(store, store.definitions(), "events")
    assert spend("k1", stamp + DAY) == [1]
    connection.close()


def test_a_release_may_bring_an_event_that_another_is_like_in_all_that_windows_read(store, lake):
    view = window_view([Window("spends", "count", None, None), Window("spend", "sum", "amount", None)])
    states = STATES.format(start=START, step=1, rows=1)
    one = event(random.Random(1), 1, ["k1"], START + DAY) | {"amount": 5, "known_until": None}
    for number, facts in ((1, [one]), (2, [one, one | {"event_id": "twin"}]), (3, [one])):
        fill(store, lake, write_release(lake, number, facts, states, [view], START + number * DAY))
        [row] = Reader(store, store.definitions(), "events").read([{"consumer_id": "k1"}])
        assert list(row.to_dict().values()) == [len(facts), 5 * len(facts)]


def test_pushed_events_pass_into_a_new_epoch(store, lake):
    view = window_view([Window("spends", "count", None, None)])
    facts = [event(random.Random(1), n, ["k1"], START + DAY) for n in range(3)]
    states = STATES.format(start=START, step=1, rows=1)
    one = write_release(lake, 1, facts, states, [view], START + DAY)
    fill(store, lake, one)
    two = write_release(lake, 2, facts[:2], states, [view], START + 2 * DAY)
    fill(store, lake, two)
    connection = lake.connect(two.snapshot)
    push_events(store, connection, store.definitions().views[0], table(facts[2:]), START + 3 * DAY)
    connection.close()
    fill(store, lake, one)  # a rollback
    assert store.catalog()[1].of("events").serving.epoch == 2
    [row] = Reader(store, store.definitions(), "events").read([{"consumer_id": "k1"}])
    assert row.to_dict() == {"spends": 4}


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


def test_features_of_a_window_view_are_not_pushed(store, lake):  # noqa: ARG001
    view = window_view([Window("spends", "count", None, None)])
    with pytest.raises(UsageError, match="push its events"):
        store.put(view, None)
    with pytest.raises(UsageError, match="has no windows"):
        push_events(store, None, VIEW, None, 0)


def test_mixed_money_and_sums_beyond_64_bits_are_errors():
    made = (Window("spend", "sum", "amount", None, currency="place"),)
    view = window_view(made)
    codec = EventCodec(view)
    rows = [event(random.Random(n), n, ["k"], START + DAY) | {"amount": 2**62, "place": "DE"} for n in range(3)]
    for change, words in (({}, "does not fit 64 bits"), ({"place": "FR"}, "mixes money")):
        lot = codec.lot(table([*rows[:2], rows[2] | change]).drop_columns(["known_until", "known_from"]))
        entry = codec.encode(lot, 1, 1)
        with pytest.raises(DataError, match=words):
            Single(made).values(codec.decode(entry), START + 9 * DAY)


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
        found, _ = Single(list(columns)).values(events, t)
        for window, value in zip(columns, found, strict=True):
            if window.function in {"min", "max"} and window.column in {"moment", "flag"}:
                continue
            assert same(value, wanted[window.name]), (window, value, wanted[window.name])
