from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.definitions import Definitions, Field, Label, OnDemand, Projection, Service, View, Window
from lifecycle.errors import UsageError

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
COUNT = st.integers(-(2**63), 2**63 - 1)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | COUNT | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=5
)


def tuples(one):
    return st.lists(one, max_size=2).map(tuple)


FIELDS = tuples(st.builds(Field, TEXT, TEXT))
WINDOWS = tuples(
    st.builds(
        Window,
        name=TEXT,
        function=TEXT,
        column=st.none() | TEXT,
        window_us=st.none() | COUNT,
        where=st.none() | TEXT,
        bucket=st.none() | st.tuples(TEXT, TEXT),
        parameter=st.none() | st.floats(allow_nan=False),
    )
)
VIEWS = tuples(
    st.builds(
        View,
        name=TEXT,
        relation=TEXT,
        join_keys=PAIRS,
        event_timestamp=TEXT,
        known_at=st.none() | TEXT,
        features=FIELDS,
        keys=FIELDS,
        ttl_us=st.none() | COUNT,
        at_t=st.sampled_from(["include", "exclude"]),
        tie_break=tuples(TEXT),
        deleted=st.none() | TEXT,
        columns=PAIRS,
        windows=WINDOWS,
        history_cap=st.none() | COUNT,
        online=st.booleans(),
        settled=st.none() | TEXT,
        tags=PAIRS,
        event_id=tuples(TEXT),
    )
)
PROJECTIONS = tuples(st.builds(Projection, TEXT, tuples(TEXT), st.none() | TEXT, PAIRS))
LABELS = tuples(
    st.builds(
        Label,
        name=TEXT,
        kind=st.sampled_from(["exists", "absent", "state_at"]),
        relation=TEXT,
        join_keys=PAIRS,
        horizon_us=COUNT,
        maturity_us=COUNT,
        sources=tuples(TEXT),
        condition=TEXT,
    )
)
DEFINITIONS = st.builds(
    Definitions,
    views=VIEWS,
    services=tuples(st.builds(Service, TEXT, PROJECTIONS, tuples(TEXT))),
    labels=LABELS,
    known_time=st.sampled_from(["as_known", "feast"]),
    on_demand=tuples(st.builds(OnDemand, TEXT, TEXT, TEXT, PROJECTIONS, FIELDS, FIELDS)),
    extra=st.dictionaries(TEXT, JSON, max_size=2),
)

VIEW = View(
    name="payment",
    relation="features.consumer_payment",
    join_keys=(("consumer_id", "consumer_id"),),
    event_timestamp="event_timestamp",
    known_at="known_at",
    features=(Field("last_amount", "BIGINT"), Field("risk", "DOUBLE")),
    columns=(("last_amount", "last_charge_amount"),),
)
KNOWN = Definitions(
    views=(VIEW,),
    services=(Service("fraud_v1", (Projection("payment", ("risk",)),)),),
    labels=(Label("churn", "absent", "features.charge_events", (("consumer_id", "consumer_id"),), 1, 0, ("stripe",)),),
)


@given(DEFINITIONS)
def test_definitions_come_back_from_json_with_the_same_hash(definitions):
    back = Definitions.from_json(definitions.to_json())
    assert back == definitions
    assert back.hash == definitions.hash


def test_the_json_is_canonical():
    assert KNOWN.to_json() == json.dumps(json.loads(KNOWN.to_json()), sort_keys=True, separators=(",", ":"))
    assert len(KNOWN.hash) == 64


def test_any_change_of_meaning_changes_the_hash():
    other = KNOWN.with_views((View(**{**vars(VIEW), "ttl_us": 1}),))
    assert other.hash != KNOWN.hash
    assert other.services == KNOWN.services


def test_what_is_named_is_found():
    assert KNOWN.view("payment") is VIEW
    assert KNOWN.service("fraud_v1").projections[0].view == "payment"
    assert KNOWN.label("churn").kind == "absent"
    assert VIEW.feature("risk").dtype == "DOUBLE"


def test_a_feature_reads_the_column_it_is_mapped_to():
    assert VIEW.column_of("last_amount") == "last_charge_amount"
    assert VIEW.column_of("risk") == "risk"


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (lambda: KNOWN.view("paymnt"), "unknown view 'paymnt'. Did you mean 'payment'?"),
        (lambda: KNOWN.service("fraud"), "unknown service 'fraud'. Did you mean 'fraud_v1'?"),
        (lambda: KNOWN.label("x"), "unknown label 'x'. There are: churn."),
        (lambda: VIEW.feature("last"), "unknown feature of view 'payment' 'last'"),
    ],
)
def test_what_is_not_named_is_guessed(look, message):
    with pytest.raises(UsageError) as caught:
        look()
    assert message in str(caught.value)
