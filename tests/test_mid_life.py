"""Feeds that begin in the middle of lives, and list exports beside them: what was not told is not made up."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lifecycle import config
from lifecycle.lake import Lake
from lifecycle.pipeline.build import run_dbt
from tests.build_rows import settle, write

ROOT = Path(__file__).resolve().parents[1]
MODELS = """consumer_funnel_cohorts consumer_funnel int_dispute_cases dispute_rates dispute_activity
    credit_vintages identity_months identity_checks reporting_periods consumer_dispute dispute_events fraud_states
    credit_states identity_states lifecycle_states"""
LONG_AGO = datetime(2019, 1, 5, tzinfo=UTC)


def day(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def told(event_id, kind, at, created=None, source="stripe", **content):
    """Return one version of an event, known when it happened."""
    content |= {} if created is None else {"created": int(created.timestamp())}
    return {
        "source": source, "event_id": event_id, "revision": None, "content_hash": event_id, "retracted": False,
        "type": kind, "event_timestamp": at, "known_at": at, "batch_id": 1, "sequence": None,
        "payload": json.dumps({"account": "acct_1", "object": content, "previous": {}}),
    }  # fmt: skip


def customer(event_id, kind, at, consumer, **further):
    return told(event_id, f"customer.{kind}", at, id=consumer, **further)


def charge(number, at, consumer, kind="succeeded", **further):
    about = {"id": f"ch_{number}", "customer": consumer, "amount": 1000, "currency": "gbp", "status": kind}
    return told(f"evt_ch_{number}", f"charge.{kind}", at, **about, **further)


def check(event_id, kind, at, session, consumer, **further):
    about = {"id": session, "customer": consumer, "status": {"created": "requires_input"}.get(kind, kind)}
    return told(event_id, f"identity.verification_session.{kind}", at, **about, **further)


def dispute(event_id, kind, at, status, number, **further):
    about = {"id": f"dp_{number}", "charge": f"ch_{number}", "amount": 1000, "currency": "gbp", "reason": "fraudulent"}
    about |= {} if status is None else {"status": status}
    return told(event_id, f"charge.dispute.{kind}", at, **about, **further)


ASKED = day("2025-01-15 10:00:00")
EVENTS = [
    # Checked and left; the object of the closing bears the sign-up's whole second.
    customer("c1", "created", day("2025-01-10 00:00:00.5"), "closed"),
    check("c2", "processing", day("2025-01-11"), "vs_1", "closed", created=day("2025-01-11")),
    customer("c3", "deleted", day("2025-01-20"), "closed", created=day("2025-01-10")),
    # Signed up long before the feed.
    customer("o1", "updated", day("2025-01-05"), "old", created=LONG_AGO),
    charge(1, day("2025-01-06"), "old"),
    customer("object:older", "created", LONG_AGO, "older", source="stripe-objects"),
    told("object:ch_0", "charge.succeeded", LONG_AGO, id="ch_0", customer="older", amount=5, currency="gbp",
         status="succeeded", source="stripe-objects"),
    # Neither tells when it signed up.
    customer("u1", "updated", day("2025-01-08"), "met"),
    customer("u2", "deleted", day("2025-01-09"), "met"),
    # Only tried.
    charge(2, day("2025-01-07"), "tried", "failed"),
    check("p1", "processing", day("2025-01-08"), "vs_2", "pending", created=day("2025-01-08")),
    # A session met when it was verified.
    check("v1", "verified", day("2025-03-05"), "vs_3", "old", created=day("2025-03-01")),
    # An inquiry, by webhook and by export; a dispute of an export alone.
    dispute("d1", "created", day("2025-01-15 10:00:00.542"), "warning_needs_response", 1, created=ASKED),
    dispute("d2", "closed", day("2025-01-25"), "warning_closed", 1, created=ASKED),
    dispute("object:dp_1", "created", ASKED, None, 1, source="stripe-objects"),
    charge(3, day("2025-01-09"), "old"),
    dispute("object:dp_3", "created", day("2025-01-16"), None, 3, source="stripe-objects"),
    # A dispute known by its end alone, and one by what came in between.
    charge(4, day("2025-01-09"), "old"),
    dispute("d4", "closed", day("2025-02-01"), "lost", 4, created=day("2025-01-12")),
    dispute("d5", "updated", day("2025-03-21"), "needs_response", 5),
    dispute("d6", "closed", day("2025-03-25"), "won", 5),
    # At the same whole second the feed tells more than the export.
    charge(8, day("2025-03-01"), "twice"),
    dispute("d8", "created", day("2025-03-02"), "needs_response", 8, created=day("2025-03-02")),
    dispute("object:dp_8", "created", day("2025-03-02"), None, 8, source="stripe-objects"),
    # An account met in mid-life, in a portfolio that begins in January.
    told("a1", "credit.account.opened", day("2025-01-02"), id="young", customer="old", status="current", balance=0,
         created=day("2024-12-31 23:59:59"), currency="gbp"),
    told("a2", "credit.account.updated", day("2025-03-10"), id="met", customer="old", status="past_due",
         days_past_due=100, balance=500, created=LONG_AGO, currency="gbp"),
    # The feeds end in July, that of charges in June; then an export tells of one charge in October.
    customer("o2", "updated", day("2025-07-01"), "old", created=LONG_AGO),
    charge(5, day("2025-03-20"), "old"),
    charge(7, day("2025-06-25"), "old"),
    told("a3", "credit.account.updated", day("2025-07-01"), id="young", customer="old", status="current", balance=10,
         created=day("2025-01-02"), currency="gbp"),
    told("object:ch_6", "charge.succeeded", day("2025-10-01"), id="ch_6", customer="old", amount=5, currency="gbp",
         status="succeeded", source="stripe-objects"),
]  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A function that returns the rows of a query on built marts."""
    settings = config.load(ROOT, home=tmp_path_factory.mktemp("mid-life"))
    lake = Lake(settings.lake)
    write(lake, settle(EVENTS, 1))
    run_dbt(settings, lake, "run", "--select", *(f"+{name}" for name in MODELS.split()))
    connection = lake.connect()
    connection.execute("USE lake")
    yield lambda query: connection.execute(query).fetchall()
    connection.close()


