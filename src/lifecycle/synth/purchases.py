"""Purchases: when each consumer pays, how much, to whom, and which of them an attacker makes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lifecycle.synth import names
from lifecycle.synth.draw import (
    DAY,
    HOUR,
    MINUTE,
    Bools,
    Floats,
    Ints,
    chance,
    codes,
    ids,
    members,
    named,
    spans,
    stream,
)
from lifecycle.synth.people import BUST_OUT, HONEST, MONTH, SYNTHETIC, People, Span, local_hours

if TYPE_CHECKING:
    from lifecycle.synth.rates import Rates

MERCHANTS = 240
FAVOURITES = 5
MOST_PAYMENTS = 3_000  # of one consumer: the tail is heavy, not endless
EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday
FRIDAY = 4
WORKING_HOUR_SPREAD = 3.0


@dataclass(frozen=True)
class Merchants:
    """Merchants: id and category for rendering, and what decides a purchase."""

    text: pl.DataFrame
    category: Ints
    level: Floats
    popularity: Floats


@dataclass(frozen=True)
class Purchases:
    """One entry per purchase: consumer, time (Unix milliseconds), minor units, merchant, fraud."""

    consumer: Ints
    at: Ints
    amount: Ints
    merchant: Ints
    fraud: Bools

    def take(self, rows: Ints | Bools) -> Purchases:
        """Return these entries only."""
        return Purchases(*(getattr(self, one.name)[rows] for one in fields(self)))


def make_merchants(seed: int) -> Merchants:
    """Draw the merchants; a few have most of the trade."""
    rng = stream(seed, "merchants")
    category = codes(rng, [share for share, _ in names.CATEGORIES.values()], MERCHANTS)
    level = np.array([price for _, price in names.CATEGORIES.values()])[category]
    text = pl.DataFrame({"id": ids(rng, "acct_", MERCHANTS), "category": named(list(names.CATEGORIES), category)})
    popularity = np.arange(1, MERCHANTS + 1, dtype=np.float64) ** -0.8
    return Merchants(text, category, level * np.exp(0.25 * rng.standard_normal(MERCHANTS)), popularity)


def make_purchases(people: People, merchants: Merchants, span: Span, rates: Rates, seed: int) -> Purchases:
    """Draw all purchases, ordered by time; ties by consumer."""
    rng = stream(seed, "purchases")
    parts = (
        _first(people, rng, merchants, rates),
        _habit(people, rng, merchants, span, rates),
        _attacks(people, rng, merchants, rates),
    )
    joined = Purchases(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Purchases)))
    joined = joined.take(joined.at < span.end)
    return joined.take(np.lexsort((joined.consumer, joined.at)))


def _first(people: People, rng: np.random.Generator, merchants: Merchants, rates: Rates) -> Purchases:
    consumer = np.flatnonzero(people.first_payment < people.churn)
    return _priced(people, rng, merchants, consumer, people.first_payment[consumer], rates=rates)


def _habit(people: People, rng: np.random.Generator, merchants: Merchants, span: Span, rates: Rates) -> Purchases:
    n = people.count
    # Only what falls into the generated time is drawn. Accepting by weekday and season halves it.
    until = np.minimum(people.churn, span.end)
    away = np.maximum(np.minimum(people.pause_until, until) - np.minimum(people.pause_from, until), 0)
    active = np.maximum(until - people.first_payment - away, 0)
    per_month = rates.payments_per_month * np.exp(rates.payments_sigma * rng.standard_normal(n))
    # Someone with plans pays steadily: what a ring or a bust-out shows before it strikes.
    planned = (people.persona == SYNTHETIC) | (people.persona == BUST_OUT)
    per_month = np.where(planned, np.maximum(per_month, 1.5), per_month)
    count = np.minimum(rng.poisson(np.minimum(per_month * 2.0 * active / MONTH, MOST_PAYMENTS)), MOST_PAYMENTS)
    consumer, _ = members(count)
    at = people.first_payment[consumer] + (rng.random(len(consumer)) * active[consumer]).astype(np.int64)
    at += np.where(at >= people.pause_from[consumer], away[consumer], 0)
    at, kept = _rhythm(people, rng, consumer, at, rates)
    kept &= (at > people.first_payment[consumer] + HOUR) & (at < until[consumer])
    kept &= ~((at >= people.pause_from[consumer]) & (at < people.pause_until[consumer]))
    return _priced(people, rng, merchants, consumer[kept], at[kept], rates=rates)


def _rhythm(people: People, rng: np.random.Generator, consumer: Ints, at: Ints, rates: Rates) -> tuple[Ints, Bools]:
    """Move each time to its consumer's usual hour, and accept about half, by weekday and season."""
    n = len(consumer)
    peak = rng.normal(13.5, 3.5, people.count)
    second = np.where(chance(rng, 0.35, n), 6.5, 0.0)
    hour = (peak[consumer] + second + WORKING_HOUR_SPREAD * rng.standard_normal(n)) % 24
    day = at // DAY
    moved = day * DAY + (hour * HOUR).astype(np.int64) - local_hours(people, consumer)
    weekend = (day + EPOCH_WEEKDAY) % 7 > FRIDAY
    appetite = np.clip(rates.weekend * np.exp(0.4 * rng.standard_normal(people.count)), 0.1, 2.0)
    accept = 0.5 * np.where(weekend, appetite[consumer], 1.0)
    month = (at.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)) % 12
    accept *= np.where(month >= 10, 1.35, 0.95)  # noqa: PLR2004 - November and December
    return moved, chance(rng, accept, n)


