"""What follows a charge, often much later: refunds, disputes, early fraud warnings, reviews."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lifecycle.synth import names
from lifecycle.synth.charges import ELEVATED
from lifecycle.synth.draw import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Bools,
    Ints,
    chance,
    codes,
    ids,
    named,
    skewed,
    spans,
    stream,
    words,
)
from lifecycle.synth.people import FRIENDLY, People

if TYPE_CHECKING:
    from lifecycle.synth.charges import Charges
    from lifecycle.synth.rates import Rates

LONGEST_DELAY = 118 * DAY  # card schemes take disputes for 120 days


@dataclass(frozen=True)
class Aftermath:
    """Event tables (type, created, charge, ...) and, per charge, whether it was disputed at all."""

    refunds: pl.DataFrame
    charge_refunds: pl.DataFrame
    disputes: pl.DataFrame
    warnings: pl.DataFrame
    reviews: pl.DataFrame
    disputed: Bools


def make_aftermath(charges: Charges, people: People, rates: Rates, seed: int) -> Aftermath:
    """Draw what follows the charges; a fully refunded charge is not disputed."""
    rng = stream(seed, "aftermath")
    n = len(charges.at)
    style = codes(rng, (rates.refunded, rates.refunded_in_part, 1 - rates.refunded - rates.refunded_in_part), n)
    whole = charges.settled & ~charges.fraud & (style == 0)
    part = charges.settled & ~charges.fraud & (style == 1) & (charges.amount > 200)  # noqa: PLR2004 - 2.00
    own_claim = (people.persona[charges.consumer] == FRIENDLY) & chance(rng, 0.25, n)
    disputed = charges.settled & ~whole & chance(rng, np.where(charges.fraud, rates.disputed_fraud, rates.disputed), n)
    disputed |= charges.settled & ~whole & own_claim
    refunds, charge_refunds = _refunds(charges, whole, part, rates, seed)
    disputes, reported = _disputes(charges, np.flatnonzero(disputed), own_claim, rates, seed)
    return Aftermath(
        refunds=refunds,
        charge_refunds=charge_refunds,
        disputes=disputes,
        warnings=_warnings(charges, disputed, reported, rates, seed),
        reviews=_reviews(charges, rates, seed),
        disputed=disputed,
    )


def _refunds(charges: Charges, whole: Bools, part: Bools, rates: Rates, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = stream(seed, "refunds")
    charge = np.flatnonzero(whole | part)
    n = len(charge)
    total = charges.amount[charge]
    once = np.where(whole[charge], total, (total * rng.uniform(0.1, 0.5, n)).astype(np.int64))
    at = charges.captured[charge] + np.minimum(skewed(rng, 6 * DAY, 1.1, n), 100 * DAY)
    twice = np.flatnonzero(part[charge] & chance(rng, rates.refunded_twice, n))
    more = np.minimum((total * rng.uniform(0.1, 0.45, n)).astype(np.int64), total - once)[twice]
    amount = np.concatenate([once, more])
    before = np.concatenate([np.zeros(n, dtype=np.int64), once[twice]])
    of = np.concatenate([charge, charge[twice]])
    created = np.concatenate([at, at[twice] + spans(rng, 2 * HOUR, 20 * DAY, len(twice))])
    steps = pl.DataFrame(
        {
            "created": created,
            "charge": of,
            "amount": amount,
            "id": ids(rng, "re_", len(of)),
            "reason": words(rng, names.REFUND_REASONS, len(of)),
        }
    )
    # A refund in error: the bank could not credit it, days after Stripe counted it.
    failed = steps.filter(pl.Series(chance(rng, rates.refund_failed, len(of))))
    refunds = pl.concat(
        [
            steps.with_columns(pl.col("created") + 2 * SECOND, status=pl.lit("succeeded"), begun="created"),
            failed.with_columns(pl.col("created") + 5 * DAY, status=pl.lit("failed"), begun="created"),
        ]
    ).with_columns(type=pl.lit("charge.refund.updated"))
    charge_refunds = pl.DataFrame(
        {"created": created, "charge": of, "refunded": before + amount, "refunded_before": before}
    ).with_columns(type=pl.lit("charge.refunded"), status=pl.lit("succeeded"), captured=pl.lit(value=True))
    return refunds, charge_refunds


def _disputes(charges: Charges, charge: Ints, own_claim: Bools, rates: Rates, seed: int) -> tuple[pl.DataFrame, Ints]:
    """Return the events of disputes, and each disputed charge's time of report (0 elsewhere)."""
    rng = stream(seed, "disputes")
    n = len(charge)
    delay = skewed(rng, rates.dispute_delay * DAY, rates.dispute_delay_sigma, n)
    at = charges.captured[charge] + np.clip(delay, 6 * HOUR, LONGEST_DELAY)
    fraud = charges.fraud[charge] | own_claim[charge]
    reasons = pl.DataFrame(
        {
            "fraud": fraud,
            "yes": words(rng, names.FRAUD_DISPUTE_REASONS, n),
            "no": words(rng, names.DISPUTE_REASONS, n),
        }
    ).select(pl.when("fraud").then("yes").otherwise("no").alias("reason"))["reason"]
    inquiry = chance(rng, rates.inquiry, n)
    dispute = pl.DataFrame(
        {
            "charge": charge,
            "begun": at,
            "id": ids(rng, "dp_", n),
            "reason": reasons,
            "amount": charges.amount[charge],
            "inquiry": inquiry,
            "real": ~inquiry | chance(rng, rates.inquiry_escalates, n),
            "won": chance(rng, rates.dispute_won, n),
            "escalated": at + np.where(inquiry, spans(rng, 8 * DAY, 25 * DAY, n), 0),
            "answer": spans(rng, DAY, 7 * DAY, n),
            "verdict": spans(rng, 20 * DAY, 75 * DAY, n),
        }
    )
    reported = np.zeros(len(charges.at), dtype=np.int64)
    reported[charge] = at
    return _dispute_events(dispute), reported


