"""Credit: applications, accounts, monthly statements, payments, delinquency, and bust-outs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lifecycle.synth import names
from lifecycle.synth.draw import (
    DAY,
    HOUR,
    MINUTE,
    NEVER,
    SECOND,
    Bools,
    Ints,
    chance,
    ids,
    skewed,
    spans,
    stream,
    words,
)
from lifecycle.synth.people import BUST_OUT, HONEST, MONTH, SYNTHETIC, People, Span

if TYPE_CHECKING:
    from lifecycle.synth.rates import Rates

DUE_AFTER = 21 * DAY
CHARGED_OFF_AFTER = 5  # statements missed in a row: 150 days past due
COUNTED_UP_TO = 4  # 30, 60, 90 and 120 days past due are reported
MOST_STATEMENTS = 60
CLEAN_STATEMENTS = 5  # before a bust-out


@dataclass(frozen=True)
class Applications:
    """One entry per application: consumer, time, asked amount (minor units), and what came of it."""

    consumer: Ints
    at: Ints
    decided: Ints
    asked: Ints
    outcome: Ints
    text: pl.DataFrame


@dataclass(frozen=True)
class Credit:
    """Event tables, each with type and created (Unix milliseconds); `busted`: when a bust-out began."""

    applications: pl.DataFrame
    accounts: pl.DataFrame
    statements: pl.DataFrame
    payments: pl.DataFrame
    busted: Ints


def make_applications(people: People, span: Span, rates: Rates, seed: int) -> Applications:
    """Draw who applies for credit, when, and whether it is granted; a bust-out always applies, early."""
    rng = stream(seed, "applications")
    n = people.count
    bust_out = people.persona == BUST_OUT
    fake = people.persona == SYNTHETIC
    applies = chance(rng, rates.applies, n) | bust_out
    wait = np.where(bust_out, spans(rng, 2 * DAY, 25 * DAY, n), skewed(rng, 55 * DAY, 0.9, n) + 12 * HOUR)
    at = people.signup + wait
    consumer = np.flatnonzero(applies & (at < np.minimum(people.churn, span.end)))
    m = len(consumer)
    granted = np.where(bust_out[consumer], 1.0, np.where(fake[consumer], 0.45, rates.approved))
    approved = chance(rng, granted, m)
    canceled = ~approved & chance(rng, rates.application_canceled / (1 - rates.approved), m)
    level = people.level[consumer] * np.where(bust_out[consumer], 2.0, 1.0)
    asked = np.maximum((level * rng.lognormal(3.6, 0.5, m) / 10_000).astype(np.int64), 1) * 10_000
    text = pl.DataFrame(
        {
            "id": ids(rng, "cap_", m),
            "account": ids(rng, "cac_", m),
            "term": pl.Series([6, 12, 18, 24, 36]).gather(pl.Series(rng.integers(0, 5, m))),
            "decline": words(rng, names.CREDIT_DECLINES, m),
        }
    )
    decided = at[consumer] + skewed(rng, 4 * MINUTE, 2.2, m) + 2 * SECOND
    return Applications(consumer, at[consumer], decided, asked, np.where(approved, 0, np.where(canceled, 2, 1)), text)


def application_events(applications: Applications) -> pl.DataFrame:
    """Return the events of applications: type, created, begun, consumer, id, status, amount, reason."""
    frame = applications.text.with_columns(
        consumer=pl.Series(applications.consumer),
        begun=pl.Series(applications.at),
        decided=pl.Series(applications.decided),
        amount=pl.Series(applications.asked),
        outcome=pl.Series(applications.outcome),
    )
    end = pl.lit(pl.Series(["approved", "declined", "canceled"])).gather(pl.col("outcome"))
    reason = pl.when(pl.col("outcome") == 1).then("decline").otherwise(None)
    return pl.concat(
        [
            frame.with_columns(created="begun", status=pl.lit("submitted"), reason=pl.lit(None, dtype=pl.String)),
            frame.with_columns(created="decided", status=end, reason=reason),
        ]
    ).with_columns(type=pl.format("credit.application.{}", "status"))


@dataclass
class _Book:
    """The state of all accounts in the month being written; entry i is account i."""

    rng: np.random.Generator
    rates: Rates
    opened: Ints
    limit: Ints
    bust_from: Ints
    risk: Any
    spending: Any
    alive: Bools
    balance: Ints
    missed: Ints
    rows: dict[str, list[pl.DataFrame]] = field(
        default_factory=lambda: {"accounts": [], "statements": [], "payments": []}
    )

    def account(self, rows: Ints, at: Ints, kind: str, status: str, days: Ints | int = 0) -> None:
        """Write one event of the accounts `rows`."""
        past_due = np.broadcast_to(np.asarray(days, dtype=np.int64), rows.shape)
        self.rows["accounts"].append(
            pl.DataFrame(
                {
                    "row": rows,
                    "created": at,
                    "limit": self.limit[rows],
                    "balance": self.balance[rows],
                    "days": past_due,
                }
            ).with_columns(type=pl.lit(f"credit.account.{kind}"), status=pl.lit(status))
        )

    def payment(self, rows: Ints, at: Ints, amount: Ints, kind: str, *, ref: pl.Series, statement: pl.Series) -> None:
        """Write one event of payments by the accounts `rows`."""
        failure = words(self.rng, names.PAYMENT_FAILURES, len(rows))
        self.rows["payments"].append(
            pl.DataFrame(
                {"row": rows, "created": at, "amount": amount, "id": ref, "statement": statement}
            ).with_columns(
                type=pl.lit(f"credit.payment.{kind}"),
                status=pl.lit(kind),
                failure=pl.lit(None, dtype=pl.String) if kind == "succeeded" else failure,
            )
        )


def credit_events(people: People, applications: Applications, span: Span, rates: Rates, seed: int) -> Credit:
    """Run every account month by month from its opening to the end of the generated time."""
    rng = stream(seed, "credit")
    granted = np.flatnonzero(applications.outcome == 0)
    consumer = applications.consumer[granted]
    n = len(granted)
    busting = people.persona[consumer] == BUST_OUT
    bust_from = np.where(busting, CLEAN_STATEMENTS + rng.integers(0, 4, n), MOST_STATEMENTS + 1)
    steady = people.persona[consumer] == HONEST
    risk = np.minimum(rates.misses_payment * rng.lognormal(0.0, 0.9, n) * np.where(steady, 1.0, 1.3), 0.6)
    book = _Book(
        rng=rng,
        rates=rates,
        opened=applications.decided[granted] + spans(rng, 30 * SECOND, 20 * HOUR, n),
        limit=np.maximum((applications.asked[granted] * rng.uniform(0.4, 1.0, n) / 5_000).astype(np.int64), 1) * 5_000,
        bust_from=bust_from,
        risk=np.where(busting, 0.0, risk),
        spending=rng.beta(2.0, 5.0, n),
        alive=np.ones(n, dtype=np.bool_),
        balance=np.zeros(n, dtype=np.int64),
        missed=np.zeros(n, dtype=np.int64),
    )
    book.account(np.arange(n, dtype=np.int64), book.opened, "opened", "current")
    for month in range(1, MOST_STATEMENTS + 1):
        live = np.flatnonzero(book.alive & (book.opened + month * MONTH < span.end))
        if month > 1 and not len(live):  # the first month writes empty tables where no account is open
            break
        _month(book, live, month)
    text = applications.text[granted].select(application="id", account_id="account").with_columns(
        consumer=pl.Series(consumer), opened=pl.Series(book.opened), row=pl.Series(np.arange(n, dtype=np.int64))
    )  # fmt: skip
    tables = {name: _joined(parts, text) for name, parts in book.rows.items()}
    busted = np.full(people.count, NEVER, dtype=np.int64)
    busted[consumer[busting]] = (book.opened + bust_from * MONTH)[busting]
    return Credit(
        application_events(applications), tables["accounts"], tables["statements"], tables["payments"], busted
    )


def _month(book: _Book, live: Ints, month: int) -> None:
    """Issue statements to the accounts `live`, take or miss their payment, count the days past due."""
    rng, n = book.rng, len(live)
    at = book.opened[live] + month * MONTH
    due = at + DUE_AFTER
    bust = month >= book.bust_from[live]
    room = book.limit[live] - book.balance[live]
    drawn = np.where(bust, room, room * np.clip(book.spending[live] * rng.uniform(0.2, 1.8, n), 0, 1)).astype(np.int64)
    drawn = np.where(book.missed[live] > 0, 0, np.maximum(drawn, 0))  # an account behind is frozen
    book.balance[live] += drawn
    minimum = np.minimum(np.maximum(book.balance[live] // 20, 1_000), book.balance[live])
    statement = ids(rng, "stm_", n)
    book.rows["statements"].append(
        pl.DataFrame(
            {"row": live, "created": at, "id": statement, "start": at - MONTH, "due": due,
             "balance": book.balance[live], "minimum": minimum}
        ).with_columns(type=pl.lit("credit.statement.issued"))
    )  # fmt: skip
    behind = book.missed[live]
    chance_to_miss = np.where(
        behind > 0, np.minimum(book.rates.misses_again + 3 * book.risk[live], 0.95), book.risk[live]
    )
    misses = chance(rng, np.where(bust, 1.0, chance_to_miss), n) & (book.balance[live] > 0)
    pays = ~misses & (book.balance[live] > 0)
    paid_at = due + np.clip(rng.normal(-3.0, 4.0, n), -18, 8.5) * DAY
    late = paid_at.astype(np.int64) > due
    # At the due date the oldest missed one lies 30 days back for each statement missed before.
    counted = (behind >= 1) & (misses | late)
    reported = counted & (behind <= COUNTED_UP_TO)
    book.account(live[reported], due[reported], "updated", "past_due", 30 * behind[reported])
    over = counted & (behind >= CHARGED_OFF_AFTER)
    book.account(live[over], due[over] + HOUR, "charged_off", "charged_off", 30 * behind[over])
    book.alive[live[over]] = False
    pays &= ~over
    _pay(book, live, np.flatnonzero(pays), paid_at.astype(np.int64), minimum=minimum, statement=statement)
    _bounce(book, live, np.flatnonzero(bust & (book.bust_from[live] == month)), at, statement)
    book.missed[live] = np.where(misses, behind + 1, 0)
    _close(book, live, pays & (book.bust_from[live] > MOST_STATEMENTS), paid_at.astype(np.int64))
    _raise_limit(book, live, month, pays, at)


def _pay(book: _Book, live: Ints, rows: Ints, at: Ints, *, minimum: Ints, statement: pl.Series) -> None:
    rng, account, n = book.rng, live[rows], len(rows)
    share = np.where(chance(rng, book.rates.pays_in_full, n), 1.0, rng.uniform(0.1, 0.7, n))
    owed = book.balance[account]
    amount = np.minimum(np.maximum((owed * share).astype(np.int64), minimum[rows]), owed)
    amount = np.where(book.missed[account] > 0, np.maximum(amount, owed // 2), amount)
    paid_for = statement.gather(pl.Series(rows))
    failed = np.flatnonzero(chance(rng, book.rates.payment_failed, n))
    book.payment(
        account[failed],
        at[rows][failed] - 3 * HOUR,
        amount[failed],
        "failed",
        ref=ids(rng, "cpy_", len(failed)),
        statement=paid_for.gather(pl.Series(failed)),
    )
    ref = ids(rng, "cpy_", n)
    book.payment(account, at[rows], amount, "succeeded", ref=ref, statement=paid_for)
    back = np.flatnonzero(chance(rng, book.rates.payment_returned, n))
    theirs = pl.Series(back)
    book.payment(
        account[back],
        at[rows][back] + 4 * DAY,
        amount[back],
        "returned",
        ref=ref.gather(theirs),
        statement=paid_for.gather(theirs),
    )
    book.balance[account] -= amount
    book.balance[account[back]] += amount[back]
    cured = np.flatnonzero(book.missed[account] > 0)
    book.account(account[cured], at[rows][cured] + 2 * SECOND, "updated", "current")


def _bounce(book: _Book, live: Ints, rows: Ints, at: Ints, statement: pl.Series) -> None:
    """Pay a bust-out's balance with money that is not there: the limit is free until it bounces."""
    account = live[rows]
    ref = ids(book.rng, "cpy_", len(rows))
    paid_for = statement.gather(pl.Series(rows))
    amount = book.balance[account]
    book.payment(account, at[rows] + 2 * DAY, amount, "succeeded", ref=ref, statement=paid_for)
    book.payment(account, at[rows] + 7 * DAY, amount, "returned", ref=ref, statement=paid_for)
    book.balance[account] = (book.limit[account] * 1.6).astype(np.int64)
    book.account(account, at[rows] + 7 * DAY + MINUTE, "updated", "current")


def _close(book: _Book, live: Ints, may: Bools, at: Ints) -> None:
    closing = may & chance(book.rng, book.rates.closes_monthly, len(live))
    account = live[closing]
    paid_off = np.flatnonzero(closing & (book.balance[live] == 0))
    book.balance[account] = 0
    book.account(live[paid_off], at[paid_off] + 5 * MINUTE, "updated", "paid_off")
    book.account(account, at[closing] + DAY, "closed", "closed")
    book.alive[account] = False


def _raise_limit(book: _Book, live: Ints, month: int, pays: Bools, at: Ints) -> None:
    if month % 6 or not len(live):
        return
    good = pays & book.alive[live] & (book.missed[live] == 0) & chance(book.rng, 0.4, len(live))
    account = live[good]
    book.limit[account] = book.limit[account] * 5 // 4
    book.account(account, at[good] + 25 * DAY, "updated", "current")


def _joined(parts: list[pl.DataFrame], text: pl.DataFrame) -> pl.DataFrame:
    joined = pl.concat(parts) if parts else pl.DataFrame({"row": []}, schema={"row": pl.Int64})
    return joined.join(text, on="row", how="left", maintain_order="left")