def _priced(
    people: People, rng: np.random.Generator, merchants: Merchants, consumer: Ints, at: Ints, *, rates: Rates
) -> Purchases:
    n = len(consumer)
    favourites = codes(rng, merchants.popularity.tolist(), people.count * FAVOURITES).reshape(-1, FAVOURITES)
    usual = favourites[consumer, codes(rng, (5, 3, 2, 1, 1), n)]
    merchant = np.where(chance(rng, 0.65, n), usual, codes(rng, merchants.popularity.tolist(), n))
    amount = people.level[consumer] * merchants.level[merchant] * np.exp(rates.amount_sigma * rng.standard_normal(n))
    # A ring buys trust with amounts that grow towards its end.
    grown = np.clip(
        (at - people.signup[consumer]) / np.maximum(people.bust[consumer] - people.signup[consumer], 1), 0, 1
    )
    amount *= np.where(people.persona[consumer] == SYNTHETIC, 0.7 + 2.0 * grown, 1.0)
    return Purchases(consumer, at, _rounded(rng, amount, n), merchant, np.zeros(n, dtype=np.bool_))


def _attacks(people: People, rng: np.random.Generator, merchants: Merchants, rates: Rates) -> Purchases:
    """Bursts: a takeover's within two days, a ring's within five, of goods that sell on."""
    begun = np.minimum(people.takeover, people.bust)
    struck = np.flatnonzero((people.persona != HONEST) & (begun < people.churn) & (people.first_payment < begun))
    group, _ = members(3 + rng.poisson(3.0, len(struck)))
    consumer = struck[group]
    n = len(consumer)
    length = np.where(people.persona[consumer] == SYNTHETIC, 5 * DAY, 2 * DAY)
    at = begun[consumer] + 20 * MINUTE + (rng.beta(1.0, 2.0, n) * length).astype(np.int64) + spans(rng, 0, MINUTE, n)
    sells_on = np.isin(
        merchants.category, [list(names.CATEGORIES).index(c) for c in ("electronics", "gift_cards", "travel")]
    )
    merchant = codes(rng, (merchants.popularity * np.where(sells_on, 8.0, 1.0)).tolist(), n)
    level = np.maximum(people.level[consumer], 0.5 * rates.spend_minor)
    amount = level * rng.uniform(3, 9, n) * np.sqrt(merchants.level[merchant])
    return Purchases(consumer, at, _rounded(rng, amount, n), merchant, np.ones(n, dtype=np.bool_))


def _rounded(rng: np.random.Generator, amount: Floats, n: int) -> Ints:
    """Round to minor units, at least 50 (Stripe's least charge); prices like to end in 99 or 00."""
    whole = np.maximum(np.rint(amount), 50).astype(np.int64)
    hundreds = np.maximum(whole // 100, 1) * 100
    style = codes(rng, (0.35, 0.2, 0.45), n)
    return np.select([style == 0, style == 1], [hundreds + 99, hundreds], whole)
