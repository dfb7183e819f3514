"""Pushed events: each version once, in force from its write on, and kept until a release has it."""

from __future__ import annotations

import random
from dataclasses import replace

import pyarrow as pa
import pytest

from lifecycle.definitions import Window
from lifecycle.errors import PlatformError, UsageError
from lifecycle.online import Reader, codec, event_filling, events, materialize, push_events
from lifecycle.online.store import PUSHED
from lifecycle.online.versions import AWAITED_US
from lifecycle.times import from_microseconds
from tests.online_cases import VIEW
from tests.online_events import (
    DAY,
    HOUR,
    START,
    STATES,
    event,
    fill,
    frame,
    same,
    table,
    window_view,
    write_release,
)

AT = START + DAY
ONE_STATE = STATES.format(start=START, step=1, rows=1)
SPENDS = (Window("spends", "count", None, 30 * DAY), Window("spend", "sum", "amount", 30 * DAY))
TAKEN = (*SPENDS, Window("places", "count_distinct", "place", 30 * DAY), Window("last", "last", "place", None))


def fact(name, amount, *, time=START + HOUR, known=None, key="k1", **more):
    """A version of an event, known from its own time on."""
    base = event(random.Random(1), 1, [key], AT)
    return base | {
        "event_id": name,
        "amount": amount,
        "event_timestamp": time,
        "known_from": time if known is None else known,
    } | more  # fmt: skip


def pushed(rows):
    given = table(rows).drop_columns(["known_from", "known_until"])
    if any("retracted" in one for one in rows):
        given = given.append_column("retracted", pa.array([one.get("retracted") for one in rows], pa.bool_()))
    return given


def push(store, lake, made, rows, at):
    connection = lake.connect(made.snapshot)
    try:
        return push_events(store, connection, store.definitions().view("events"), pushed(rows), at)
    finally:
        connection.close()


def values(store, t, key="k1"):
    [row] = Reader(store, store.definitions(), "events").read([{"consumer_id": key}], from_microseconds(t))
    return list(row.to_dict().values())


def noted(store):
    return sum(1 for _ in store.backend.scan(PUSHED))


A, AMENDED, LATER = fact("a", 10), fact("a", 7), fact("a", 10, time=START + 2 * HOUR)
RETRACTED = fact("a", None, retracted=True)
B, NAMELESS = fact("b", 10), fact(None, 10)
"""What a release has of a key, the pushes that follow, and what is then counted and summed."""
ONCE = {
    "twice in one push": ([], [[A, A]], [1, 10]),
    "in two pushes": ([], [[A], [A]], [1, 10]),
    "in the release": ([A], [[A]], [1, 10]),
    "beside another event that is alike": ([A], [[B], [A, B]], [2, 20]),
    "a new version": ([A], [[AMENDED]], [1, 7]),
    "a new version, and the old one again": ([A], [[AMENDED], [A]], [1, 7]),
    "versions, all of them again": ([], [[A], [AMENDED], [A], [AMENDED]], [1, 7]),
    "versions in one push: the tie-break's last": ([], [[A, AMENDED]], [1, 10]),
    "versions in one push, and again": ([], [[AMENDED, A], [AMENDED]], [1, 10]),
    "another time": ([A], [[LATER]], [1, 10]),
    "a retraction": ([A], [[RETRACTED]], [0, None]),
    "a retraction of what was pushed": ([B], [[A], [RETRACTED], [RETRACTED]], [1, 10]),
    "a retraction, and the event again": ([A], [[RETRACTED], [A]], [0, None]),
    "a retraction, and a new version": ([A], [[RETRACTED], [AMENDED]], [1, 7]),
    "a retraction of what is not known": ([], [[RETRACTED], [A]], [1, 10]),
    "without an id": ([NAMELESS], [[NAMELESS], [NAMELESS, NAMELESS]], [4, 40]),
}
"""How many of them are no repeats, push by push."""
NEW_VERSIONS = [17, 6, 0, 0]


