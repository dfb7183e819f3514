"""Stripe's events and exports of objects: what is kept, what is dropped, what is rejected."""

import json
from dataclasses import replace

import pytest

from lifecycle.pipeline.intake import read_quarantine
from tests.intake_feed import CREATED, ask, charge, counts, payloads, reasons, take_in, write
from transformations.sources.stripe_fields import OBJECTS, TYPES, object_of


def event(kind, described, previous=None, **more):
    return charge(kind=kind) | {"data": {"object": described, "previous_attributes": previous or {}}} | more


def kept(settings, lake, tmp_path, *events):
    take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", list(events)))
    assert reasons(lake) == []
    return [payload for _, payload in payloads(lake)]


def test_a_charge_keeps_the_listed_fields_and_nothing_else(settings, lake, tmp_path):
    described = {
        "id": "ch_1", "object": "charge", "amount": 1250, "amount_refunded": 0, "currency": "gbp", "created": CREATED,
        "customer": {"id": "cus_1", "object": "customer", "email": "someone@example.org"},
        "payment_intent": "pi_1", "payment_method": {"id": "pm_1"}, "paid": True, "captured": True,
        "status": "succeeded", "failure_code": None, "receipt_email": "someone@example.org", "description": "x",
        "outcome": {"type": "authorized", "risk_level": "normal", "risk_score": 12, "seller_message": "x"},
        "transfer_data": {"destination": "acct_9", "amount": 1},
        "metadata": {"device": "dev_1", "category": "grocery", "ip": "192.0.2.77", "ip_country": "GB", "secret": "x"},
        "payment_method_details": {"card": {"brand": "visa", "fingerprint": "fp_1", "last4": "4242"}},
        "billing_details": {"name": "Some One", "address": {"country": "GB", "line1": "x"}},
    }  # fmt: skip
    [payload] = kept(
        settings, lake, tmp_path, event("charge.refunded", described, {"amount_refunded": 0, "refunded": 0})
    )
    hashes = {name: payload["object"].pop(name) for name in ("ip_hash", "ip_prefix_hash")}
    hashes["card"] = payload["object"]["card"].pop("fingerprint_hash")
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in hashes.values())
    assert payload == {
        "account": "acct_1",
        "api_version": "2025-02-24.acacia",
        "livemode": True,
        "object": {
            "id": "ch_1", "created": CREATED, "amount": 1250, "amount_refunded": 0, "currency": "gbp",
            "customer": "cus_1", "status": "succeeded", "paid": True, "captured": True, "payment_intent": "pi_1",
            "payment_method": "pm_1", "failure_code": None,
            "outcome": {"type": "authorized", "risk_level": "normal", "risk_score": 12}, "merchant": "acct_9",
            "device": "dev_1", "category": "grocery", "ip_country": "GB", "card": {"brand": "visa"},
            "billing_country": "GB",
        },
        "previous": {"amount_refunded": 0},
    }  # fmt: skip


def test_content_does_not_depend_on_the_order_of_fields(settings, lake, tmp_path):
    first = charge(outcome={"type": "authorized", "reason": None})
    text = json.dumps(first | {"data": {"object": dict(reversed(first["data"]["object"].items()))}}, indent=None)
    [batch] = take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", [first, text.encode()]))
    assert counts(batch) == (2, 1, 1, 0)


def test_other_content_under_the_same_id_is_a_version(settings, lake, tmp_path):
    lines = [charge(), charge(amount=1300), charge(description="dropped")]
    [batch] = take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", lines))
    assert counts(batch) == (3, 2, 1, 0)


def test_retracted_and_revised_events_of_the_platforms_own_types(settings, lake, tmp_path):
    account = {"id": "ca_1", "object": "credit.account", "balance": -500, "days_past_due": 0}
    lines = [event("credit.account.updated", account, revision=n, retracted=n == 2) for n in (1, 2, 2)]
    [batch] = take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", lines))
    assert counts(batch) == (3, 2, 1, 0)
    rows = ask(lake, "SELECT revision, retracted, payload->>'$.object.balance' FROM lake.raw.events ORDER BY ALL")
    assert rows == [(1, False, "-500"), (2, True, "-500")]


