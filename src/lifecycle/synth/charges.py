"""Charges: the attempts behind each purchase, with the payment intent's and the charge's own events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    codes,
    ids,
    named,
    spans,
    stream,
)
from lifecycle.synth.people import Cards, Devices, People, Visits, visits

if TYPE_CHECKING:
    from lifecycle.synth.purchases import Merchants, Purchases
    from lifecycle.synth.rates import Rates

ATTEMPTS = 3
ELEVATED, HIGHEST = 65, 75  # Radar's default thresholds
TRAVEL = list(names.CATEGORIES).index("travel")


@dataclass(frozen=True)
class Charges:
    """
    One entry per charge, in the order of purchases and attempts. Times are Unix milliseconds.

    purchase: position in the purchases. begun: before `at` where it was pending. ok: succeeded.
    later: authorised now, captured at `captured`, or NEVER.
    final: the purchase's last. named: says which device it came from. decline: position in `names.DECLINES`.
    ids and intents: identifiers of charges and of purchases' intents.
    """

    purchase: Ints
    consumer: Ints
    begun: Ints
    at: Ints
    amount: Ints
    merchant: Ints
    card: Ints
    fraud: Bools
    ok: Bools
    blocked: Bools
    decline: Ints
    score: Ints
    later: Bools
    captured: Ints
    final: Bools
    named: Bools
    ids: pl.Series
    intents: pl.Series
    seen: Visits

    @property
    def settled(self) -> Bools:
        """Return which charges moved money, so that they can be refunded or disputed."""
        return self.ok & (self.captured < NEVER)


def make_charges(
    people: People,
    cards: Cards,
    devices: Devices,
    merchants: Merchants,
    bought: Purchases,
    *,
    rates: Rates,
    seed: int,
) -> Charges:
    """Draw up to three attempts for each purchase."""
    rng = stream(seed, "charges")
    card = _cards(rng, cards, bought)
    purchase, at, ok, blocked = _attempts(rng, cards, card, bought, rates)
    count = len(purchase)
    fraud = bought.fraud[purchase]
    later, captured = _captures(rng, at, ok & (merchants.category[bought.merchant[purchase]] == TRAVEL), rates)
    pending = ok & ~later & chance(rng, rates.pending, count)
    score = np.clip(np.where(fraud, rng.normal(55, 21, count), rng.gamma(2.6, 8.0, count)), 0, 99).astype(np.int64)
    return Charges(
        purchase=purchase,
        consumer=bought.consumer[purchase],
        begun=at - np.where(pending, spans(rng, SECOND, 4 * SECOND, count), 0),
        at=at,
        amount=bought.amount[purchase],
        merchant=bought.merchant[purchase],
        card=card[purchase],
        fraud=fraud,
        ok=ok,
        blocked=blocked,
        decline=codes(rng, [share for _, _, share in names.DECLINES], count),
        score=np.where(blocked, np.maximum(score, 80), score),
        later=later,
        captured=captured,
        final=np.append(purchase[1:] != purchase[:-1], True)[:count],
        named=~chance(rng, rates.no_device, count),
        ids=ids(rng, "ch_", count),
        intents=ids(rng, "pi_", len(bought.at)),
        seen=visits(rng, people, devices, bought.consumer, bought.fraud, rates=rates),
    )


def _captures(rng: np.random.Generator, at: Ints, may: Bools, rates: Rates) -> tuple[Bools, Ints]:
    """Return which charges are captured later than authorised, and when each is captured."""
    n = len(at)
    later = may & chance(rng, rates.authorised_first, n)
    captured = np.where(later, at + spans(rng, 0.5 * DAY, 4 * DAY, n), at)
    captured[later & chance(rng, rates.never_captured, n)] = NEVER
    return later, captured


def _cards(rng: np.random.Generator, cards: Cards, bought: Purchases) -> Ints:
    """Take the second card for a third of what is bought once it is there."""
    second = (cards.first + cards.owned - 1)[bought.consumer]
    use = (cards.attached[second] < bought.at) & chance(rng, 0.35, len(second))
    return np.where(use, second, cards.first[bought.consumer])


def _attempts(
    rng: np.random.Generator, cards: Cards, card: Ints, bought: Purchases, rates: Rates
) -> tuple[Ints, Ints, Bools, Bools]:
    purchase, at = np.arange(len(card), dtype=np.int64), bought.at
    parts = []
    for attempt in range(ATTEMPTS):
        n = len(purchase)
        fraud = bought.fraud[purchase]
        base = cards.declines[card[purchase]] if attempt == 0 else np.full(n, rates.failed_again)
        blocked = chance(rng, np.where(fraud, rates.blocked_fraud, rates.blocked), n)
        ok = ~blocked & ~chance(rng, np.where(fraud, np.maximum(base, 0.2), base), n)
        parts.append((purchase, at, ok, blocked))
        again = ~ok & chance(rng, rates.retried, n)
        purchase, at = purchase[again], (at + spans(rng, 40 * SECOND, 45 * MINUTE, n))[again]
    joined = [np.concatenate([part[k] for part in parts]) for k in range(4)]
    order = np.lexsort((joined[1], joined[0]))
    purchase, at, ok, blocked = (column[order] for column in joined)
    return purchase, at, ok.astype(np.bool_), blocked.astype(np.bool_)


def charge_events(charges: Charges, rates: Rates, seed: int) -> pl.DataFrame:
    """Return the events of charges but for refunds: type, created, charge, status, captured."""
    rng = stream(seed, "charge events")
    n = len(charges.at)
    every = np.arange(n, dtype=np.int64)
    kept = np.flatnonzero(charges.later & (charges.captured < NEVER))
    lost = np.flatnonzero(charges.later & (charges.captured == NEVER))
    pending = np.flatnonzero(charges.begun < charges.at)
    updated = np.flatnonzero(charges.ok & chance(rng, rates.updated, n))
    status = named(["failed", "succeeded"], charges.ok.astype(np.int64))
    return pl.concat(
        [
            _events(pl.format("charge.{}", "status"), charges.at, every, status, captured=charges.ok & ~charges.later),
            _events("charge.captured", charges.captured[kept], kept, "succeeded", captured=True),
            _events("charge.expired", charges.at[lost] + 7 * DAY, lost, "succeeded", captured=False),
            _events(
                "charge.pending",
                charges.begun[pending],
                pending,
                "pending",
                captured=True,
            ),
            _events(
                "charge.updated",
                charges.at[updated] + spans(rng, HOUR, 9 * DAY, len(updated)),
                updated,
                "succeeded",
                captured=True,
            ),
        ]
    ).with_columns(refunded=pl.lit(0, dtype=pl.Int64), refunded_before=pl.lit(None, dtype=pl.Int64))


def _events(
    kind: str | pl.Expr, created: Ints, charge: Ints, status: str | pl.Series, *, captured: bool | Bools
) -> pl.DataFrame:
    frame = pl.DataFrame({"created": created, "charge": charge})
    frame = frame.with_columns(
        status=pl.lit(status),
        captured=pl.lit(captured if isinstance(captured, bool) else pl.Series(captured)),
    )
    return frame.with_columns(type=pl.lit(kind) if isinstance(kind, str) else kind)


def intent_events(charges: Charges, bought: Purchases, people: People, rates: Rates, seed: int) -> pl.DataFrame:
    """Return the events of intents: type, created, begun, purchase, status, charge (the failed one), extra."""
    rng = stream(seed, "intents")
    n = len(bought.at)
    begun = bought.at - spans(rng, 5 * SECOND, 20 * SECOND, n)
    asked = np.flatnonzero(chance(rng, rates.requires_action, n) & (people.country[bought.consumer] > 0))
    failed, done, held = (np.flatnonzero(which) for which in (~charges.ok, charges.settled, charges.later))
    given_up = np.flatnonzero(~charges.ok & charges.final & chance(rng, rates.canceled, len(charges.at)))
    of, told = charges.purchase, charges.at + spans(rng, 60, 400, len(charges.at))
    rows = [
        ("created", begun, np.arange(n, dtype=np.int64), "requires_payment_method", None),
        ("requires_action", begun[asked] + 2 * SECOND, asked, "requires_action", None),
        ("payment_failed", told[failed], of[failed], "requires_payment_method", failed),
        ("amount_capturable_updated", told[held], of[held], "requires_capture", None),
        ("succeeded", (charges.captured + told - charges.at)[done], of[done], "succeeded", None),
        ("canceled", (charges.at + DAY)[given_up], of[given_up], "canceled", given_up),
    ]
    events = pl.concat(
        [
            pl.DataFrame({"created": created, "purchase": purchase}).with_columns(
                type=pl.lit(f"payment_intent.{kind}"),
                status=pl.lit(status),
                charge=pl.lit(None, dtype=pl.Int64) if charge is None else pl.lit(pl.Series(charge)),
            )
            for kind, created, purchase, status, charge in rows
        ]
    )
    return events.with_columns(
        begun=pl.lit(pl.Series(begun)).gather(pl.col("purchase")), extra=pl.lit(0, dtype=pl.Int64)
    )
