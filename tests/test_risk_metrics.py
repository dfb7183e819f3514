"""Identity, dispute and credit metrics on generated consumers, against plain loops over what they were made from."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import UTC, datetime, time, timedelta

import duckdb
import pytest

from lifecycle import config
from lifecycle.lake import Lake
from lifecycle.pipeline.build import run_dbt
from lifecycle.pipeline.intake import ingest
from lifecycle.synth import generate
from tests.conftest import ROOT
from tests.dbt_sql import render

DELIVERY = timedelta(days=3)
MODELS = (
    "identity_months identity_segments identity_failures dispute_activity dispute_rates dispute_outcomes "
    "fraud_warnings fraud_losses credit_portfolio credit_roll_rates credit_vintages"
)
VERIFIED, REFUSED = "identity.verification_session.verified", "identity.verification_session.requires_input"
VERDICTS = ("won", "lost", "prevented")
OVER = ("charged_off", "paid_off", "closed")


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """A function that returns the rows of a query on built marts, as dictionaries."""
    folder = tmp_path_factory.mktemp("risk")
    settings = config.load(ROOT, home=folder / "home")
    lake = Lake(settings.lake)
    made = generate(folder, consumers=700, months=16, seed=12)
    ingest(settings, lake, "stripe", made.events)
    run_dbt(settings, lake, "run", "--select", *(f"+{name}" for name in MODELS.split()))
    connection = lake.connect()
    connection.execute("USE lake")

    def rows(query):
        relation = connection.execute(query)
        names = [column[0] for column in relation.description]
        return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]

    yield rows
    connection.close()


def month(moment):
    return None if moment is None else moment.date().replace(day=1)


def after(first, months=1):
    """Return the first day of the month so many months after."""
    number = first.year * 12 + first.month - 1 + months
    return first.replace(year=number // 12, month=number % 12 + 1)


def share(part, whole):
    return part / whole if whole else None


def lower_median(values):
    values = sorted(values)
    return values[(len(values) - 1) // 2] if values else None


def whole_seconds(start, stop):
    return math.floor((stop - start) / timedelta(seconds=1))


def observed(read, *relations):
    return max(read(f"SELECT max(known_at) AS t FROM staging.{name}")[0]["t"] for name in relations)


def complete(first, days, until):
    """Say whether the month from `first` on, so many days and the delivery are over."""
    end = datetime.combine(after(first), time(), UTC)
    return end + timedelta(days=days) + DELIVERY <= until


@pytest.fixture(scope="module")
def sessions(read):
    """Each identity check as its events say: its attempts in order, and what they came to."""
    found = defaultdict(list)
    for row in read("FROM features.verification_events WHERE known_until IS NULL ORDER BY event_timestamp, known_from"):
        found[row["session_id"]].append(row)
    made = []
    for events in found.values():
        tries = [e for e in events if e["type"] == VERIFIED or (e["type"] == REFUSED and e["error_code"])]
        passed = [e["event_timestamp"] for e in tries if e["type"] == VERIFIED]
        last = {name: [e[name] for e in events if e[name]] for name in ("document_country", "document_type")}
        made.append({
            "consumer": next((e["consumer_id"] for e in reversed(events) if e["consumer_id"]), None),
            "started": events[0]["event_timestamp"],
            "tries": tries,
            "verified": min(passed, default=None),
            "canceled": any(e["type"].endswith("canceled") for e in events),
            **{name: values[-1] if values else "unknown" for name, values in last.items()},
        })  # fmt: skip
    return made


def first_attempted(sessions):
    """Return each consumer's first session with an attempt, and when they were first verified."""
    mine = defaultdict(list)
    for one in sessions:
        if one["consumer"]:
            mine[one["consumer"]].append(one)
    firsts = {}
    for consumer, own in mine.items():
        tried = [one for one in own if one["tries"]]
        if tried:
            verified = min((one["verified"] for one in own if one["verified"]), default=None)
            firsts[consumer] = (min(tried, key=lambda one: one["started"]), verified)
    return firsts