def test_a_pushed_version_counts_once_from_its_push_on(store, lake):
    view = window_view(SPENDS, tie_break=("amount",))
    wanted = {name: found for name, (_, _, found) in ONCE.items()}
    facts = [one | {"consumer_id": name} for name, (released, _, _) in ONCE.items() for one in released]
    made = write_release(lake, 1, facts, ONE_STATE, [view], AT)
    fill(store, lake, made)
    found = all_values(store, AT)
    for hour in (1, 2, 3, 4):
        told = {name: pushes[hour - 1] for name, (_, pushes, _) in ONCE.items() if len(pushes) >= hour}
        at = AT + hour * HOUR
        count = push(store, lake, made, [one | {"consumer_id": name} for name in told for one in told[name]], at)
        assert all_values(store, at - 1) == found
        found = all_values(store, at)
        assert {name: found[name] for name in told if len(ONCE[name][1]) == hour} == {
            name: wanted[name] for name in told if len(ONCE[name][1]) == hour
        }
        assert count == NEW_VERSIONS[hour - 1]
    assert found == wanted
    # A release that knows nothing of the pushes leaves them, in keys that it changes and in others.
    facts += [fact("p", 100, key=name) for name in [*ONCE][::2]]
    fill(store, lake, write_release(lake, 2, facts, ONE_STATE, [view], at + 1, complete=AT))
    more = {name: [n + 1, (s or 0) + 100] if name in [*ONCE][::2] else [n, s] for name, (n, s) in wanted.items()}
    assert all_values(store, at + 1) == more
    # All of it again, but for what has no id: nothing.
    again = [one | {"consumer_id": name} for name, (_, pushes, _) in ONCE.items() for rows in pushes for one in rows]
    assert push(store, lake, made, [one for one in again if one["event_id"]], at + HOUR) == 0
    assert all_values(store, at + HOUR) == more


def all_values(store, t):
    reader = Reader(store, store.definitions(), "events")
    rows = reader.read([{"consumer_id": name} for name in ONCE], from_microseconds(t))
    return {name: list(row.to_dict().values()) for name, row in zip(ONCE, rows, strict=True)}


@pytest.mark.parametrize("event_id", [("event_id",), ()])
def test_a_push_stays_until_the_sources_of_its_view_are_complete(store, lake, event_id):
    view = window_view(SPENDS, event_id=event_id, tags=(("sources", "slow"),))
    facts = [fact("a", 1)]
    made = write_release(lake, 1, facts, ONE_STATE, [view], AT, complete=AT)
    fill(store, lake, made)
    push(store, lake, made, [fact("b", 10)], AT + HOUR)
    push(store, lake, made, [fact("c", 100, key="k2")], AT + HOUR)
    # Another source is ahead: the release's time is later than the push, and the event is still to come.
    ahead = AT + DAY
    facts.append(fact("d", 1000))
    fill(store, lake, write_release(lake, 2, facts, ONE_STATE, [view], ahead, complete=AT + HOUR - 1))
    assert (values(store, ahead), values(store, ahead, "k2")) == ([3, 1011], [1, 100])
    facts.append(fact("b", 10, known=AT + HOUR))
    fill(store, lake, write_release(lake, 3, facts, ONE_STATE, [view], ahead + 1, complete=AT + HOUR))
    assert values(store, ahead + 1) == [3, 1011]
    # What has not come: without an id it cannot be told from what has, with one it is awaited, then given up.
    assert values(store, ahead + 1, "k2") == ([1, 100] if event_id else [0, None])
    assert noted(store) == (1 if event_id else 0)
    for number, complete, wanted in ((4, -1, [1, 100]), (5, 0, [0, None])):
        end = AT + HOUR + AWAITED_US + complete
        fill(store, lake, write_release(lake, number, facts, ONE_STATE, [view], end + DAY, complete=end))
        assert values(store, end + DAY, "k2") == (wanted if event_id else [0, None])
    assert (values(store, end + DAY), noted(store)) == ([3, 1011], 0)


def test_pushed_events_count_from_the_push_on_until_a_release_has_them(store, lake):
    view = window_view([Window("spend_7d", "sum", "amount", 7 * DAY), Window("last", "last", "place", None)])
    facts = [fact("a", 1, place="DE")]
    made = write_release(lake, 1, facts, ONE_STATE, [view], AT)
    fill(store, lake, made)
    late = fact("p", 10, place="FR", time=START)
    new = fact("q", 5, place=None, time=AT, key="k2")
    stamp = AT + HOUR
    assert push(store, lake, made, [late, new], stamp) == 2
    assert values(store, stamp) == [11, "DE"]
    assert values(store, stamp - 1) == [1, "DE"]
    assert values(store, stamp, "k2") == [5, None]
    [row] = Reader(store, store.definitions(), "events").read([{"consumer_id": "k1"}], from_microseconds(stamp))
    assert row["last"].freshness == "push"
    # A release without them keeps them beside what it brings; one that has them takes their place.
    facts.append(fact("r", 2, place="DE"))
    fill(store, lake, write_release(lake, 2, facts, ONE_STATE, [view], stamp - 1))
    assert (values(store, stamp)[0], values(store, stamp, "k2")[0]) == (13, 5)
    facts += [late | {"known_from": stamp + 5}, new | {"known_from": stamp + 5}]
    fill(store, lake, write_release(lake, 3, facts, ONE_STATE, [view], stamp + DAY))
    assert (values(store, stamp + DAY)[0], values(store, stamp + DAY, "k2")[0]) == (13, 5)
    [row] = Reader(store, store.definitions(), "events").read([{"consumer_id": "k1"}], from_microseconds(stamp + DAY))
    assert (row["last"].freshness, noted(store)) == ("release", 0)
    changed = replace(view, windows=view.windows[:1], features=view.features[:1])
    fill(store, lake, write_release(lake, 4, facts[:1], ONE_STATE, [changed], stamp + 2 * DAY))
    assert values(store, stamp + 2 * DAY) == [1]


