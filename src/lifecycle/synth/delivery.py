"""Delivery as webhooks do it: late, out of order, repeated, amended, retracted, merged, or broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lifecycle.synth import names
from lifecycle.synth.draw import DAY, HOUR, MINUTE, NEVER, SECOND, Ints, chance, ids, skewed, spans, stream
from lifecycle.synth.people import HONEST, People, Span
from lifecycle.synth.world import PLATFORM, World

if TYPE_CHECKING:
    from lifecycle.synth.rates import Rates

LATEST = 21 * DAY
DEFECTS = ("truncated", "unknown_type", "missing_id", "negative_amount", "overflowing_amount", "test_mode")
LEAST_DEFECTS = len(DEFECTS)


def _other(column: str, one: str, another: str) -> pl.Expr:
    return pl.when(pl.col(column) == one).then(pl.lit(another)).otherwise(pl.lit(one)).alias(column)


# What a later version of an event changes, by kind of object.
_CATEGORIES = pl.Series(list(names.CATEGORIES))
_AMENDMENTS = {
    "customer": [pl.col("name").str.to_uppercase()],
    "payment_method": [pl.col("exp_year") + 1],
    "payment_intent": [pl.col("extra") + 1],
    "charge": [
        pl.col("amount") + 1,
        (pl.col("score") + 7).clip(0, 99).alias("score"),
        pl.lit(_CATEGORIES).gather(pl.col("score") % len(_CATEGORIES)).alias("category"),
    ],
    "refund": [(pl.col("amount") - 1).clip(1)],  # never more than was charged
    "dispute": [pl.col("amount") + 1],
    "warning": [_other("fraud_type", "misc", "made_with_stolen_card")],
    "review": [_other("opened_reason", "manual", "rule")],
    "verification_session": [_other("document", "passport", "id_card")],
    # The device's clock was wrong: the session was earlier than first said.
    "link_session": [pl.col("created") - 2 * SECOND, pl.col("begun") - 2 * SECOND],
    "credit_application": [pl.col("amount") + 1],
    "credit_account": [pl.col("balance") + 1],
    # Never more due than owed.
    "credit_statement": [pl.min_horizontal(pl.col("minimum") + 1, "balance").alias("minimum")],
    "credit_payment": [pl.col("amount") + 1],
}


@dataclass(frozen=True)
class Delivered:
    """
    What is sent: `World.tables` with one row per delivery.

    Added columns: event_id, received (Unix milliseconds), revision (NULL: first), retracted, defect (NULL: none).
    merged: for each consumer the one it was merged into (itself: not merged). counts: of each kind of dirt.
    """

    tables: dict[str, pl.DataFrame]
    merged: Ints
    counts: dict[str, int]


def deliver(world: World, span: Span, rates: Rates, seed: int, *, dirt: bool) -> Delivered:
    """Give every event its delivery; without dirt each arrives once, within seconds."""
    rng = stream(seed, "delivery")
    merged, merged_at = _merges(rng, world.people, span, rates) if dirt else _no_merges(world.people)
    tables = {}
    counts = dict.fromkeys(("events", "late", "amended", "retracted", "merged", "repeated", "malformed"), 0)
    for kind, events in world.tables.items():
        sent = _sent(rng, events.filter(pl.col("created") < span.end), rates if dirt else None)
        parts = {"events": sent}
        if dirt:
            sent, moved = _merge(rng, kind, sent, merged, merged_at)
            parts = {"events": sent, "merged": moved} | _versions(rng, kind, sent, merged, rates)
            every = pl.concat(parts.values())
            parts["repeated"] = _later(
                rng, every.filter(pl.Series(chance(rng, rates.repeated, len(every)))), MINUTE, 10 * DAY
            )
            if kind == "charge":
                parts["malformed"] = _broken(rng, sent, world.people.count, rates)
        parts = {name: part.filter(pl.col("received") < span.end) for name, part in parts.items()}
        for name, part in parts.items():
            counts[name] += len(part)
        counts["late"] += int((parts["events"]["received"] - parts["events"]["created"] > HOUR).sum())
        tables[kind] = pl.concat(parts.values())
    return Delivered(tables, merged, counts)


def _sent(rng: np.random.Generator, events: pl.DataFrame, rates: Rates | None) -> pl.DataFrame:
    n = len(events)
    wait = np.clip(skewed(rng, 900.0, 0.8, n), 50, MINUTE)
    if rates is not None:
        late = np.clip(skewed(rng, rates.late_hours * HOUR, 1.4, n), HOUR + MINUTE, LATEST)
        wait = np.where(chance(rng, rates.late, n), late, wait)
    return events.with_columns(
        event_id=ids(rng, "evt_", n),
        received=pl.col("created") + pl.Series(wait),
        revision=pl.lit(None, dtype=pl.Int64),
        retracted=pl.lit(value=False),
        defect=pl.lit(None, dtype=pl.String),
    )


def _later(rng: np.random.Generator, rows: pl.DataFrame, low: int, high: int) -> pl.DataFrame:
    return rows.with_columns(pl.col("received") + pl.Series(spans(rng, low, high, len(rows))))


def _versions(
    rng: np.random.Generator, kind: str, sent: pl.DataFrame, merged: Ints, rates: Rates
) -> dict[str, pl.DataFrame]:
    """Return amended and retracted versions; merged customers stay out: no revision is used twice."""
    n = len(sent)
    draw = rng.random(n)
    alone = merged[sent["owner"].to_numpy()] == sent["owner"].to_numpy()
    own = kind in PLATFORM
    revision = pl.lit(2 if own else None, dtype=pl.Int64)
    amended = sent.filter(pl.Series(alone & (draw < rates.amended)))
    amended = _later(rng, amended, HOUR, 30 * DAY).with_columns(*_AMENDMENTS[kind], revision=revision)
    gone = own & alone & (draw > 1 - rates.retracted)
    retracted = _later(rng, sent.filter(pl.Series(np.broadcast_to(gone, n))), HOUR, 20 * DAY)
    retracted = retracted.with_columns(revision=revision, retracted=pl.lit(value=True))
    return {"amended": amended, "retracted": retracted}


def _no_merges(people: People) -> tuple[Ints, Ints]:
    return np.arange(people.count, dtype=np.int64), np.full(people.count, NEVER, dtype=np.int64)


def _merges(rng: np.random.Generator, people: People, span: Span, rates: Rates) -> tuple[Ints, Ints]:
    """Choose honest duplicates of one account and currency, and when they are merged."""
    merged, at = _no_merges(people)
    honest = np.flatnonzero(people.persona == HONEST)
    kind = people.text.select(pl.struct("account", "currency").rank("dense")).to_series().to_numpy()[honest]
    theirs = honest[kind == np.bincount(kind).argmax()]
    count = min(max(1, round(rates.merged * people.count)), len(theirs) // 2)
    chosen = rng.permutation(theirs)[: 2 * count]
    lost, kept = chosen[:count], chosen[count:]
    merged[lost] = kept
    begun = np.maximum(people.signup[lost], people.signup[kept])
    at[lost] = begun + ((span.end - begun) * rng.uniform(0.3, 0.9, count)).astype(np.int64)
    return merged, at


def _merge(
    rng: np.random.Generator, kind: str, sent: pl.DataFrame, merged: Ints, merged_at: Ints
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the events as first sent, and the versions that name the surviving customer."""
    owner = sent["owner"].to_numpy()
    at = pl.Series(merged_at[owner])
    survivor = pl.Series(merged[owner])
    linked = pl.col("customer").is_not_null()
    if kind in ("customer", "refund", "dispute", "warning", "review"):  # these name no customer, or are one
        return sent, sent.clear()
    first = sent.with_columns(
        customer=pl.when(linked & (pl.col("received") >= at)).then(survivor).otherwise("customer")
    )
    before = sent.with_columns(at=at, survivor=survivor).filter(linked & (pl.col("received") < pl.col("at")))
    before = before.filter(pl.col("at") < NEVER)
    again = before.with_columns(
        customer="survivor",
        received=pl.col("at") + pl.Series(spans(rng, SECOND, 20 * MINUTE, len(before))),
        revision=pl.lit(2 if kind in PLATFORM else None, dtype=pl.Int64),
    )
    return first, again.drop("at", "survivor")


def _broken(rng: np.random.Generator, sent: pl.DataFrame, consumers: int, rates: Rates) -> pl.DataFrame:
    """Return copies of charges that arrive broken, each kind of defect in turn."""
    good = sent.filter(pl.col("type") == "charge.succeeded")
    if not len(good):
        return sent.clear()
    n = max(LEAST_DEFECTS, round(rates.malformed * consumers))
    rows = good[rng.integers(0, len(good), n)]
    return rows.with_columns(
        event_id=ids(rng, "evt_", n),
        received=pl.col("received") + SECOND,
        defect=pl.Series([DEFECTS[k % len(DEFECTS)] for k in range(n)]),
    )