def _dispute_events(dispute: pl.DataFrame) -> pl.DataFrame:
    asked, real = dispute.filter("inquiry"), dispute.filter("real")
    quiet = asked.filter(~pl.col("real"))
    answered = pl.col("escalated") + pl.col("answer")
    closed = answered + pl.col("verdict")
    verdict = pl.when("won").then(pl.lit("won")).otherwise(pl.lit("lost"))

    def event(frame: pl.DataFrame, kind: str, at: pl.Expr, status: pl.Expr, before: str | None = None) -> pl.DataFrame:
        return frame.with_columns(
            type=pl.lit(f"charge.dispute.{kind}"),
            created=at,
            status=status,
            status_before=pl.lit(before, dtype=pl.String),
        )

    needs = pl.lit("needs_response")
    return pl.concat(
        [
            event(asked, "created", pl.col("begun"), pl.lit("warning_needs_response")),
            event(
                quiet,
                "updated",
                pl.col("begun") + pl.col("answer"),
                pl.lit("warning_under_review"),
                "warning_needs_response",
            ),
            event(quiet, "closed", pl.col("begun") + 60 * DAY, pl.lit("warning_closed"), "warning_under_review"),
            event(real.filter("inquiry"), "updated", pl.col("escalated"), needs, "warning_needs_response"),
            event(real.filter(~pl.col("inquiry")), "created", pl.col("begun"), needs),
            event(real, "funds_withdrawn", pl.col("escalated") + 3 * SECOND, needs),
            event(real, "updated", answered, pl.lit("under_review"), "needs_response"),
            event(real, "closed", closed, verdict, "under_review"),
            event(real.filter("won"), "funds_reinstated", closed + 4 * SECOND, pl.lit("won")),
        ]
    ).with_columns(refundable=pl.col("status").str.starts_with("warning"))


def _warnings(charges: Charges, disputed: Bools, reported: Ints, rates: Rates, seed: int) -> pl.DataFrame:
    """Early fraud warnings: hours to weeks after the charge, before its dispute where there is one."""
    rng = stream(seed, "warnings")
    n = len(charges.at)
    warned = charges.settled & chance(rng, np.where(charges.fraud, rates.warned_fraud, rates.warned), n)
    charge = np.flatnonzero(warned)
    m = len(charge)
    begun = charges.captured[charge]
    delay = np.minimum(skewed(rng, 6 * DAY, 1.0, m), 40 * DAY)
    delay = np.where(disputed[charge], np.minimum(delay, ((reported[charge] - begun) * 0.9).astype(np.int64)), delay)
    warning = pl.DataFrame(
        {
            "charge": charge,
            "begun": begun + delay,
            "id": ids(rng, "issfr_", m),
            "fraud_type": words(rng, names.FRAUD_TYPES, m),
            "closed": np.where(
                disputed[charge], reported[charge] + MINUTE, begun + delay + spans(rng, DAY, 9 * DAY, m)
            ),
        }
    )
    updated = warning.filter(pl.Series(disputed[charge] | chance(rng, 0.4, m)))
    return pl.concat(
        [
            warning.with_columns(
                type=pl.lit("radar.early_fraud_warning.created"),
                created="begun",
                actionable=pl.lit(value=True),
            ),
            updated.with_columns(
                type=pl.lit("radar.early_fraud_warning.updated"),
                created="closed",
                actionable=pl.lit(value=False),
            ),
        ]
    )


def _reviews(charges: Charges, rates: Rates, seed: int) -> pl.DataFrame:
    rng = stream(seed, "reviews")
    n = len(charges.at)
    chosen = charges.ok & chance(rng, np.where(charges.score >= ELEVATED, rates.reviewed_elevated, rates.reviewed), n)
    charge = np.flatnonzero(chosen)
    m = len(charge)
    manual = chance(rng, 0.12, m)
    caught = charges.fraud[charge] & chance(rng, 0.45, m)
    outcome = np.where(caught, 2, np.where(chance(rng, 0.05, m), 1, 0))
    review = pl.DataFrame(
        {
            "charge": charge,
            "begun": charges.at[charge] + spans(rng, 500, 5 * SECOND, m),
            "id": ids(rng, "prv_", m),
            "opened_reason": named(["rule", "manual"], manual.astype(np.int64)),
            "outcome": named(["approved", "refunded", "refunded_as_fraud"], outcome),
            "wait": np.minimum(skewed(rng, 5 * HOUR, 1.2, m), 9 * DAY),
        }
    )
    opened = review.with_columns(
        type=pl.lit("review.opened"), created="begun", open=pl.lit(value=True), reason="opened_reason",
        closed_reason=pl.lit(None, dtype=pl.String),
    )  # fmt: skip
    closed = review.with_columns(
        type=pl.lit("review.closed"), created=pl.col("begun") + pl.col("wait"), open=pl.lit(value=False),
        reason="outcome", closed_reason="outcome",
    )  # fmt: skip
    return pl.concat([opened, closed])
