"""Pushed versions are settled as intake settles them: equal to nested loops over what was told, in any order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.definitions import Field, View, Window
from lifecycle.engine.windows.single import Single
from lifecycle.online.events import EventCodec
from lifecycle.online.lots import END, EVENT, MARK, NO_PAST, TIME, marks
from lifecycle.online.versions import AWAITED_US, accepted, awaited, remembered, taken
from tests import oracle

MANY = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SPAN = 30
WINDOWS = (
    Window("spends", "count", None, 9),
    Window("spend", "sum", "amount", 9),
    Window("places", "count_distinct", "place", 4),
    Window("last", "last", "place", 9),
)
ALL_HISTORY = (*WINDOWS, Window("ever", "sum", "amount", None))
TYPES = {"spends": "BIGINT", "spend": "BIGINT", "places": "BIGINT", "last": "VARCHAR", "ever": "BIGINT"}
moments = st.integers(0, SPAN)
told = st.fixed_dictionaries(
    {
        "id": st.sampled_from([0, 1, 2, 3]),
        "event": moments,
        "amount": st.sampled_from([None, 1, 2]),
        "place": st.sampled_from([None, "DE", "FR"]),
        "retracted": st.sampled_from([False, False, True]),
    }
)
pushes = st.lists(
    st.tuples(moments, st.lists(told, min_size=1, max_size=3, unique_by=lambda one: one["id"])),
    max_size=7,
    unique_by=lambda push: push[0],
)


def codec_of(windows):
    return EventCodec(
        View(
            "events",
            "features.events",
            (("k", "k"),),
            "event_timestamp",
            None,
            tuple(Field(one.name, TYPES[one.name]) for one in windows),
            keys=(Field("k", "VARCHAR"),),
            windows=windows,
            event_id=("event_id",),
        )
    )


def tellings(given):
    """Each row told with its time; one without an id is an event of its own, and has nothing to take back."""
    made = []
    for at, rows in given:
        for one in rows:
            named = one["id"] or f"none {len(made)}"
            content = (one["event"], one["amount"], one["place"], one["retracted"])
            # Two events of one time: the one known first comes first, as a release's tie-break would say.
            tie = (at, len(made))
            if one["id"] or not one["retracted"]:
                made.append(one | {"key": ("k",), "told": at, "content": content, "named": named, "tie": tie})
    return [one | {"id": one["named"]} for one in made]


def lot_of(codec, rows, *, at=None):
    """Rows as the codec takes them; `at` for pushed ones, else with the times between which each is in force."""
    times = pa.timestamp("us", "UTC")
    columns = {
        "event_timestamp": pa.array([one["event"] for one in rows], times),
        "window_event": pa.array([one["id"] if isinstance(one["id"], int) else None for one in rows], pa.int64()),
        "amount": pa.array([one["amount"] for one in rows], pa.int64()),
        "place": pa.array([one["place"] for one in rows], pa.string()),
    }
    if at is None:
        columns |= {name: pa.array([one[name] for one in rows], times) for name in ("known_from", "known_until")}
    else:
        columns["window_retracted"] = pa.array([one["retracted"] for one in rows])
    return codec.lot(pa.table(columns), pushed=at)


def in_order(rows):
    return sorted(rows, key=lambda one: (one["event"], one["known_from"]))


def kept(codec, lot, floor):
    """What a store would read back of a key."""
    return codec.decode_lot(codec.encode(codec.trimmed(lot, floor), 1, 1))


def push(codec, lot, rows, floor):
    for at in dict.fromkeys(one["told"] for one in rows):
        new = lot_of(codec, sorted((one for one in rows if one["told"] == at), key=lambda o: o["event"]), at=at)
        lot = kept(codec, taken(lot, accepted(lot, new)), floor)
    return lot


def check(codec, lot, told, times):
    versions = oracle.settled(told)
    events = codec.decode(codec.encode(lot, 1, 1))
    for t in times:
        found, _ = Single(codec.view.windows, codec.inputs).values(events, t)
        for window, value in zip(codec.view.windows, found, strict=True):
            wanted = oracle.window(versions, ("k",), t, window.function, window.column, window.window_us)
            assert value == wanted, (window.name, t)


@MANY
@given(pushes, moments)
def test_pushes_in_any_order_are_what_intake_would_settle(given, floor):
    codec = codec_of(ALL_HISTORY)
    told = tellings(given)
    check(codec, push(codec, codec.nothing, told, floor), told, range(floor, SPAN + 12))


@MANY
@given(pushes, st.sampled_from([WINDOWS, ALL_HISTORY]), st.lists(moments, min_size=1, max_size=3))
def test_releases_between_pushes_change_nothing_that_was_told(given, windows, releases):
    codec = codec_of(windows)
    if windows is WINDOWS:
        # What moves an event's time from behind the longest window into it meets no memory of the event.
        given = [(at, [one | {"event": 6 * one["id"] + at * (not one["id"])} for one in rows]) for at, rows in given]
    told = tellings(sorted(given, key=lambda one: one[0]))
    lot, floor = codec.nothing, 0
    for begin, end in pairwise([-1, *sorted(releases), SPAN]):
        lot = push(codec, lot, [one for one in told if begin < one["told"] <= end], floor)
        # The release has all that was told up to half of its time: its other sources were faster.
        complete, floor = end - (end - begin) // 2, end
        known = oracle.settled([one for one in told if one["told"] <= complete])
        release = codec.trimmed(lot_of(codec, in_order(known)), floor)
        waiting = awaited(lot, release, complete)
        lot = kept(codec, remembered(taken(release, waiting), lot.past), floor)
        check(codec, lot, told[: sum(one["told"] <= end for one in told)], range(floor, SPAN + 12))
    # All of it told again changes nothing.
    near = [one for one in told if isinstance(one["id"], int) and (windows is ALL_HISTORY or one["event"] >= SPAN - 9)]
    again = lot
    for one in near:
        again = push(codec, again, [one | {"told": SPAN + 1}], floor) if not one["retracted"] else again
    check(codec, again, told, range(SPAN + 1, SPAN + 12))


FIRST = {"id": 1, "event": 5, "amount": 1, "place": "DE", "retracted": False}
OTHER = FIRST | {"amount": 2}
TAKEN_BACK = FIRST | {"retracted": True}
"""What is pushed at 10, 20, ...; and how many events are then kept, and how many versions remembered, from 90 on."""
KEPT = [
    ([FIRST], 1, 0),
    ([FIRST, FIRST], 1, 0),
    ([FIRST, OTHER], 1, 1),
    ([FIRST, OTHER, FIRST], 1, 1),
    ([FIRST, TAKEN_BACK], 1, 1),  # the retraction waits for a release
    ([FIRST, TAKEN_BACK, FIRST, TAKEN_BACK], 1, 1),
    ([FIRST, TAKEN_BACK, OTHER], 1, 2),
    ([FIRST | {"id": 0}, FIRST | {"id": 0}], 2, 0),
]


@pytest.mark.parametrize(("given", "events", "past"), KEPT)
def test_what_is_kept_of_pushed_versions(given, events, past):
    codec = codec_of(ALL_HISTORY)
    lot = codec.nothing
    for number, one in enumerate(given, 1):
        new = lot_of(codec, [one | {"id": one["id"] or None}], at=number * 10)
        lot = kept(codec, taken(lot, accepted(lot, new)), 0)
    assert (len(kept(codec, lot, 90)), len(kept(codec, lot, 90).past)) == (events, past)


"""A push at 10 of an event, what a release has of it, up to when it is complete, and whether the push still waits."""
WAITS = [
    (FIRST, [], 10, True),
    (FIRST, [], 10 + AWAITED_US - 1, True),
    (FIRST, [], 10 + AWAITED_US, False),
    (FIRST, [FIRST], 0, False),
    (FIRST, [OTHER], 0, False),  # it told of a new event, and the release has that event
    (OTHER | {"amends": True}, [FIRST], 9, True),
    (OTHER | {"amends": True}, [FIRST, OTHER], 9, False),
    (OTHER | {"amends": True}, [FIRST], 10 + AWAITED_US, False),
    (TAKEN_BACK, [FIRST], 10, True),
    (TAKEN_BACK, [FIRST], 10 + AWAITED_US, False),
    (FIRST | {"id": None}, [], 9, True),
    (FIRST | {"id": None}, [], 10, False),
]


@pytest.mark.parametrize(("pushed", "released", "complete", "waits"), WAITS)
def test_how_long_a_pushed_event_waits_for_a_release(pushed, released, complete, waits):
    codec = codec_of(ALL_HISTORY)
    before = codec.nothing
    if pushed.get("amends"):
        before = lot_of(codec, [FIRST | {"known_from": 5, "known_until": None}])
    lot = taken(before, accepted(before, lot_of(codec, [pushed], at=10)))
    bounds = [(5, None)] if len(released) < 2 else [(5, 7), (7, None)]
    release = [
        one | {"known_from": low, "known_until": high} for one, (low, high) in zip(released, bounds, strict=False)
    ]
    held = lot_of(codec, release) if release else codec.nothing
    assert len(awaited(lot, codec.trimmed(held, 8), complete)) == waits


def test_past_versions_are_forgotten_behind_the_longest_window():
    codec = codec_of(WINDOWS)
    lot = taken(codec.nothing, lot_of(codec, [FIRST], at=10))
    lot = kept(codec, taken(lot, lot_of(codec, [OTHER], at=12)), 12)
    [past] = lot.past.tolist()
    mark = marks(lot_of(codec, [FIRST], at=10))[0]
    assert [past[at] for at in (EVENT, MARK, TIME, END)] == [1, mark, 5, 12]
    assert [len(kept(codec, lot, floor).past) for floor in (13, 14, 15)] == [1, 1, 0]
    assert np.array_equal(kept(codec, lot, 15).past, NO_PAST)
