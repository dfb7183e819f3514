"""The online store answers as the oracle does, whatever the order of writes; on LMDB and on a real Redis server."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.definitions import Definitions, Field, Projection, Service
from lifecycle.engine import settle
from lifecycle.errors import PlatformError, UsageError
from lifecycle.online import Reader, materialize, open_store, read
from lifecycle.times import from_microseconds
from tests.asof_cases import cases, connect, view_of, write_rows
from tests.online_cases import VIEW, hold, new_store, release, rows, typed
from tests.oracle import as_of

DEFINITIONS = Definitions(views=(VIEW,), services=(Service("pay", (Projection("spend", ("amount", "word")),)),))
quick = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


def value(store, key="a", t=None, feature="amount", view=VIEW):
    return Reader(store, Definitions(views=(view,)), view.name).read(
        [{"consumer_id": key}], t and from_microseconds(t)
    )[0][feature]


def test_a_value_comes_with_its_age_and_origin(store):
    hold(store, at=100)
    store.put(VIEW, rows(("a", 200, 300, False, 5, "x")), at=300)
    [row] = read(store, DEFINITIONS, "pay", [{"consumer_id": "a"}], full_feature_names=True)
    found = row["spend__amount"]
    assert (found.value, found.status, found.freshness, found.release) == (5, "PRESENT", "push", None)
    assert (found.event_timestamp, found.age) == (from_microseconds(200), timedelta(microseconds=100))
    assert row.to_dict() == {"spend__amount": 5, "spend__word": "x"}


def test_statuses(store):
    hold(store, at=5000)
    store.put(
        VIEW,
        rows(
            ("old", 3999, 3999, False, 1, "x"), ("edge", 4000, 4000, False, 2, None), ("gone", 4500, 4500, True, 3, "x")
        ),
    )
    assert value(store, "old").status == "OUTSIDE_MAX_AGE"
    assert (value(store, "old").value, value(store, "old").event_timestamp) == (None, from_microseconds(3999))
    assert (value(store, "edge").value, value(store, "edge").status) == (2, "PRESENT")
    assert (value(store, "edge", feature="word").value, value(store, "edge", feature="word").status) == (
        None,
        "PRESENT",
    )
    for key in ("gone", "never", None, float("nan")):
        assert value(store, key).status == "NOT_FOUND"


def test_a_row_ahead_waits_beside_the_one_in_force(store):
    hold(store, at=100)
    store.put(
        VIEW,
        rows(("a", 90, 90, False, 1, "now"), ("a", 300, 100, False, 2, "later"), ("a", 500, 120, False, 3, "last")),
    )
    assert [value(store, t=t).value for t in (100, 299, 300, 499, 500)] == [1, 1, 2, 2, 3]
    store.advance(300)
    assert value(store).value == 2


def test_an_older_row_never_replaces_a_newer_one(store):
    hold(store, at=1000)
    store.put(VIEW, rows(("a", 500, 600, False, 1, "kept")))
    for event, known in ((499, 1000), (500, 599), (1, 1)):
        store.put(VIEW, rows(("a", event, known, False, 2, "late")))
        assert value(store).value == 1
    store.put(VIEW, rows(("a", 500, 601, False, 3, "amended")))
    assert value(store).value == 3


def test_a_time_before_the_store_is_refused(store):
    hold(store, at=1000)
    with pytest.raises(UsageError, match="cannot answer for"):
        value(store, t=999)


def test_a_pushed_row_is_known_from_the_write_that_makes_it_readable(store):
    hold(store, at=1000)
    store.put(VIEW, rows(("a", 900, 900, False, 1, "x")), at=1000)
    store.put(VIEW, rows(("a", 1500, 1500, False, 2, "y")), at=1500)
    assert value(store).value == 2
    assert value(store, t=1499).value == 1


def test_names_and_keys_are_checked(store):
    hold(store, at=10)
    with pytest.raises(UsageError, match="is keyed by consumer_id, and the keys given are 'customer'"):
        read(store, DEFINITIONS, "pay", [{"customer": "a"}])
    with pytest.raises(UsageError, match=r"unknown service 'pays'\. Did you mean 'pay'"):
        read(store, DEFINITIONS, "pays", [])
    other = replace(VIEW, name="other")
    with pytest.raises(UsageError, match="holds no view 'other'"):
        value(store, view=other)
    with pytest.raises(PlatformError, match="definitions make it"):
        value(store, view=replace(VIEW, features=(Field("amount", "DOUBLE"),)))


def test_no_keys_are_no_rows(store):
    hold(store, at=10)
    assert read(store, DEFINITIONS, "pay", []) == []


def test_a_person_is_removed(store):
    view = replace(VIEW, join_keys=(("c", "c"), ("d", "d")), keys=(Field("c", "VARCHAR"), Field("d", "VARCHAR")))
    hold(store, view, at=1000)
    keys = [("a", "1"), ("a", "*"), ("a*", "1"), ("b", "1")]
    for first, second in keys:
        one = rows((first, 900, 900, False, 1, "x"))
        store.put(view, replace(one, keys=[*one.keys, one.keys[0].__class__.from_pandas([second])]))

    def present():
        asked = [{"c": first, "d": second} for first, second in keys]
        return [row["amount"].status == "PRESENT" for row in Reader(store, Definitions((view,)), "spend").read(asked)]

    assert present() == [True] * 4
    assert store.delete(view, ["a"]) == 2
    assert present() == [False, False, True, True]
    assert store.delete(view, ["b", "1"]) == 1
    assert present() == [False, False, True, False]


facts = st.tuples(
    st.sampled_from("ab"),
    st.integers(0, 30),
    st.none() | st.integers(0, 30),
    st.booleans(),
    st.integers(0, 9),
    st.none(),
)


@pytest.mark.parametrize("at_t", ["include", "exclude"])
def test_any_order_of_writes_ends_in_the_oracles_answers(place, at_t):
    view = replace(VIEW, at_t=at_t, ttl_us=7)

    @settings(quick, max_examples=40)
    @given(
        st.lists(facts, min_size=1, max_size=12, unique_by=lambda one: (one[0], one[1], one[2] or one[1])), st.randoms()
    )
    def check(given_rows, chance):
        states = []
        for _ in range(2):
            store = new_store(place)
            hold(store, view, at=10)
            left = chance.sample(given_rows, len(given_rows))
            while left:
                size = chance.randint(1, 4)
                store.put(view, rows(*left[:size], view=view))
                left = left[size:]
            states.append(sorted(store.backend.scan((7).to_bytes(4, "big"))))
            plain = [
                {"key": (key,), "event": event, "known": known, "tie": (), "deleted": gone, "values": (amount, word)}
                for key, event, known, gone, amount, word in given_rows
            ]
            reader = Reader(store, Definitions((view,)), "spend")
            for t in range(10, 40):
                for key, row in zip(
                    "ab", reader.read([{"consumer_id": k} for k in "ab"], from_microseconds(t)), strict=True
                ):
                    wanted = as_of(plain, (key,), t, ttl=7, exclude=at_t == "exclude")
                    assert tuple(row.to_dict().values()) == (wanted or (None, None))
                    assert (row["amount"].status == "PRESENT") == (wanted is not None)
            store.close()
        assert states[0] == states[1]

    check()


def test_a_release_answers_as_the_oracle_at_its_time_and_later(place):
    connection = connect(threads=1)

    @settings(quick, max_examples=60)
    @given(cases(spine_rows=(10, 20)), st.booleans())
    def check(case, settled):
        write_rows(connection, case)
        view = typed(connection, view_of(case))
        view = settle(connection, view) if settled else view
        at = sorted(t for _, t in case.spine)[len(case.spine) // 2]
        store = new_store(place)
        materialize(store, connection, release(1, [view], at))
        reader = Reader(store, Definitions((view,)), "view")
        for key, t in case.spine:
            if t >= at:
                asked = {f"key{i}": part for i, part in enumerate(key)}
                [row] = reader.read([asked], from_microseconds(t))
                wanted = as_of(case.rows, key, t, ttl=case.ttl, exclude=case.exclude)
                assert tuple(row.to_dict().values()) == (wanted or (None, None))
                assert (row["amount"].status == "PRESENT") == (wanted is not None)
        store.close()

    check()


def test_many_views_and_keys_in_one_read(place):
    connection = connect()
    connection.execute(
        "CREATE TABLE lake.features.spend AS SELECT 'c' || (i % 500) AS consumer_id, make_timestamptz(i) AS "
        "event_timestamp, make_timestamptz(i) AS known_at, i % 7 = 0 AS deleted, i AS amount, "
        "'w' || i AS word FROM range(2000) AS r(i)"
    )
    one = settle(connection, typed(connection, replace(VIEW, ttl_us=None)))
    views = [one, replace(one, name="again", features=(Field("word", "VARCHAR"),))]
    store = new_store(place)
    done = materialize(store, connection, release(1, views, 1999))
    assert done.rows == {"spend": 500, "again": 500}
    reader = Reader(store, store.definitions(), ["spend", "again"], full_feature_names=True)
    keys = list(range(510))
    random.Random(1).shuffle(keys)
    for key, row in zip(keys, reader.read([{"consumer_id": f"c{key}"} for key in keys]), strict=True):
        last = 1500 + key
        there = key < 500 and last % 7 != 0
        assert row.to_dict() == {
            "spend__amount": last if there else None,
            "spend__word": f"w{last}" if there else None,
            "again__word": f"w{last}" if there else None,
        }
    store.close()


def test_a_view_without_keys_has_one_row(place):
    connection = connect()
    connection.execute(
        "CREATE TABLE lake.features.spend AS SELECT make_timestamptz(i) AS event_timestamp, make_timestamptz(i) AS "
        "known_at, false AS deleted, i AS amount, 'w' AS word FROM range(5) AS r(i)"
    )
    view = settle(connection, replace(VIEW, join_keys=(), keys=()))
    store = new_store(place)
    assert materialize(store, connection, release(1, [view], 2)).rows == {"spend": 1}
    assert [value(store, t=t, view=view).value for t in (2, 3, 4, 5)] == [2, 3, 4, 4]
    store.close()


def test_an_address_that_nobody_answers_is_a_clear_error():
    with pytest.raises(PlatformError, match=r"Redis at redis://127.0.0.1:1/0 does not answer"):
        open_store("redis://user:secret@127.0.0.1:1/0")
