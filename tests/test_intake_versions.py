"""Versions of events against a naive re-computation: nested loops over plain rows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lifecycle import config
from lifecycle.lake import Lake
from tests.conftest import ROOT
from tests.intake_feed import ask, charge, counts, received, take_in, write

START = datetime(2025, 5, 1, tzinfo=UTC)
SOURCES = count()
COLUMNS = "event_id, revision, content_hash, retracted, known_at, known_from, known_until"

DELIVERY = st.fixed_dictionaries(
    {
        "event": st.sampled_from(["evt_1", "evt_2"]),
        "revision": st.one_of(st.none(), st.integers(1, 3)),
        "amount": st.integers(1, 3),
        "retracted": st.booleans(),
        "known": st.integers(0, 5),
    }
)
FILES = st.lists(st.lists(DELIVERY, min_size=1, max_size=9), min_size=1, max_size=3)
SLOW = hypothesis_settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return settings and a lake for the whole module: each example is a source of its own in it."""
    folder = tmp_path_factory.mktemp("versions")
    settings = config.load(ROOT, home=folder / "home")
    return settings, Lake(settings.lake), folder


def land(place, files):
    """Take files in under a fresh source and return (its name, its batches)."""
    settings, lake, folder = place
    name = f"source-{next(SOURCES)}"
    given_settings = replace(settings, sources={name: settings.sources["stripe"]})
    paths = [
        write(folder / f"{name}-{n}.ndjson", [_line(delivery) for delivery in file]) for n, file in enumerate(files)
    ]
    return name, take_in(given_settings, lake, name, *paths)


def _line(delivery):
    event = charge(delivery["event"], amount=delivery["amount"]) | {"retracted": delivery["retracted"]}
    if delivery["revision"] is not None:
        event["revision"] = delivery["revision"]
    return received(event, (START + timedelta(hours=delivery["known"])).isoformat())


def rows(place, source):
    return ask(place[1], f"SELECT {COLUMNS} FROM lake.raw.events WHERE source = ? ORDER BY ALL", source)


def naive(files, hash_of):
    """Return the same rows by loops: the first landing of each version, and when it was in force."""
    kept = {}
    for file in files:
        arrived = {}
        for one in file:
            content = hash_of[one["amount"], one["retracted"]]
            version = one["event"], one["revision"], content if one["revision"] is None else ""
            row = one["known"], content, one["retracted"]
            arrived[version] = min(arrived.get(version, row), row)
        for version, row in arrived.items():
            kept.setdefault(version, row)
    result = []
    for (event, revision, _), (known, content, retracted) in kept.items():
        rank = (revision is not None, revision or 0, known, content)
        above = [
            other[0]
            for (event_2, revision_2, _), other in kept.items()
            if event_2 == event and (revision_2 is not None, revision_2 or 0, other[0], other[1]) > rank
        ]
        until = max(known, min(above)) if above else None
        result.append((event, revision, content, retracted, _at(known), _at(known), _at(until)))
    return result


def _at(hours):
    return None if hours is None else START + timedelta(hours=hours)


@pytest.fixture(scope="module")
def hash_of(place):
    """Return the content hash of every (amount, retracted) of these tests, as intake makes it."""
    every = [
        {"event": f"evt_{amount}_{retracted}", "revision": None, "amount": amount, "retracted": retracted, "known": 0}
        for amount in (1, 2, 3)
        for retracted in (True, False)
    ]
    name, _ = land(place, [every])
    found = {row[0]: row[2] for row in rows(place, name)}
    assert len(set(found.values())) == 6
    return {(one["amount"], one["retracted"]): found[one["event"]] for one in every}


def _sorted(result):
    return sorted(result, key=lambda row: (row[0], row[1] is None, row[1] or 0, row[2]))


@SLOW
@given(files=FILES)
def test_versions_equal_the_naive_computation(place, hash_of, files):
    name, batches = land(place, files)
    expected = naive(files, hash_of)
    assert _sorted(rows(place, name)) == _sorted(expected)
    assert [counts(batch)[0] for batch in batches] == [len(file) for file in files]
    assert sum(batch.accepted for batch in batches) == len(expected)


@SLOW
@given(data=st.data(), deliveries=st.lists(DELIVERY, min_size=2, max_size=12))
def test_neither_order_nor_split_matters(place, data, deliveries):
    # One version has one content and one known time here: across files the first landing fixes them.
    versions = {}
    for one in deliveries:
        key = one["event"], one["revision"], None if one["revision"] else (one["amount"], one["retracted"])
        versions.setdefault(key, one)
    shuffled = data.draw(st.permutations(list(versions.values())))
    cut = data.draw(st.integers(1, len(shuffled)))
    whole, _ = land(place, [list(versions.values())])
    split, _ = land(place, [part for part in (shuffled[:cut], shuffled[cut:]) if part])
    assert rows(place, split) == rows(place, whole)


def test_a_superseded_version_is_marked_as_changed_by_the_batch_that_did_it(place):
    def delivery(amount, known, event="evt_1"):
        return {"event": event, "revision": None, "amount": amount, "retracted": False, "known": known}

    name, batches = land(place, [[delivery(1, 0), delivery(1, 0, "evt_2")], [delivery(2, 3)], [delivery(3, 1)]])
    first, second, third = (batch.batch_id for batch in batches)
    found = ask(
        place[1],
        "SELECT payload->>'$.object.amount', known_until, batch_id, settled_batch FROM lake.raw.events "
        "WHERE source = ? AND event_id = 'evt_1' ORDER BY known_at",
        name,
    )
    assert found == [
        ("1", START + timedelta(hours=1), first, third),
        ("3", START + timedelta(hours=3), third, third),
        ("2", None, second, second),
    ]
    untouched = "SELECT settled_batch FROM lake.raw.events WHERE source = ? AND event_id = 'evt_2'"
    assert ask(place[1], untouched, name) == [(first,)]


def test_a_version_that_never_was_in_force_is_empty(place):
    late = {"event": "evt_1", "revision": 1, "amount": 1, "retracted": False, "known": 5}
    name, _ = land(place, [[late | {"revision": 2, "known": 2}], [late]])
    by_revision = {row[1]: row[5:] for row in rows(place, name)}
    assert by_revision == {1: (_at(5), _at(5)), 2: (_at(2), None)}