@pytest.mark.parametrize("table", ["identity_months", "identity_segments"])
def test_identity_rates_equal_plain_loops(read, sessions, table):
    def place(one):
        if table == "identity_months":
            return (month(one["started"]),)
        return (one["document_country"], one["document_type"])

    rows = read(f"FROM metrics.{table}")
    assert {tuple(row.values())[: len(place(sessions[0]))] for row in rows} == {place(one) for one in sessions}
    firsts = first_attempted(sessions)
    for row in rows:
        key = tuple(row.values())[: len(place(sessions[0]))]
        here = [one for one in sessions if place(one) == key]
        tried = [one for one in here if one["tries"]]
        passed = [one for one in here if one["verified"]]
        at_once = [one for one in tried if one["tries"][0]["type"] == VERIFIED]
        consumers = [(one["started"], verified) for one, verified in firsts.values() if place(one) == key]
        reached = [(started, verified) for started, verified in consumers if verified]
        attempts = sum(len(one["tries"]) for one in here)
        assert tuple(row.values())[len(key) :] == (
            len(here), len(tried), len(at_once), len(passed), sum(one["canceled"] for one in here), attempts,
            attempts - len(tried), sum(len(one["tries"]) > 1 for one in tried), len(consumers), len(reached),
            lower_median([whole_seconds(one["started"], one["verified"]) for one in passed]),
            lower_median([whole_seconds(*pair) for pair in reached]),
            share(len(passed), len(tried)), share(len(at_once), len(tried)), share(len(reached), len(consumers)),
        )  # fmt: skip


def test_identity_failures_equal_plain_loops(read, sessions):
    counts = defaultdict(lambda: [0, 0, 0])
    for one in sessions:
        for number, attempt in enumerate(one["tries"]):
            if attempt["type"] != VERIFIED:
                place = (month(one["started"]), one["document_country"], one["document_type"], attempt["error_code"])
                counts[place][0] += 1
                counts[place][1] += number == 0
                counts[place][2] += one["verified"] is not None and one["verified"] > attempt["event_timestamp"]
    assert {tuple(row.values())[:4]: list(row.values())[4:] for row in read("FROM metrics.identity_failures")} == counts


@pytest.fixture(scope="module")
def cases(read):
    """Each dispute with its inquiry, its opening and its verdict, from its statuses; and its charge."""
    charges = {row["charge_id"]: row for row in read("FROM core.charges")}
    history = defaultdict(list)
    for row in read("FROM core.dispute_status_history ORDER BY status_since"):
        history[row["dispute_id"]].append(row)
    warned = {}
    for row in read("FROM staging.stg_early_fraud_warnings WHERE known_until IS NULL AND NOT retracted"):
        warned[row["charge_id"]] = min(row["event_timestamp"], warned.get(row["charge_id"], row["event_timestamp"]))
    made = []
    for row in read("FROM core.disputes"):
        steps = history[row["dispute_id"]]
        inquiry = [step["status_since"] for step in steps if step["status"].startswith("warning_")]
        dispute = [step["status_since"] for step in steps if not step["status"].startswith("warning_")]
        opened = row["disputed_at"] if not inquiry else min(dispute, default=None)
        verdict = row["status"] if row["status"] in VERDICTS else "open"
        made.append({
            **row, "asked": min(inquiry, default=None), "opened": opened,
            "verdict": verdict if opened else "inquiry", "charge": charges.get(row["charge_id"]),
            "warned": warned.get(row["charge_id"]),
        })  # fmt: skip
    return charges, made, warned


def test_dispute_activity_is_by_the_dispute_s_month(read, cases):
    charges, disputes, _ = cases
    until = observed(read, "stg_charges", "stg_disputes")
    seen = 0
    for row in read("FROM metrics.dispute_activity"):
        place = (row["month"], row["currency"])
        paid = [c["amount"] for c in charges.values() if c["first_status"] == "succeeded"
                and (c["charged_month"], c["currency"]) == place]  # fmt: skip
        opened = [d for d in disputes if (month(d["opened"]), d["currency"]) == place]
        asked = [d for d in disputes if (month(d["asked"]), d["currency"]) == place]
        seen += len(opened) + len(asked)
        assert tuple(row.values())[2:] == (
            len(paid), sum(paid), len(opened), sum(d["amount"] for d in opened),
            sum(d["reason"] == "fraudulent" for d in opened), len(asked), sum(d["opened"] is not None for d in asked),
            complete(row["month"], 0, until), share(len(opened), len(paid)),
        )  # fmt: skip
    assert seen == sum(d["opened"] is not None for d in disputes) + sum(d["asked"] is not None for d in disputes)
    assert {d["verdict"] for d in disputes} >= {"won", "lost", "open", "inquiry"}