def test_pushed_events_pass_into_a_new_epoch_unless_its_release_has_them(store, lake):
    view = window_view([Window("spends", "count", None, None), Window("spend", "sum", "amount", None)])
    facts = [fact("a", 1), fact("b", 10), fact("c", 100)]
    one = write_release(lake, 1, facts, ONE_STATE, [view], AT)
    fill(store, lake, one)
    two = write_release(lake, 2, facts[:2], ONE_STATE, [view], AT + DAY)
    fill(store, lake, two)
    rows = [facts[2], fact("b", 20), fact("d", 1000), fact("e", 5, key="k2")]
    assert push(store, lake, two, rows, AT + 2 * DAY) == 4
    assert values(store, AT + 2 * DAY) == [4, 1121]
    fill(store, lake, one)  # a rollback
    assert store.catalog()[1].of("events").serving.epoch == 2
    assert (values(store, AT + 2 * DAY), values(store, AT + 2 * DAY, "k2")) == ([4, 1121], [1, 5])
    assert push(store, lake, one, [*facts, *rows], AT + 3 * DAY) == 0
    # Release 1 took the place of the push that it has; release 2 goes on from it, without that event.
    fill(store, lake, two)
    assert (noted(store), values(store, AT + 3 * DAY)) == (2, [3, 1021])


@pytest.mark.parametrize("event_id", [("event_id",), ()])
def test_what_is_pushed_while_an_epoch_is_loaded_counts_once(store, lake, monkeypatch, event_id):
    monkeypatch.setattr(event_filling, "_KEYS_AT_ONCE", 1)
    view = window_view(SPENDS, event_id=event_id)
    facts = [fact(f"{key}-{name}", 1, key=key) for key in ("k1", "k2", "k3") for name in "ab"]
    one = write_release(lake, 1, facts, ONE_STATE, [view], AT)
    fill(store, lake, one)
    two = write_release(lake, 2, facts, ONE_STATE, [view], AT + DAY)
    fill(store, lake, two)
    push(store, lake, two, [fact("k2-new", 10, key="k2")], AT + 2 * DAY)
    said = []

    def meanwhile(text):
        said.append(text)
        rows = [fact(f"{key}-{len(said)}", 100, key=key) for key in ("k1", "k2", "k3", "k4")]
        rows += [fact("k3-a", 50, key="k3"), fact("k1-a", 50, key="k1")] if event_id and len(said) == 1 else []
        push(store, lake, two, rows, AT + 2 * DAY + len(said))

    connection = lake.connect(one.snapshot)
    materialize(store, connection, one, progress=lambda text: meanwhile(text) if len(said) < 3 else None)
    connection.close()
    assert store.catalog()[1].of("events").serving.epoch == 2
    amended = 49 if event_id else 0
    wanted = {"k1": [5, 302 + amended], "k2": [6, 312], "k3": [5, 302 + amended], "k4": [3, 300]}
    assert {key: values(store, AT + 3 * DAY, key) for key in wanted} == wanted


def test_a_store_that_facts_are_pushed_to_answers_as_the_frame_that_has_them(store, lake):
    chance = random.Random(1)
    made_windows = (*TAKEN, Window("hour", "sum", "amount", HOUR), Window("rates", "mean", "rate", 3 * DAY))
    view = window_view(made_windows)
    facts: list[dict] = []
    keys = ["k1", "k2", "k3"]
    amounts = iter(range(1, 10_000))
    for number in range(1, 4):
        begin, at = START + (number - 1) * DAY, START + number * DAY
        moments = sorted(chance.sample(range(begin + 1, at), 30))
        tellings = []
        for moment in moments:
            # A third of what is told is about an event that is there: amended, moved to another key, or taken back.
            there = [one for one in facts if one["known_until"] is None]
            if there and chance.random() < 0.34:
                old = chance.choice(there)
                old["known_until"] = moment
                new = old | {"amount": next(amounts), "known_from": moment, "known_until": None}
                new["event_timestamp"] += chance.choice([0, HOUR, -HOUR])
                new["consumer_id"] = chance.choice([old["consumer_id"], chance.choice(keys)])
                kind = chance.random()
                if kind < 0.2 or new["consumer_id"] != old["consumer_id"]:
                    tellings.append((moment, old | {"retracted": True}))
                if kind >= 0.2:
                    facts.append(new)
                    tellings.append((moment, new))
            else:
                new = event(chance, len(facts) + 1000 * number, keys, moment) | {"known_from": moment}
                new["amount"] = next(amounts)
                facts.append(new)
                tellings.append((moment, new))
        made = write_release(lake, number, facts, ONE_STATE, [view], at)
        if number > 1:
            known = [(moment, one) for moment, one in tellings if moment > begin]
            for moment, one in known:
                again = [one, one] if chance.random() < 0.3 else [one]
                assert push(store, lake, made, again, moment) == 1
                if chance.random() < 0.2:
                    push(store, lake, made, [chance.choice(known[: known.index((moment, one)) + 1])[1]], moment + 1)
            compare(store, lake, made, [(key, at + chance.randrange(3 * DAY)) for key in keys for _ in range(8)])
        fill(store, lake, made)
        compare(store, lake, made, [(key, at + chance.randrange(3 * DAY)) for key in keys for _ in range(8)])
        assert noted(store) == 0 or any("retracted" in one for _, one in tellings)


