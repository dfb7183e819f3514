"""What the generator writes: Stripe's form, the dirt it counts, and nothing of the truth in the feed."""

import gzip
import json
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import pairwise

import polars as pl
import pytest

from lifecycle.synth import Rates, generate
from lifecycle.synth.delivery import DEFECTS

CONSUMERS = 300
PLATFORM = ("link.", "credit.")
CHARGE_LINKS = {"id", "created", "charge", "payment_intent"}
MONEY = {"amount", "currency", "status"}
CREDIT = {"id", "created", "customer", "currency"}
# The kept fields of each object as docs/events.md names them before tokenising; dots are nesting.
FIELDS = {
    "customer": {"id", "created", "currency", "delinquent", "address.country", "email", "phone", "name"},
    "payment_method": {"id", "created", "customer", "type", "card.brand", "card.country", "card.exp_month",
                       "card.exp_year", "card.funding", "card.fingerprint"},
    "payment_intent": {"id", "created", "customer", "payment_method", "last_payment_error"} | MONEY,
    "charge": {"id", "created", "amount_refunded", "customer", "paid", "captured", "payment_intent", "payment_method",
               "failure_code", "outcome.type", "outcome.risk_level", "outcome.risk_score", "outcome.network_status",
               "outcome.reason", "transfer_data.destination", "metadata.device", "metadata.category", "metadata.ip",
               "metadata.ip_country", "payment_method_details.card.brand", "payment_method_details.card.country",
               "payment_method_details.card.funding", "payment_method_details.card.fingerprint",
               "billing_details.address.country"} | MONEY,
    "refund": {"id", "created", "charge", "reason"} | MONEY,
    "dispute": {"reason", "is_charge_refundable"} | CHARGE_LINKS | MONEY,
    "radar.early_fraud_warning": {"fraud_type", "actionable"} | CHARGE_LINKS,
    "review": {"open", "reason", "opened_reason", "closed_reason"} | CHARGE_LINKS,
    "identity.verification_session": {"id", "created", "related_customer", "client_reference_id", "type", "status",
                                      "last_error", "metadata.document_type", "metadata.country"},
    "link.session": {"id", "created", "customer", "status", "auth_method", "merchant", "device.id", "device.type",
                     "device.os", "ip", "ip_country"},
    "credit.application": {"status", "amount_requested", "term_months", "decline_reason"} | CREDIT,
    "credit.account": {"application", "status", "days_past_due", "credit_limit", "balance"} | CREDIT,
    "credit.statement": {"credit_account", "period_start", "period_end", "due_date", "balance", "minimum_due"}
    | CREDIT,
    "credit.payment": {"credit_account", "statement", "failure_code"} | CREDIT | MONEY,
}  # fmt: skip
TYPES = {
    "customer": "created updated deleted",
    "payment_method": "attached updated automatically_updated detached",
    "payment_intent": "created requires_action payment_failed amount_capturable_updated succeeded canceled",
    "charge": "pending succeeded failed captured updated expired refunded refund.updated dispute.created "
    "dispute.updated dispute.closed dispute.funds_withdrawn dispute.funds_reinstated",
    "radar.early_fraud_warning": "created updated",
    "review": "opened closed",
    "identity.verification_session": "created processing requires_input verified canceled redacted",
    "link.session": "created authenticated failed closed",
    "credit.application": "submitted approved declined canceled",
    "credit.account": "opened updated charged_off closed",
    "credit.statement": "issued",
    "credit.payment": "succeeded failed returned",
}
KNOWN_TYPES = {f"{head}.{tail}" for head, tails in TYPES.items() for tail in tails.split()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("feed"), consumers=CONSUMERS, seed=7)