def test_dispute_rates_are_by_the_charge_s_month_and_unknown_until_mature(read, cases):
    charges, disputes, _ = cases
    until = observed(read, "stg_charges", "stg_disputes")
    delays = defaultdict(list)
    for d in disputes:
        if d["opened"] and d["charge"] and d["charge"]["first_status"] == "succeeded":
            delays[d["charge_id"]].append((d["opened"] - d["charge"]["charged_at"], d["reason"]))
    rows = read("FROM metrics.dispute_rates")
    for row in rows:
        here = [c for c in charges.values() if c["first_status"] == "succeeded"
                and (c["charged_month"], c["currency"]) == (row["charged_month"], row["currency"])]  # fmt: skip
        limit = timedelta(days=row["maturity_days"])
        known = complete(row["charged_month"], row["maturity_days"], until)
        fast = [[reason for delay, reason in delays[c["charge_id"]] if delay <= limit] for c in here]
        counts = (sum(bool(some) for some in fast), sum("fraudulent" in some for some in fast))
        expected = (*counts, *(count / len(here) for count in counts)) if known else (None,) * 4
        assert tuple(row.values())[3:] == (known, len(here), *expected)
    assert {row["is_mature"] for row in rows} == {True, False}
    assert any(row["disputed_charges"] for row in rows)


def test_outcomes_warnings_and_losses_equal_plain_loops(read, cases):
    charges, disputes, warned = cases
    until = observed(read, "stg_charges", "stg_disputes")
    for row in read("FROM metrics.dispute_outcomes"):
        here = [d for d in disputes if d["opened"] and (month(d["opened"]), d["currency"], d["reason"])
                == (row["opened_month"], row["currency"], row["reason"])]  # fmt: skip
        kinds = Counter(d["verdict"] for d in here)
        amounts = Counter()
        for d in here:
            amounts[d["verdict"]] += d["amount"]
        assert tuple(row.values())[3:] == (
            len(here), kinds["won"], kinds["lost"], kinds["prevented"], kinds["open"], amounts.total(), amounts["won"],
            amounts["lost"], sum(d["warned"] is not None and d["warned"] < d["opened"] for d in here),
            share(kinds["won"], kinds["won"] + kinds["lost"]),
        )  # fmt: skip
    first = defaultdict(list)
    for d in disputes:
        if d["opened"]:
            first[d["charge_id"]].append(d["opened"])
    for row in read("FROM metrics.fraud_warnings"):
        here = {charge: at for charge, at in warned.items() if (month(at), charges.get(charge, {}).get("currency",
                "unknown")) == (row["warned_month"], row["currency"])}  # fmt: skip
        pairs = [(at, min(first[charge])) for charge, at in here.items() if charge in first]
        ahead = [whole_seconds(at, opened) for at, opened in pairs if opened > at]
        assert tuple(row.values())[2:] == (
            complete(row["warned_month"], 120, until), len(here), len(ahead), len(pairs) - len(ahead),
            len(here) - len(pairs), lower_median(ahead),
        )  # fmt: skip
    for row in read("FROM metrics.fraud_losses"):
        frauds = [d for d in disputes if d["opened"] and d["reason"] == "fraudulent"]
        here = [
            d for d in frauds
            if d["currency"] == row["currency"]
            and (d["charge"]["charged_month"] if d["charge"] else month(d["opened"])) == row["charged_month"]
        ]  # fmt: skip
        amounts = Counter()
        for d in here:
            amounts[d["verdict"]] += d["amount"]
        recovered = amounts["won"] + amounts["prevented"]
        assert (row["fraud_disputes"], row["disputed_amount"], row["lost_amount"], row["recovered_amount"]) == (
            len(here), amounts.total(), amounts["lost"], recovered,
        )  # fmt: skip
        mature = complete(row["charged_month"], 120, until)
        assert (row["is_mature"], row["open_amount"]) == (mature, amounts["open"])
        lost = sum(
            d["amount"] for d in here
            if d["verdict"] == "lost" and d["charge"] and d["charge"]["first_status"] == "succeeded"
            and d["charge"]["currency"] == d["currency"]
        )  # fmt: skip
        assert row["lost_charge_amount"] == lost
        known = mature and not amounts["open"]
        assert row["loss_rate"] == (share(lost, row["charge_amount"]) if known else None)


