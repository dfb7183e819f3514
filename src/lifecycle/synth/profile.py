"""Customers and their payment methods: created, attached, changed, detached, deleted."""

from __future__ import annotations

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
    named,
    spans,
    stream,
    words,
)

if TYPE_CHECKING:
    from lifecycle.synth.people import Cards, People, Span
    from lifecycle.synth.rates import Rates

_TEXT = ("email", "phone", "name", "country")


def customer_events(people: People, span: Span, rates: Rates, seed: int) -> pl.DataFrame:
    """
    Return the events of customers: type, created, consumer, email, phone, name, country, and `*_before`.

    A change lasts: every later event of the customer has the changed value.
    """
    rng = stream(seed, "customers")
    n = people.count
    every = np.arange(n, dtype=np.int64)
    stays = np.minimum(people.churn, span.end)
    changes = np.flatnonzero(chance(rng, rates.moved_or_renamed, n))
    changed_at = (
        people.signup[changes] + HOUR + ((stays - people.signup)[changes] * rng.random(len(changes))).astype(np.int64)
    )
    taken = np.flatnonzero(people.takeover < span.end)
    # About half of all consumers are gone by the end: the share of all is twice that among them.
    gone = np.flatnonzero((people.churn < span.end) & chance(rng, rates.deleted * 2, n))
    created = _rows(people, every, people.signup, "created")
    moved = _changed(rng, people, changes, changed_at, which=rng.integers(0, 4, len(changes)))
    # Whoever takes an account over first takes its mail.
    stolen = _changed(
        rng, people, taken, people.takeover[taken] - 10 * MINUTE, which=np.zeros(len(taken), dtype=np.int64)
    )
    removed = _rows(people, gone, people.churn[gone] + spans(rng, DAY, 40 * DAY, len(gone)), "deleted")
    events = pl.concat([created, moved, stolen, removed]).sort("consumer", "created", maintain_order=True)
    events = events.with_columns(pl.col(name).forward_fill().over("consumer") for name in _TEXT)
    return events.with_columns(
        pl.when(pl.col(f"{name}_changed"))
        .then(pl.col(name).shift(1).over("consumer"))
        .otherwise(None)
        .alias(f"{name}_before")
        for name in _TEXT
    ).with_columns(delinquent=pl.lit(value=False))


def _rows(people: People, consumer: Ints, at: Ints, kind: str) -> pl.DataFrame:
    text = (
        people.text[consumer]
        if kind == "created"
        else people.text[consumer].with_columns(pl.lit(None, dtype=pl.String).alias(c) for c in _TEXT)
    )
    return text.select(_TEXT).with_columns(
        *(pl.lit(value=False).alias(f"{name}_changed") for name in _TEXT),
        consumer=pl.Series(consumer),
        created=pl.Series(at),
        type=pl.lit(f"customer.{kind}"),
    )


def _changed(rng: np.random.Generator, people: People, consumer: Ints, at: Ints, which: Ints) -> pl.DataFrame:
    """Change one of e-mail, phone, name and country for each consumer; what stays is NULL."""
    n = len(consumer)
    first = people.text["name"].gather(pl.Series(consumer)).str.split(" ").list.first()
    last = named(names.LAST, rng.integers(0, len(names.LAST), n))
    values = {
        "email": pl.select(
            pl.concat_str(
                first.str.to_lowercase(),
                pl.lit("."),
                last.str.to_lowercase(),
                pl.Series(rng.integers(1000, 9999, n)),
                pl.lit("@"),
                words(rng, names.MAIL_DOMAINS, n),
            )
        ).to_series(),
        "phone": pl.select(
            pl.format(
                "+1{}555{}",
                pl.Series(rng.integers(201, 990, n)),
                pl.Series(rng.integers(100, 200, n)).cast(pl.String).str.zfill(4),
            )
        ).to_series(),
        "name": pl.select(pl.concat_str(first, pl.lit(" "), last)).to_series(),
        "country": named([one.code for one in names.COUNTRIES], rng.integers(0, len(names.COUNTRIES), n)),
    }
    hit: list[Bools] = [which == place for place in range(len(_TEXT))]
    return pl.DataFrame(
        {
            name: pl.select(pl.when(pl.Series(hit[k])).then(values[name]).otherwise(None)).to_series()
            for k, name in enumerate(_TEXT)
        }
        | {f"{name}_changed": hit[k] for k, name in enumerate(_TEXT)}
        | {"consumer": consumer, "created": at}
    ).with_columns(type=pl.lit("customer.updated"))


def card_events(people: People, cards: Cards, span: Span, rates: Rates, seed: int) -> pl.DataFrame:
    """Return the events of payment methods: type, created, card, attached (held by a customer), exp_year."""
    rng = stream(seed, "card events")
    n = len(cards.consumer)
    stays = np.minimum(people.churn, span.end)[cards.consumer]
    used = np.flatnonzero(cards.attached < stays)
    renewed = used[chance(rng, rates.card_renewed, len(used))]
    updated = used[chance(rng, rates.card_updated, len(used))]
    leaves = np.flatnonzero((people.churn[cards.consumer] < NEVER) & chance(rng, rates.detached * 2, n))
    leaves = np.intersect1d(leaves, used)

    def within(rows: Ints) -> Ints:
        return cards.attached[rows] + DAY + ((stays - cards.attached)[rows] * rng.random(len(rows))).astype(np.int64)

    rows = [
        ("attached", used, cards.attached[used], True, 0),
        ("automatically_updated", renewed, within(renewed), True, 3),
        ("updated", updated, within(updated), True, 0),
        (
            "detached",
            leaves,
            people.churn[cards.consumer[leaves]] + spans(rng, SECOND, 20 * DAY, len(leaves)),
            False,
            0,
        ),
    ]
    return pl.concat(
        [
            pl.DataFrame({"card": card, "created": at}).with_columns(
                type=pl.lit(f"payment_method.{kind}"),
                attached=pl.lit(attached),
                exp_year=cards.text["exp_year"].gather(pl.Series(card)) + years,
                renewed=pl.lit(years > 0),
            )
            for kind, card, at, attached, years in rows
        ]
    )
