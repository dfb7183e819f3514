"""What was reported then, what is known now, and which facts made the difference: the lake's own macros."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from lifecycle import config
from lifecycle.lake import Lake
from lifecycle.pipeline.build import run_dbt
from tests.build_rows import settle, write
from tests.conftest import ROOT

STATES = ("lifecycle_states", "identity_states", "credit_states", "fraud_states")
QUARTER_END = "timestamptz '2025-04-01'"


def day(text):
    return datetime.fromisoformat(f"2025-{text}").replace(tzinfo=UTC)


def fact(event_id, kind, at, known=None, *, retracted=False, **content):
    payload = json.dumps({"account": "acct_1", "object": content, "previous": {}})
    return {
        "source": "stripe", "event_id": event_id, "revision": None, "content_hash": f"{event_id}{known}",
        "retracted": retracted, "type": kind, "event_timestamp": day(at), "known_at": day(known or at),
        "batch_id": 1, "sequence": None, "payload": payload,
    }  # fmt: skip


def charge(event_id, consumer, at, known=None, *, retracted=False):
    kept = {"id": f"ch_{event_id}", "customer": consumer, "amount": 100, "currency": "gbp", "status": "succeeded"}
    return fact(event_id, "charge.succeeded", at, known, retracted=retracted, **kept)


FACTS = [
    *(fact(f"sign_{name}", "customer.created", "01-01", id=name) for name in ("late", "gone", "same", "poor")),
    charge("first", "late", "01-05"),
    charge("found", "late", "03-20", "04-10"),
    charge("wrong", "gone", "03-25"),
    charge("wrong", "gone", "03-25", "04-05", retracted=True),
    charge("plain", "same", "03-30"),
    charge("after", "same", "04-02"),
    charge("bought", "poor", "03-01"),
    fact("ask", "charge.dispute.created", "03-10", id="dp", charge="ch_bought", amount=100, status="needs_response"),
    fact("end", "charge.dispute.closed", "03-28", "04-03", id="dp", charge="ch_bought", status="lost"),
    fact("open", "credit.account.opened", "02-01", id="acc", customer="poor", status="current", balance=0),
    fact("owe", "credit.account.updated", "03-15", "04-20", id="acc", customer="poor", status="past_due", balance=9,
         days_past_due=30),
    fact("ask_id", "identity.verification_session.created", "03-02", id="vs", customer="same"),
    fact("pass_id", "identity.verification_session.verified", "03-03", "04-02", id="vs", customer="same",
         status="verified"),
]  # fmt: skip


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    settings = config.load(ROOT, home=tmp_path_factory.mktemp("questions"))
    lake = Lake(settings.lake)
    write(lake, settle(FACTS, 1))
    run_dbt(settings, lake, "run", "--select", *(f"+{name}" for name in STATES))
    connection = lake.connect()
    connection.execute("USE lake")
    yield lambda query: connection.execute(query).fetchall()
    connection.close()


def test_any_date_has_its_picture(ask):
    picture = f"select consumer_id, state from core.lifecycle_as_of({QUARTER_END}) order by all"
    rows = [("gone", "signed_up"), ("late", "resurrected"), ("poor", "dormant"), ("same", "activated")]
    assert ask(picture) == rows
    assert (
        ask(f"""
        select consumer_id, state from core.lifecycle_states
        where valid_from <= {QUARTER_END} and (valid_to is null or valid_to > {QUARTER_END}) order by all""")
        == rows
    )


def test_a_second_date_says_what_was_believed_then(ask):
    reported = f"select consumer_id, state from core.lifecycle_as_of({QUARTER_END}, {QUARTER_END}) order by all"
    assert ask(reported) == [("gone", "activated"), ("late", "dormant"), ("poor", "dormant"), ("same", "activated")]


def test_what_was_reported_and_why_it_changed_is_one_query(ask):
    why = f"""
        select consumer_id, reported_state, state, fact, change, event_id, known_from, known_until
        from core.lifecycle_changes({QUARTER_END}, {QUARTER_END}) order by all"""
    assert ask(why) == [
        ("gone", "activated", "signed_up", "charged", "withdrawn", "wrong", day("03-25"), day("04-05")),
        ("late", "dormant", "resurrected", "charged", "came", "found", day("04-10"), None),
    ]
    then = f"select consumer_id from core.lifecycle_changes({QUARTER_END}, {QUARTER_END}, timestamptz '2025-04-07')"
    assert ask(then) == [("gone",)]


@pytest.mark.parametrize(
    ("subject", "row"),
    [
        ("identity", ("same", "pending", "verified", "verified", "pass_id")),
        ("credit", ("poor", "current", "dpd_30_59", "dpd_30_59", "owe")),
        ("fraud", ("poor", "disputed", "lost", "lost", "end")),
    ],
)
def test_every_subject_answers(ask, subject, row):
    changes = f"core.{subject}_changes({QUARTER_END}, {QUARTER_END})"
    assert ask(f"select consumer_id, reported_state, state, fact, event_id from {changes}") == [row]
    assert dict(ask(f"select consumer_id, state from core.{subject}_as_of({QUARTER_END})"))[row[0]] == row[2]