@pytest.mark.parametrize(
    ("links", "customer"),
    [
        ({"related_customer": "cus_1", "client_reference_id": "cus_2"}, "cus_1"),
        ({"related_customer": None, "client_reference_id": "cus_2"}, "cus_2"),
        ({}, None),
    ],
)
def test_whom_a_verification_session_belongs_to(settings, lake, tmp_path, links, customer):
    session = {"id": "vs_1", "object": "identity.verification_session", "status": "verified", **links}
    session |= {"last_error": {"code": "consent_declined", "reason": "x"}, "metadata": {"country": "DE"}}
    [payload] = kept(settings, lake, tmp_path, event("identity.verification_session.verified", session))
    assert payload["object"] == {
        "id": "vs_1", "status": "verified", "last_error": {"code": "consent_declined"}, "country": "DE", **links,
        "customer": customer,
    }  # fmt: skip


def test_every_listed_type_of_event_comes_in(settings, lake, tmp_path):
    kinds = [*TYPES, "payment_intent.created", "payment_intent.some_new_step"]
    lines = [
        event(kind, {"id": "x_1", "object": object_of(kind), "created": CREATED}, id=f"evt_{n}")
        for n, kind in enumerate(kinds)
    ]
    [batch] = take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", lines))
    assert counts(batch) == (len(kinds), len(kinds), 0, 0)
    assert {object_of(kind) for kind in kinds} == set(OBJECTS)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (charge(kind="invoice.paid"), "unknown_type"),
        (charge(kind="charge.refund.created"), "unknown_type"),
        (charge() | {"type": 7}, "unknown_type"),
        (charge() | {"livemode": False}, "test_mode"),
        (charge() | {"livemode": "yes"}, "bad_field"),
        ({key: value for key, value in charge().items() if key != "id"}, "missing_field"),
        (charge() | {"id": ""}, "bad_field"),
        (charge() | {"type": None}, "missing_field"),
        (charge() | {"created": None}, "missing_field"),
        (charge() | {"created": CREATED * 1000}, "bad_time"),
        (charge() | {"data": {}}, "missing_field"),
        (charge() | {"data": {"object": {"id": None}}}, "missing_field"),
        (charge(object="refund"), "wrong_object"),
        (charge(customer=7), "bad_field"),
        (charge(metadata="x"), "bad_field"),
        (charge(created=CREATED * 1000), "bad_time"),
        (charge() | {"revision": 1.5}, "bad_field"),
        (charge() | {"retracted": "no"}, "bad_field"),
        (charge() | {"account": 5}, "bad_field"),
        ({"received_at": "2025-03-01T10:00:02"}, "missing_field"),
        ({"received_at": "2025-03-01T10:00:02", "event": charge()}, "no_time_zone"),
        ({"received_at": None, "event": charge()}, "bad_time"),
    ],
)
def test_what_is_rejected(settings, lake, tmp_path, record, reason):
    [batch] = take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", [charge("evt_0"), record]))
    assert (counts(batch), reasons(lake)) == ((2, 1, 0, 1), [(2, reason)])


def test_test_mode_is_taken_in_where_the_source_says_so(settings, lake, tmp_path):
    admitting = replace(settings, sources={"stripe": settings.sources["stripe"] | {"test_mode": True}})
    [payload] = kept(admitting, lake, tmp_path, charge() | {"livemode": False})
    assert payload["livemode"] is False


