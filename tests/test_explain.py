"""Explanations: the rows listed as used give the value back, and every row of a key has its one right reason."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from lifecycle.definitions import TIE_BREAK, Definitions, Field, Label, View, Window
from lifecycle.engine import explain, explain_rows
from lifecycle.engine.explain import OUTCOMES
from lifecycle.errors import UsageError
from tests import oracle
from tests.asof_cases import MIDNIGHT, at, connect
from tests.dbt_sql import render

MINUTE = 60_000_000
SPAN = 200  # minutes in which everything happens
KEY = (("consumer_id", "consumer"),)
LENGTHS = (20, 60, None)
INPUTS = {
    "count": None, "count_distinct": "word", "sum": "amount", "mean": "amount", "rate": "good", "min": "amount",
    "max": "amount", "var": "amount", "std": "amount", "first": "word", "last": "amount", "last_k": "word",
    "approx_quantile": "amount", "seconds_since_first": None, "seconds_since_last": None,
}  # fmt: skip
PARAMETERS = {"last_k": 3, "approx_quantile": 0.5}
WINDOWS = tuple(
    Window(
        f"{function}_{length}", function, column, length and length * MINUTE, where,
        ("word", "b") if function == "count" else None, PARAMETERS.get(function),
    )
    for function, column in INPUTS.items()
    for length, where in zip(LENGTHS, (None, "good", "amount > 3 OR amount IS NULL"), strict=True)
)  # fmt: skip
EVENTS = View(
    name="events", relation="features.happened", join_keys=KEY, event_timestamp="event_timestamp", known_at=None,
    features=tuple(Field(one.name, "BIGINT") for one in WINDOWS), tie_break=TIE_BREAK, windows=WINDOWS,
)  # fmt: skip
STATES = View(
    name="states", relation="features.states", join_keys=KEY, event_timestamp="event_timestamp", known_at="known_at",
    features=(Field("amount", "BIGINT"), Field("word", "VARCHAR")), ttl_us=2 * MINUTE, at_t="exclude",
    tie_break=TIE_BREAK, deleted="deleted",
)  # fmt: skip
LABELS = tuple(
    Label(
        kind, kind, "features.happened", KEY, 30 * MINUTE, 10 * MINUTE, ("feed",),
        "word = 'b'" if kind != "absent" else "good",
    )
    for kind in ("exists", "absent", "state_at")
)  # fmt: skip
CAPPED = replace(EVENTS, name="capped", history_cap=4)
FREE = replace(STATES, name="free", ttl_us=None, at_t="include")
DEFINITIONS = Definitions(views=(EVENTS, CAPPED, STATES, FREE), labels=LABELS)


def versions(chance):
    """Return versions of 60 events: late, amended in value, time and key, withdrawn, superseded before known."""
    made = []
    for number in range(60):
        known = begun = chance.randrange(SPAN)
        row = {"consumer": chance.choice("ab"), "event": begun}
        for revision in range(chance.choice((1, 1, 1, 2, 3))):
            known = max(0, known + chance.choice((0, 0, 1, 30, -5)))
            if revision and chance.random() < 0.3:
                row |= {"consumer": chance.choice("ab")}
            if revision and chance.random() < 0.3:
                row |= {"event": max(0, begun + chance.choice((-20, 1, 10)))}
            made.append(
                row | {"event_id": f"e{number:02}", "revision": revision, "known_from": known}
                | {"retracted": revision > 0 and chance.random() < 0.4, "amount": chance.choice((None, *range(9)))}
                | {"word": chance.choice("abc"), "good": chance.random() < 0.6}
            )  # fmt: skip
    for one in made:
        above = [o["known_from"] for o in made if o["event_id"] == one["event_id"] and o["revision"] > one["revision"]]
        one["known_until"] = max(one["known_from"], min(above)) if above else None
    return made


def minute(value):
    return None if value is None else at(MIDNIGHT + value * MINUTE)


def fill(connection, made):
    """Write raw.events, and the relations that models make of it."""
    kinds = {"consumer": pa.string(), "event_id": pa.string(), "revision": pa.int64(), "retracted": pa.bool_()}
    kinds |= {"amount": pa.int64(), "word": pa.string(), "good": pa.bool_()}
    columns = {name: pa.array([one[name] for one in made], kind) for name, kind in kinds.items()}
    moments = {"event_timestamp": "event", "known_from": "known_from", "known_until": "known_until"}
    for name, source in moments.items():
        columns[name] = pa.array([minute(one[source]) for one in made], pa.timestamp("us", "UTC"))
    connection.register("given", pa.table(columns))
    connection.execute("CREATE SCHEMA IF NOT EXISTS lake.raw")
    connection.execute("""CREATE OR REPLACE TABLE lake.raw.events AS
        SELECT *, 'h' || revision AS content_hash, NULL::BIGINT AS sequence, 'thing' AS type,
            '{"amount": ' || coalesce(amount::VARCHAR, 'null') || '}' AS payload FROM given""")
    connection.execute("""CREATE OR REPLACE TABLE lake.features.happened AS
        SELECT * EXCLUDE (retracted, revision, type, payload) FROM lake.raw.events
        WHERE NOT retracted AND (known_until IS NULL OR known_from < known_until)""")
    states = render('as_states("lake.features.happened", "consumer", ["amount", "word"], deleted="word = \'c\'")')
    connection.execute(f"CREATE OR REPLACE TABLE lake.features.states AS {states}")


@pytest.fixture(scope="module")
def lakes():
    """Return five lakes with their versions and a spine of 30 rows."""
    made = []
    for seed in range(5):
        chance = random.Random(seed)
        connection = connect(threads=1)
        rows = versions(chance)
        fill(connection, rows)
        spine = [(chance.choice("abb"), chance.choice(rows)["event"] + chance.choice((0, 1, 15))) for _ in range(30)]
        table = pa.table({
            "consumer_id": [key for key, _ in spine],
            "event_timestamp": pa.array([minute(t) for _, t in spine], pa.timestamp("us", "UTC")),
        })  # fmt: skip
        made.append((connection, rows, spine, table))
    return made


def by_row(spine, table):
    grouped = [[] for _ in spine]
    for one in table.to_pylist():
        grouped[one.pop("row")].append(one)
    return grouped


def since(moment, t):
    return (minute(t) - moment) / timedelta(seconds=1)


def recomputed(window, used, t):
    """Work a window feature out from the rows that are said to have made it."""
    if window.function == "count":
        return len(used)
    if window.function.startswith("seconds"):
        return since(used[-1 if window.function.endswith("last") else 0]["event_timestamp"], t) if used else None
    values = [one[window.column] for one in used]
    if window.function == "last_k":
        return values or None
    return oracle.aggregate(window.function, values, window.parameter)


def same(got, want):
    if got is None or want is None:
        return got is want
    return math.isclose(got, want, rel_tol=1e-12) if isinstance(got, float) else got == want


def met(window, one):
    if window.where == "good":
        return one["good"] and (window.bucket is None or one["word"] == "b")
    return (window.where is None or one["amount"] is None or one["amount"] > 3) and (
        window.bucket is None or one["word"] == "b"
    )


def reason(made, window, one, key, t, as_known):  # noqa: PLR0911 - one line each
    """Say of a version in raw.events why it does or does not count in a window without a cap."""
    if one["retracted"]:
        return "retraction" if one["known_from"] <= t else "not_yet_known"
    if one["known_until"] is not None and one["known_until"] <= one["known_from"]:
        return "never_in_force" if one["known_from"] <= t else "not_yet_known"
    if one["consumer"] != key:
        return "other_key" if one["known_from"] <= t else "not_yet_known"
    if one["event"] >= t:
        return "at_t" if one["event"] == t else "after_t"
    if as_known and one["known_from"] > t:
        return "not_yet_known"
    if one["known_until"] is not None and (one["known_until"] <= t or not as_known):
        withdrawn = any(
            o["event_id"] == one["event_id"] and o["retracted"] and o["known_from"] == one["known_until"] for o in made
        )
        return "retracted" if withdrawn else "superseded"
    if window.window_us is not None and one["event"] * MINUTE < t * MINUTE - window.window_us:
        return "outside_window"
    if not met(window, one):
        return "condition"
    if window.function != "last_k" and window.column and one[window.column] is None:
        return "null_value"
    return "used"


def test_2000_window_values_come_back_and_every_candidate_has_its_reason(lakes):
    compared, seen = 0, set()
    for (connection, made, spine, table), mode, windows in (
        (lakes[0], "as_known", WINDOWS), (lakes[1], "as_known", WINDOWS), (lakes[2], "feast", WINDOWS[::3]),
    ):  # fmt: skip
        for window in windows:
            values, rows = explain_rows(connection, DEFINITIONS, table, f"events:{window.name}", known_time=mode)
            for (key, t), value, listed in zip(spine, values["value"].to_pylist(), by_row(spine, rows), strict=True):
                used = [one for one in listed if one["why"] == "used"]
                assert same(value, recomputed(window, used, t)), (window, key, t, value)
                events = {o["event_id"] for o in made if o["consumer"] == key and is_in_force(o)}
                want = {
                    (o["event_id"], f"h{o['revision']}"): reason(made, window, o, key, t, mode == "as_known")
                    for o in made
                    if o["event_id"] in events
                }
                got = {(one["event_id"], one["content_hash"]): one["why"] for one in listed}
                assert len(got) == len(listed)
                beyond = {place for place, why in got.items() if why == "beyond_k"}
                assert {k: "used" if k in beyond else why for k, why in got.items()} == want
                assert not beyond or (window.function == "last_k" and len(used) == 3)
                compared += 1
                seen |= set(got.values())
    assert compared >= 2000
    assert seen == {
        "used", "after_t", "at_t", "not_yet_known", "retracted", "superseded", "outside_window", "condition",
        "null_value", "beyond_k", "retraction", "never_in_force", "other_key",
    }  # fmt: skip


def is_in_force(one):
    return not one["retracted"] and (one["known_until"] is None or one["known_from"] < one["known_until"])


def test_a_cap_on_history_is_a_reason(lakes):
    for connection, _, spine, table in lakes[:2]:
        values, rows = explain_rows(connection, DEFINITIONS, table, "capped:sum_60")
        counted = 0
        for value, listed in zip(values["value"].to_pylist(), by_row(spine, rows), strict=True):
            used = [one["amount"] for one in listed if one["why"] == "used"]
            assert same(value, oracle.aggregate("sum", used))
            kept = [one for one in listed if one["why"] in {"used", "outside_window", "condition", "null_value"}]
            assert len(kept) <= 4
            counted += any(one["why"] == "beyond_cap" for one in listed)
        assert counted


@pytest.mark.parametrize("name", ["states", "free"])
@pytest.mark.parametrize("mode", ["as_known", "feast"])
def test_state_values_come_back_and_every_candidate_has_its_reason(lakes, name, mode):
    view = DEFINITIONS.view(name)
    seen = set()
    for connection, _, spine, table in lakes:
        values, rows = explain_rows(connection, DEFINITIONS, table, f"{name}:amount", known_time=mode)
        for (key, t), value, listed in zip(spine, values["value"].to_pylist(), by_row(spine, rows), strict=True):
            held = [one for one in listed if one["raw_type"] is None]
            facts = [
                {
                    "key": (key,), "event": to_us(one["event_timestamp"]), "known": to_us(one["known_at"]),
                    "tie": (one["sequence"], one["event_id"], one["content_hash"]), "deleted": one["deleted"],
                    "values": (one["amount"],), "why": one["why"],
                }
                for one in held
            ]  # fmt: skip
            asked = MIDNIGHT + t * MINUTE
            options = {"exclude": view.at_t == "exclude", "as_known": mode == "as_known"}
            full = oracle.as_of(facts, (key,), asked, ttl=view.ttl_us, **options)
            assert (None if full is None else full[0]) == value
            # The used row alone gives the value; without one there is none.
            used = [fact for fact in facts if fact["why"] == "used"]
            assert len(used) <= 1
            assert (used[0]["values"][0] if used else None) == value
            for fact in facts:
                alone = oracle.as_of([fact | {"deleted": False}], (key,), asked, **options)
                early = fact["why"] in {"after_t", "at_t", "not_yet_known"}
                assert (alone is None) == early, fact
                if fact["why"] in {"older", "superseded", "loses_tie"}:
                    [winner] = used
                    assert rank(fact) < rank(winner)
                    assert (fact["event"] == winner["event"]) == (fact["why"] != "older")
            seen |= {fact["why"] for fact in facts}
    expected = {"used", "older", "after_t", "superseded", "tombstone", "hidden_by_tombstone"}
    expected |= {"expired", "hidden_by_expired", "at_t"} if name == "states" else set()
    expected |= {"not_yet_known"} if mode == "as_known" else set()
    assert expected <= seen


def to_us(moment):
    return (moment - at(0)) // timedelta(microseconds=1)


def rank(fact):
    tie = tuple((part is not None, part) for part in fact["tie"])
    return fact["event"], fact["known"], tie


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label.name)
def test_labels_come_back_from_the_versions_used(lakes, label):
    statuses = set()
    for connection, _, spine, table in lakes:
        watermarks = {"feed": minute(150)}
        values, rows = explain_rows(connection, DEFINITIONS, table, label.name, watermarks=watermarks)
        answers = zip(values["value"].to_pylist(), values["status"].to_pylist(), strict=True)
        for (value, status), listed in zip(answers, by_row(spine, rows), strict=True):
            used = [one for one in listed if one["why"] == "used"]
            statuses.add(status)
            if status == "immature":
                assert value is None
            elif label.kind == "state_at":
                assert value == any(one["word"] == "b" for one in used)
            else:
                assert value == (bool(used) == (label.kind == "exists"))
            assert all(one["why"] in OUTCOMES for one in listed)
    assert statuses == {"mature", "immature"}


def test_one_value_explained(lakes):
    connection, _, spine, table = lakes[0]
    (key, t), feature = spine[3], "events:sum_None"
    found = explain(connection, DEFINITIONS, {"consumer_id": key}, feature, minute(t))
    values, _ = explain_rows(connection, DEFINITIONS, table, feature)
    assert found.value == values["value"][3].as_py() == sum(found.used["amount"].to_pylist())
    assert found.used.num_rows + found.left_out.num_rows == found.rows.num_rows == sum(found.counts().values())
    assert list(found.counts()) == [one for one in OUTCOMES if one in set(found.rows["why"].to_pylist())]
    told = found.to_dict()
    assert (told["feature"], told["known_time"], told["keys"]) == (feature, "as_known", {"consumer_id": key})
    assert json.dumps(told, default=str)


def test_what_cannot_be_explained(lakes):
    connection, *_ = lakes[0]
    with pytest.raises(UsageError, match=r"keyed by consumer_id; name consumer_id too"):
        explain(connection, DEFINITIONS, {}, "states:amount", minute(5))
    with pytest.raises(UsageError, match=r"names 2 features; explain one"):
        explain(connection, DEFINITIONS, {"consumer_id": "a"}, "states", minute(5))
    with pytest.raises(UsageError, match=r"unknown label 'stats'"):
        explain(connection, DEFINITIONS, {"consumer_id": "a"}, "stats", minute(5))


def test_values_and_rows_are_of_one_reading_of_the_spine(lakes):
    connection, _, _, table = lakes[0]
    want = explain_rows(connection, DEFINITIONS, table, "events:count_None")
    got = explain_rows(connection, DEFINITIONS, table.to_reader(), "events:count_None")
    assert [one.equals(other) for one, other in zip(got, want, strict=True)] == [True, True]
    shuffled = "SELECT consumer AS consumer_id, event_timestamp FROM features.happened ORDER BY random()"
    values, rows = explain_rows(connection, DEFINITIONS, shuffled, "events:count_None")
    used = Counter(
        row for row, why in zip(rows["row"].to_pylist(), rows["why"].to_pylist(), strict=True) if why == "used"
    )
    assert values["value"].to_pylist() == [used[row] for row in range(values.num_rows)]


# What the statements of an explanation call things among themselves, and what a relation may well call a column.
NAMES = ("f", "e", "t", "r", "s", "c", "k", "w", "known", "until", "win", "counts", "place", "nth", "met", "g0", "k0")


@pytest.mark.parametrize("name", ["happened", "states"])
def test_a_relation_may_call_its_columns_as_it_likes(lakes, name):
    connection, _, _, table = lakes[0]
    view, feature = {"happened": (EVENTS, "sum_20"), "states": (FREE, "amount")}[name]
    more = ", ".join(f"'{one}' AS {one}" for one in NAMES)
    connection.execute(f"CREATE OR REPLACE TABLE lake.features.renamed AS SELECT *, {more} FROM lake.features.{name}")
    renamed = Definitions((replace(view, relation="features.renamed"),))
    want = explain_rows(connection, DEFINITIONS, table, f"{view.name}:{feature}")
    got = explain_rows(connection, renamed, table, f"{view.name}:{feature}")
    assert got[0].equals(want[0])
    # Versions that stand in raw.events alone have no such columns.
    assert got[1].drop_columns(list(NAMES)).equals(want[1])
    assert all(set(got[1][one].to_pylist()) <= {None, one} for one in NAMES)


@pytest.mark.parametrize("column", ["why", "Row", "raw_type", "x_event"])
def test_a_column_named_as_an_explanations_own_is_refused(lakes, column):
    connection, _, _, table = lakes[0]
    connection.execute(
        f'CREATE OR REPLACE TABLE lake.features.named AS SELECT *, 1 AS "{column}" FROM lake.features.states'
    )
    with pytest.raises(UsageError, match=f"features.named has a column '{column}', a name that explanations need"):
        explain_rows(connection, Definitions((replace(FREE, relation="features.named"),)), table, "free:amount")


def test_a_lake_without_raw_events_explains_what_the_relation_holds():
    connection = connect(threads=1)
    fill(connection, versions(random.Random(9)))
    connection.execute("DROP SCHEMA lake.raw CASCADE")
    found = explain(connection, DEFINITIONS, {"consumer_id": "a"}, "events:count_None", minute(150))
    assert found.value == found.used.num_rows > 0
    assert "raw_type" not in found.rows.column_names
    assert "superseded" in found.counts()