def bucket(event):
    if event["status"] in OVER:
        return "charged_off" if event["status"] == "charged_off" else "paid_off"
    days = event["days_past_due"] or 0
    names = ["dpd_1_29", "dpd_30_59", "dpd_60_89", "dpd_90_119"]
    return "current" if days <= 0 else names[days // 30] if days < 120 else "dpd_120_plus"


@pytest.fixture(scope="module")
def book(read):
    """Each account's complete months by replaying its events: account -> month -> (bucket, balance, late so far)."""
    until = observed(read, "stg_credit_accounts", "stg_credit_statements", "stg_credit_payments")
    standing = "WHERE known_until IS NULL AND NOT retracted"
    events = defaultdict(list)
    for name in ("stg_credit_accounts", "stg_credit_statements"):
        for row in read(f"FROM staging.{name} {standing}"):
            events[row["credit_account_id"]].append(row)
    made = {}
    for account, rows in events.items():
        rows.sort(key=lambda row: (row["event_timestamp"], row["known_from"], row["event_id"]))
        opened = min((row["event_timestamp"] for row in rows if "status" in row), default=None)
        months, first = {}, month(opened)
        while first is not None and complete(first, 0, until):
            told = [row for row in rows if month(row["event_timestamp"]) <= first]
            says = [row for row in told if "status" in row]
            late = any(row["status"] == "charged_off" or (row["days_past_due"] or 0) >= 90 for row in says)
            months[first] = (bucket(says[-1]), told[-1]["balance"], says[-1]["currency"], late)
            if says[-1]["status"] in OVER:
                break
            first = after(first)
        made[account] = months
    return {account: months for account, months in made.items() if months}


def test_roll_rates_equal_a_replay_of_each_account(read, book):
    counts, owed = Counter(), Counter()
    for months in book.values():
        for first, (state, balance, currency, _) in months.items():
            if after(first) in months:
                cell = (first, currency, state, months[after(first)][0])
                counts[cell] += 1
                owed[cell] += max(balance, 0)
    rows = read("FROM metrics.credit_roll_rates")
    found = {(r["month"], r["currency"], r["from_bucket"], r["to_bucket"]): r for r in rows}
    assert {cell: row["account_count"] for cell, row in found.items()} == counts
    assert {cell: row["balance"] for cell, row in found.items()} == owed
    for cell, row in found.items():
        of_row = [other for other in counts if other[:3] == cell[:3]]
        assert row["account_rate"] == counts[cell] / sum(counts[other] for other in of_row)
        assert row["balance_rate"] == share(owed[cell], sum(owed[other] for other in of_row))
    steps = {(row["from_bucket"], row["to_bucket"]) for row in rows}
    assert {("dpd_30_59", "current"), ("dpd_120_plus", "charged_off"), ("current", "paid_off")} <= steps


def test_vintages_and_portfolio_equal_a_replay_of_each_account(read, book):
    last = max(max(months) for months in book.values())
    # An account whose opening the feed lost says itself when that was.
    standing = "WHERE known_until IS NULL AND NOT retracted"
    objects = read(f"FROM staging.stg_credit_accounts {standing} ORDER BY created_at DESC")
    created = {row["credit_account_id"]: month(row["created_at"]) for row in objects}
    cohorts = defaultdict(list)
    for account, months in book.items():
        late = min((first for first, state in months.items() if state[3]), default=None)
        cohorts[min(*months, created[account])].append(late)
    assert [account for account, months in book.items() if created[account] < min(months)]
    expected = {}
    for cohort, lates in cohorts.items():
        age = 0
        while after(cohort, age) <= last:
            ever = sum(late is not None and late <= after(cohort, age) for late in lates)
            expected[cohort, age] = (len(lates), ever, ever / len(lates))
            age += 1
    rows = read("FROM metrics.credit_vintages")
    assert {(row["cohort_month"], row["months_on_book"]): tuple(row.values())[3:] for row in rows} == expected
    assert max(ever for _, ever, _ in expected.values()) > 1
    accounts, owed = Counter(), Counter()
    for months in book.values():
        for first, (state, balance, currency, _) in months.items():
            accounts[first, currency, state] += 1
            owed[first, currency, state] += max(balance, 0)
    rows = read("FROM metrics.credit_portfolio")
    assert {(row["month"], row["currency"], row["bucket"]): row["account_count"] for row in rows} == accounts
    assert {(row["month"], row["currency"], row["bucket"]): row["exposure"] for row in rows} == owed


@pytest.mark.parametrize(
    ("zone", "until", "over"),
    [
        ("UTC", "2025-09-02 23:59:59+00", False),
        ("UTC", "2025-09-03 00:00:00+00", True),
        ("Europe/London", "2025-09-02 22:59:59+00", False),  # July ends an hour before UTC's
        ("Europe/London", "2025-09-02 23:00:00+00", True),
        ("America/Los_Angeles", "2025-09-03 07:00:00+00", True),
        ("America/Los_Angeles", "2025-09-03 06:59:59+00", False),
    ],
)
def test_a_month_is_mature_in_the_reporting_time_zone(zone, until, over):
    rule = render('is_complete("month", 30)', reporting_time_zone=zone)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    query = f"SELECT {rule} FROM (SELECT DATE '2025-07-01' AS month, TIMESTAMPTZ '{until}' AS observed_until)"
    assert connection.execute(query).fetchone() == (over,)
    connection.close()