@pytest.fixture(scope="module")
def lines(made):
    return [line for path in made.events for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


@pytest.fixture(scope="module")
def records(lines):
    """Return the sound records: what parses, has an id, a known type, live mode and an amount in range."""
    found = []
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        event = record["event"]
        sound = "id" in event and event["livemode"] and event["type"] in KNOWN_TYPES
        if sound and 0 <= event["data"]["object"].get("amount", 0) < 2**63:
            found.append(record)
    return found


@pytest.fixture(scope="module")
def objects(records):
    """Return (type, created, object) by kind of object, each event once, in its first content."""
    found, seen = defaultdict(list), set()
    for record in records:
        event = record["event"]
        if event["id"] not in seen:
            seen.add(event["id"])
            found[event["data"]["object"]["object"]].append((event["type"], event["created"], event["data"]["object"]))
    return found


def paths(value, prefix=""):
    for name, inner in value.items():
        yield f"{prefix}{name}"
        if isinstance(inner, dict):
            yield from paths(inner, f"{prefix}{name}.")


def received(record):
    return datetime.fromisoformat(record["received_at"]).timestamp()


def test_every_kind_of_object_has_its_fields_and_types(objects):
    assert set(objects) == set(FIELDS)
    for kind, fields in FIELDS.items():
        for _, _, body in objects[kind]:
            assert fields <= set(paths(body)), kind


def test_every_type_occurs_and_no_other(tmp_path):
    often = Rates(
        disputed=0.1, dispute_won=0.5, pending=0.1, updated=0.1, deleted=0.3, detached=0.3, redacted=0.3,
        payment_returned=0.1,
        closes_monthly=0.1, never_captured=0.3, authorised_first=0.9, misses_payment=0.2, misses_again=0.9, applies=0.8,
        application_canceled=0.2, warned=0.1, card_renewed=0.3, card_updated=0.3, malformed=0.0,
    )  # fmt: skip
    made = generate(tmp_path, consumers=150, seed=1, rates=often)
    text = gzip.decompress(made.events[0].read_bytes()).decode()
    assert set(re.findall(r'"object":"event","type":"([a-z_.]+)"', text)) - {"invoice.paid"} == KNOWN_TYPES


def test_nested_errors_are_stripes_own(objects):
    sessions = [body for _, _, body in objects["identity.verification_session"]]
    assert {"document_expired", "document_unverified_other", "selfie_face_mismatch"} <= {
        body["last_error"]["code"] for body in sessions if body["last_error"]
    }
    assert all((body["last_error"] is None) or body["status"] == "requires_input" for body in sessions)
    failed = [body for event_type, _, body in objects["payment_intent"] if event_type.endswith("payment_failed")]
    assert failed
    assert all(body["last_payment_error"]["code"] and body["last_payment_error"]["decline_code"] for body in failed)
    charges = objects["charge"]
    assert all((body["failure_code"] is None) == (event_type != "charge.failed") for event_type, _, body in charges)


def test_lines_come_in_the_order_of_receipt_and_never_before_the_fact(made, lines, records):
    assert len(lines) == made.lines
    stamps = [re.match(r'\{"received_at":"([^"]+)"', line).group(1) for line in lines]
    assert all(a <= b for a, b in pairwise(stamps))
    assert all(received(record) > record["event"]["created"] for record in records)
    assert all(record["event"]["created"] >= record["event"]["data"]["object"]["created"] for record in records)


def test_time_stays_within_the_months_asked_for(tmp_path):
    made = generate(tmp_path, consumers=30, months=2, start=datetime(2025, 11, 30, tzinfo=UTC), seed=5)
    stamps = re.findall(r'"received_at":"([^"]+)"', gzip.decompress(made.events[0].read_bytes()).decode())
    assert min(stamps) >= "2025-11-30"
    assert max(stamps) < "2026-01-29"


def test_nothing_of_the_truth_is_in_the_feed(lines):
    text = re.sub(r'"([a-z]+_)?[0-9A-Za-z]{16}"', "", "\n".join(lines)).lower()  # without random identifiers
    words = (
        "honest",
        "persona",
        "takeover",
        "taken_over",
        "synthetic",
        "bust",
        "friendly",
        "victim",
        "attack",
        "ring_",
        "churn",
    )
    assert [word for word in words if word in text] == []


def test_truth_has_one_row_per_consumer_and_per_charge(made, objects):
    truth = pl.read_parquet(made.truth)
    assert len(truth) == truth["consumer_id"].n_unique() == CONSUMERS
    assert {body["id"] for _, _, body in objects["customer"]} <= set(truth["consumer_id"])
    assert truth["persona"].n_unique() == 5
    charges = pl.read_parquet(made.truth_charges)
    told = {body["id"]: body for _, _, body in objects["charge"]}
    assert set(told) <= set(charges["charge_id"])
    assert len(charges) - len(told) < 0.05 * len(charges)  # those still under way at the end
    assert charges["fraud"].sum() == truth["fraud_charges"].sum() > 0
    assert set(truth.filter(pl.col("fraud_charges") > 0)["persona"]) == {
        "account_takeover_victim",
        "synthetic_identity",
    }


def test_a_takeover_uses_another_device_abroad(made, objects):
    truth = pl.read_parquet(made.truth).filter(pl.col("persona") == "account_takeover_victim")
    fraud = set(pl.read_parquet(made.truth_charges).filter("fraud")["charge_id"])
    for victim in truth.filter("fraud").iter_rows(named=True):
        theirs = {body["id"]: body for _, _, body in objects["charge"] if body["customer"] == victim["consumer_id"]}
        places = {
            bad: {b["metadata"]["device"] for i, b in theirs.items() if (i in fraud) == bad} for bad in (True, False)
        }
        assert places[True] - {None}
        assert not (places[True] - {None}) & places[False]
        assert all(b["metadata"]["ip_country"] != victim["country"] for i, b in theirs.items() if i in fraud)


def test_personal_data_is_set_aside_for_documentation(objects):
    customers = [body for _, _, body in objects["customer"]]
    domains = {body["email"].split("@")[1] for body in customers}
    assert domains <= {"example.com", "example.org", "example.net", "mail.example", "post.example"}
    assert all(re.fullmatch(r"\+1\d{3}55501\d\d", body["phone"]) for body in customers)
    addresses = {body["metadata"]["ip"] for _, _, body in objects["charge"]} | {
        b["ip"] for _, _, b in objects["link.session"]
    }
    documentation = re.compile(r"2001:db8:[0-9a-f]{1,4}::[0-9a-f]{1,4}|(192\.0\.2|198\.51\.100|203\.0\.113)\.\d{1,3}")
    assert [address for address in addresses if not documentation.fullmatch(address)] == []


def test_a_session_comes_before_its_payment_and_the_payment_before_what_follows(objects):
    begun = {
        body["id"]: created
        for event_type, created, body in objects["payment_intent"]
        if event_type.endswith(".created")
    }
    charged = {b["id"]: (at, b) for t, at, b in objects["charge"] if t in ("charge.succeeded", "charge.failed")}
    assert charged
    assert all(begun[body["payment_intent"]] < at for at, body in charged.values() if body["payment_intent"] in begun)
    login = defaultdict(list)
    for event_type, at, body in objects["link.session"]:
        if event_type == "link.session.authenticated":
            login[body["customer"], body["device"]["id"], body["ip"]].append(at)
    near = 0
    for at, body in charged.values():
        before = [
            t for t in login[body["customer"], body["metadata"]["device"], body["metadata"]["ip"]] if at - 400 < t
        ]
        near += bool(before) and min(before) < at
    assert near > 0.4 * len(charged)
    for kind in ("refund", "dispute", "radar.early_fraud_warning", "review"):
        found = [(at, charged[body["charge"]][0]) for _, at, body in objects[kind] if body["charge"] in charged]
        assert found
        assert all(at > charge_at for at, charge_at in found)


def test_refunds_add_up_and_never_pass_the_charge(records):
    steps = defaultdict(dict)
    for record in records:
        event = record["event"]
        if event["type"] == "charge.refunded" and event["id"] not in steps[event["data"]["object"]["id"]]:
            steps[event["data"]["object"]["id"]][event["id"]] = event
    assert steps
    for events in steps.values():
        before = 0
        for event in sorted(events.values(), key=lambda e: e["created"]):
            assert event["data"]["previous_attributes"]["amount_refunded"] == before
            before = event["data"]["object"]["amount_refunded"]
            assert 0 < before <= event["data"]["object"]["amount"]


def test_days_past_due_are_counted_on(objects):
    counted = Counter(body["days_past_due"] for _, _, body in objects["credit.account"])
    assert {0, 30, 60, 90, 120, 150} >= set(counted)
    assert counted[30] >= counted[60] >= counted[90] > 0
    assert all(
        (body["status"] in ("past_due", "charged_off")) == (body["days_past_due"] > 0)
        for _, _, body in objects["credit.account"]
    )
    assert all(body["balance"] >= 0 for _, _, body in objects["credit.account"])


def test_dirt_is_what_was_counted(made, lines, records):
    versions = defaultdict(list)
    for record in records:
        versions[record["event"]["id"]].append(json.dumps(record["event"], sort_keys=True))
    assert sum(len(same) - len(set(same)) for same in versions.values()) == pytest.approx(
        made.counts["repeated"], abs=3
    )
    changed = sum(len(set(same)) - 1 for same in versions.values())
    assert changed == pytest.approx(made.counts["amended"] + made.counts["retracted"] + made.counts["merged"], abs=5)
    assert len(lines) - len(records) == pytest.approx(made.counts["malformed"], abs=2)
    assert made.counts["malformed"] <= len(DEFECTS)
    assert 0.03 < made.counts["late"] / made.counts["events"] < 0.07
    assert 0.005 < made.counts["repeated"] / made.counts["events"] < 0.015
    assert 0.004 < made.counts["amended"] / made.counts["events"] < 0.011
    assert sum(made.counts.values()) - made.counts["late"] == made.lines


def test_only_the_platforms_own_events_declare_revisions(records):
    for record in records:
        event = record["event"]
        if "revision" in event or "retracted" in event:
            assert event["type"].startswith(PLATFORM)
            assert event["revision"] == 2
    assert any(record["event"].get("retracted") for record in records)


def test_each_kind_of_defect_occurs(tmp_path):
    made = generate(tmp_path, consumers=20, seed=1, rates=Rates(malformed=2.0))
    found = Counter()
    for line in gzip.decompress(made.events[0].read_bytes()).decode().splitlines():
        try:
            event = json.loads(line)["event"]
        except json.JSONDecodeError:
            found["truncated"] += 1
            continue
        amount = event["data"]["object"].get("amount", 0)
        found["unknown_type"] += event["type"] not in KNOWN_TYPES
        found["missing_id"] += "id" not in event
        found["negative_amount"] += amount < 0
        found["overflowing_amount"] += amount >= 2**63
        found["test_mode"] += not event["livemode"]
    assert all(found[defect] > 0 for defect in DEFECTS)
    assert sum(found.values()) >= made.counts["malformed"] > 30


def test_merged_customers_come_again_as_the_survivor(tmp_path):
    made = generate(tmp_path, consumers=60, seed=3, rates=Rates(merged=0.2))
    merged = dict(
        pl.read_parquet(made.truth)
        .filter(pl.col("merged_into").is_not_null())
        .select("consumer_id", "merged_into")
        .rows()
    )
    assert len(merged) > 2
    named = defaultdict(list)
    for line in gzip.decompress(made.events[0].read_bytes()).decode().splitlines():
        if '"type":"charge.succeeded"' in line and line.endswith("}}}}"):
            event = json.loads(line)["event"]
            named[event.get("id")].append(event["data"]["object"]["customer"])
    moved = [who for who in named.values() if who[0] in merged and len(set(who)) > 1]
    assert moved
    assert all(who[-1] == merged[who[0]] or who[-1] == who[0] for who in moved)


def test_unlinked_sessions_occur(objects):
    assert any(body["customer"] is None for _, _, body in objects["link.session"])
    assert any(
        b["related_customer"] is None and b["client_reference_id"] is None
        for _, _, b in objects["identity.verification_session"]
    )
    assert any(b["client_reference_id"] is not None for _, _, b in objects["identity.verification_session"])


def test_without_dirt_each_event_comes_once_within_a_minute(tmp_path):
    made = generate(tmp_path, consumers=25, months=4, seed=9, dirt=False)
    found = [json.loads(line) for line in gzip.decompress(made.events[0].read_bytes()).decode().splitlines()]
    assert len({record["event"]["id"] for record in found}) == len(found) == made.counts["events"] == made.lines
    assert all(received(record) - record["event"]["created"] <= 60.001 for record in found)


def test_several_accounts_and_currencies_one_per_consumer(objects, records):
    assert len({record["event"]["account"] for record in records}) == 2
    currencies = defaultdict(set)
    for _, _, body in objects["charge"]:
        currencies[body["customer"]].add(body["currency"])
    assert len(set().union(*currencies.values())) >= 4
    assert all(len(own) == 1 for own in currencies.values())


def test_counts_of_events_have_a_heavy_tail(objects):
    counts = sorted(Counter(body["customer"] for _, _, body in objects["charge"]).values())
    assert counts[-1] > 10 * counts[len(counts) // 2]


def test_readme_says_generated_with_seed_and_rates(made):
    text = made.readme.read_text(encoding="utf-8")
    assert text.startswith("Generated consumers: synthetic data")
    assert '"seed": 7' in text
    assert f'"consumers": {CONSUMERS}' in text
    assert '"churn_monthly": 0.065' in text