OBJECT_LINES = [
    {"object": "charge", "id": "ch_1", "created": CREATED, "livemode": True, "amount": 100, "currency": "eur",
     "customer": "cus_1", "status": "succeeded", "amount_refunded": 40, "refunded": False, "disputed": True},
    {"object": "charge", "id": "ch_2", "created": CREATED, "amount": 100, "status": "failed", "failure_code": "x"},
    {"object": "dispute", "id": "du_1", "created": CREATED, "charge": "ch_1", "amount": 100, "status": "lost"},
    {"object": "customer", "id": "cus_1", "created": CREATED, "email": "a@example.org", "delinquent": False},
    {"object": "refund", "id": "re_1", "created": CREATED, "charge": "ch_1", "amount": 40, "status": "succeeded"},
    {"object": "identity.verification_session", "id": "vs_1", "created": CREATED, "client_reference_id": "cus_1",
     "status": "verified", "last_error": {"code": "consent_declined"}},
]  # fmt: skip


def test_objects_become_the_event_of_their_creation_with_immutable_facts_only(settings, lake, tmp_path):
    options = settings.sources["stripe-objects"] | {"account": "acct_7", "delay_seconds": 5}
    there = replace(settings, sources={"stripe-objects": options})
    [batch] = take_in(there, lake, "stripe-objects", write(tmp_path / "a.ndjson.gz", OBJECT_LINES))
    assert counts(batch) == (6, 6, 0, 0)
    assert batch.dropped_fields == 3 + 0 + 1 + 2 + 1 + 2
    assert "9 mutable fields dropped" in str(batch)
    found = payloads(lake)
    assert [(kind, payload["object"]["id"]) for kind, payload in found] == [
        ("charge.succeeded", "ch_1"), ("charge.failed", "ch_2"), ("customer.created", "cus_1"),
        ("charge.dispute.created", "du_1"), ("charge.refund.updated", "re_1"),
        ("identity.verification_session.created", "vs_1"),
    ]  # fmt: skip
    assert {payload["account"] for _, payload in found} == {"acct_7"}
    objects = [payload["object"] for _, payload in found]
    assert objects[0] == {
        "id": "ch_1", "created": CREATED, "amount": 100, "currency": "eur", "customer": "cus_1", "status": "succeeded",
    }  # fmt: skip
    assert objects[2] == {"id": "cus_1", "created": CREATED}
    assert objects[5]["customer"] == "cus_1"
    ids = ask(lake, "SELECT event_id, known_at - event_timestamp FROM lake.raw.events ORDER BY 1")
    assert ids[0][0] == "object:ch_1"
    assert {delay.total_seconds() for _, delay in ids} == {5.0}


def test_a_mutable_field_makes_no_new_version(settings, lake, tmp_path):
    paths = [write(tmp_path / f"{status}.ndjson", [OBJECT_LINES[2] | {"status": status}]) for status in ("won", "lost")]
    assert [batch.accepted for batch in take_in(settings, lake, "stripe-objects", *paths)] == [1, 0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"object": "invoice"}, "unknown_type"),
        ({"object": None}, "missing_field"),
        ({"status": "pending"}, "not_settled"),
        ({"livemode": False}, "test_mode"),
        ({"amount": -1}, "negative_amount"),
    ],
)
def test_objects_that_are_rejected(settings, lake, tmp_path, change, reason):
    lines = [OBJECT_LINES[1], OBJECT_LINES[0] | change]
    [batch] = take_in(settings, lake, "stripe-objects", write(tmp_path / "a.ndjson", lines))
    assert (counts(batch), reasons(lake)) == ((2, 1, 0, 1), [(2, reason)])


def test_details_hold_nothing_of_the_record(settings, lake, tmp_path):
    secret = "someone@example.org"
    bad = [
        charge() | {"type": secret}, charge() | {"id": [secret]}, charge(amount=secret), charge(object=secret),
        charge(metadata={"ip": [secret]}), charge() | {"created": secret}, {"received_at": secret, "event": charge()},
        charge() | {"livemode": secret}, secret.encode(), charge(customer={"id": [secret]}),
    ]  # fmt: skip
    [batch] = take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", [charge("evt_0"), *bad]))
    assert batch.rejected == len(bad)
    connection = lake.connect()
    try:
        details = read_quarantine(connection, decrypt=False)["detail"].to_pylist()
    finally:
        connection.close()
    assert not [one for one in details if "someone" in one or "example" in one]