def compare(store, lake, made, asked):
    reader = Reader(store, store.definitions(), "events")
    for (key, t), wanted in zip(asked, frame(lake, made, asked), strict=True):
        found = reader.read([{"consumer_id": key}], from_microseconds(t))[0].to_dict()
        assert [name for name in wanted if not same(found[name], wanted[name])] == [], (key, t)


def test_a_store_of_an_earlier_layout_is_refilled_not_misread(store, lake, monkeypatch):
    view = window_view(SPENDS)
    made = write_release(lake, 1, [A], ONE_STATE, [view], AT)
    with monkeypatch.context() as earlier:
        earlier.setattr(codec, "EVENTS_FORMAT", 2)
        earlier.setattr(events, "EVENTS_FORMAT", 2)
        fill(store, lake, made)
    with pytest.raises(PlatformError, match="or materialize the release"):
        values(store, AT)
    fill(store, lake, made)
    assert (values(store, AT), store.catalog()[1].of("events").serving.epoch) == ([1, 10], 2)


def test_nothing_is_noted_of_keys_that_are_deleted_or_forgotten(store, lake):
    made = write_release(lake, 1, [A], ONE_STATE, [window_view(SPENDS)], AT)
    fill(store, lake, made)
    push(store, lake, made, [fact("b", 1), fact("c", 1, key="k2")], AT + HOUR)
    view = store.definitions().view("events")
    assert (noted(store), store.delete(view, ["k2"]), noted(store)) == (2, 1, 1)
    store.forget(["events"])
    assert noted(store) == 0


def test_keys_of_any_type_are_found_again_by_a_release(store, lake):
    view = window_view(SPENDS)
    types = {"amount": "BIGINT", "moment": "TIMESTAMP WITH TIME ZONE", "flag": "BOOLEAN"}
    keys = {"join_keys": tuple((name, name) for name in types), "event_id": ("event_id",)}
    view = replace(view, **keys)
    facts = [fact("a", 5, flag=True, moment=START)]
    made = write_release(lake, 1, facts, ONE_STATE, [view], AT)
    fill(store, lake, made)
    rows = [fact("a", 5, flag=True, moment=START), fact("b", 5, flag=True, moment=START)]
    assert push(store, lake, made, [*rows, fact("c", 5, flag=False, moment=START)], AT + HOUR) == 2
    fill(store, lake, write_release(lake, 2, facts, ONE_STATE, [view], AT + HOUR + AWAITED_US))
    reader = Reader(store, store.definitions(), "events")
    asked = [{"amount": 5, "moment": from_microseconds(START), "flag": flag} for flag in (True, False)]
    assert [row.to_dict()["spends"] for row in reader.read(asked)] == [1, 0]
    assert noted(store) == 0


"""What cannot be pushed, and why."""
REFUSED = [
    (("event_id",), ["event_id"], [A], "needs columns of the pushed events"),
    (("event_id",), [], [NAMELESS | {"retracted": True}], "says no event"),
    ((), [], [RETRACTED], "declare event_id on its source"),
]


@pytest.mark.parametrize(("event_id", "without", "rows", "words"), REFUSED)
def test_what_cannot_be_told_again_is_refused(store, lake, event_id, without, rows, words):
    made = write_release(lake, 1, [A], ONE_STATE, [window_view(SPENDS, event_id=event_id)], AT)
    fill(store, lake, made)
    connection = lake.connect(made.snapshot)
    view = store.definitions().view("events")
    with pytest.raises(UsageError, match=words):
        push_events(store, connection, view, pushed(rows).drop_columns(without), AT + HOUR)
    connection.close()
    assert values(store, AT) == [1, 10]


def test_features_of_a_window_view_are_not_pushed(store):
    view = window_view([Window("spends", "count", None, None)])
    with pytest.raises(UsageError, match="push its events"):
        store.put(view, None)
    with pytest.raises(UsageError, match="has no windows"):
        push_events(store, None, VIEW, None, 0)