def test_who_closed_the_account_signed_up_and_left(rows):
    assert rows("SELECT signed_up_at, left_at FROM metrics.consumer_funnel WHERE consumer_id = 'closed'") == [
        (day("2025-01-10 00:00:00.5"), day("2025-01-20"))
    ]
    assert rows(
        "FROM metrics.consumer_funnel_cohorts SELECT cohort_month, entered, reached ORDER BY ALL DESC LIMIT 2"
    ) == [
        (day("2025-01-01").date(), 1, 1),
        (day("2025-01-01").date(), 1, 1),
    ]


def test_sign_ups_before_the_feeds_began_are_no_cohort(rows):
    signed_up = rows("SELECT consumer_id FROM metrics.consumer_funnel WHERE signed_up_at < '2025-01-01' ORDER BY ALL")
    assert signed_up == [("old",), ("older",)]
    assert rows("SELECT signed_up_at, lifecycle_stage FROM core.consumers WHERE consumer_id = 'met'") == [
        (None, "closed")
    ]
    assert rows("SELECT DISTINCT cohort_month FROM metrics.consumer_funnel_cohorts") == [(day("2025-01-01").date(),)]


def test_an_inquiry_that_an_export_tells_again_stays_one(rows):
    found = rows("SELECT dispute_id, outcome, opened_at FROM intermediate.int_dispute_cases ORDER BY ALL")
    assert found == [
        ("dp_1", "inquiry", None),
        ("dp_3", "open", day("2025-01-16")),
        ("dp_4", "lost", day("2025-01-12")),
        ("dp_5", "won", day("2025-03-21")),
        ("dp_8", "open", day("2025-03-02")),
    ]
    assert rows("SELECT sum(inquiry_count), sum(escalated_inquiries) FROM metrics.dispute_activity") == [(1, 0)]
    states = rows("SELECT state FROM core.fraud_states WHERE consumer_id = 'old' ORDER BY valid_from")
    assert [state for (state,) in states] == ["clean", "warned", "clean", "lost", "disputed", "won"]
    last = """SELECT last_dispute_status FROM features.consumer_dispute WHERE consumer_id = 'twice'
        ORDER BY event_timestamp DESC, known_at DESC, sequence DESC NULLS LAST, event_id DESC"""
    assert rows(last)[0] == ("needs_response",)
    assert rows("SELECT status FROM core.disputes WHERE dispute_id IN ('dp_3', 'dp_8') ORDER BY dispute_id") == [
        (None,),
        ("needs_response",),
    ]
    assert rows("SELECT DISTINCT status FROM features.dispute_events WHERE dispute_id = 'dp_8'") == [
        ("needs_response",)
    ]


def test_an_export_does_not_make_a_feed_look_complete(rows):
    found = rows(
        "SELECT maturity_days, is_mature FROM metrics.dispute_rates WHERE charged_month = '2025-03-01' ORDER BY ALL"
    )
    assert found == [(30, True), (60, True), (90, False), (120, False)]
    # Growth needs the charges alone, and the export tells them.
    assert rows("SELECT max(period) FROM metrics.reporting_periods WHERE not is_partial AND grain = 'month'") == [
        (day("2025-09-01").date(),)
    ]


def test_an_account_met_in_mid_life_is_of_no_vintage(rows):
    assert rows("SELECT DISTINCT cohort_month, account_count FROM metrics.credit_vintages") == [
        (day("2025-01-01").date(), 1)
    ]


def test_a_session_met_in_mid_life_began_when_it_says(rows):
    assert rows("SELECT started_at FROM core.identity_checks WHERE session_id = 'vs_3'") == [(day("2025-03-01"),)]
    query = "SELECT median_seconds_to_verify FROM metrics.identity_months WHERE started_month = '2025-03-01'"
    assert rows(query) == [(timedelta(days=4).total_seconds(),)]


@pytest.mark.parametrize(
    ("subject", "consumer", "state"),
    [
        ("identity", "tried", "none"), ("credit", "tried", "none"), ("fraud", "tried", "clean"),
        ("identity", "pending", "pending"), ("credit", "pending", "none"), ("fraud", "pending", "clean"),
    ],
)  # fmt: skip
def test_whoever_tried_anything_has_a_state(rows, subject, consumer, state):
    assert rows(f"SELECT state FROM core.{subject}_states WHERE consumer_id = '{consumer}'") == [(state,)]
    assert rows(f"SELECT state FROM core.lifecycle_states WHERE consumer_id = '{consumer}'") == []
