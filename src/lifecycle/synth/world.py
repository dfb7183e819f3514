"""All lives together: one table of events per kind of object, before delivery adds its dirt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lifecycle.synth import names
from lifecycle.synth.aftermath import make_aftermath
from lifecycle.synth.charges import Charges, charge_events, intent_events, make_charges
from lifecycle.synth.credit import Credit, credit_events, make_applications
from lifecycle.synth.draw import NEVER, Bools, Ints
from lifecycle.synth.identity import identity_events
from lifecycle.synth.links import link_events
from lifecycle.synth.people import Cards, Devices, People, Span, make_cards, make_devices, make_people
from lifecycle.synth.profile import card_events, customer_events
from lifecycle.synth.purchases import Merchants, Purchases, make_merchants, make_purchases

if TYPE_CHECKING:
    from lifecycle.synth.rates import Rates

PLATFORM = ("link_session", "credit_application", "credit_account", "credit_statement", "credit_payment")


@dataclass(frozen=True)
class World:
    """
    Everything that was drawn.

    tables: by kind of object, its events. Each has `type`, `created` (Unix milliseconds), `owner` (whose life
    it is), `customer` (who the event says it is; NULL where it does not), and the kind's own columns.
    """

    people: People
    cards: Cards
    devices: Devices
    merchants: Merchants
    bought: Purchases
    charges: Charges
    disputed: Bools
    credit: Credit
    tables: dict[str, pl.DataFrame]


def make_world(consumers: int, span: Span, rates: Rates, seed: int) -> World:
    """Draw all lives."""
    people = make_people(consumers, span, rates, seed)
    cards, devices, merchants = (
        make_cards(people, rates, seed),
        make_devices(people, seed),
        make_merchants(seed),
    )
    bought = make_purchases(people, merchants, span, rates, seed)
    charges = make_charges(people, cards, devices, merchants, bought, rates=rates, seed=seed)
    after = make_aftermath(charges, people, rates, seed)
    applications = make_applications(people, span, rates, seed)
    credit = credit_events(people, applications, span, rates, seed)
    applied = np.full(consumers, NEVER, dtype=np.int64)
    applied[applications.consumer] = applications.at
    charged = pl.concat(
        [
            charge_events(charges, rates, seed),
            after.charge_refunds.select(
                "created", "charge", "status", "captured", "type", "refunded", "refunded_before"
            ),
        ]
    )
    tables = {
        "customer": _of(customer_events(people, span, rates, seed)),
        "payment_method": _of(card_events(people, cards, span, rates, seed), "card", cards.consumer),
        "payment_intent": _of(intent_events(charges, bought, people, rates, seed), "purchase", bought.consumer),
        "charge": _of(_detailed(charged, charges, merchants), "charge", charges.consumer),
        "refund": _of(after.refunds, "charge", charges.consumer),
        "dispute": _of(after.disputes, "charge", charges.consumer),
        "warning": _of(after.warnings, "charge", charges.consumer),
        "review": _of(after.reviews, "charge", charges.consumer),
        "verification_session": _of(identity_events(people, applied, span, rates, seed)),
        "link_session": _linked(link_events(people, devices, bought, charges, rates=rates, seed=seed)),
        "credit_application": _of(credit.applications),
        "credit_account": _of(credit.accounts),
        "credit_statement": _of(credit.statements),
        "credit_payment": _of(credit.payments),
    }
    return World(people, cards, devices, merchants, bought, charges, after.disputed, credit, tables)


def _of(events: pl.DataFrame, key: str = "consumer", owner: Ints | None = None) -> pl.DataFrame:
    whose = pl.col("consumer") if owner is None else pl.lit(pl.Series(owner)).gather(pl.col(key))
    return events.with_columns(owner=whose, customer=whose)


def _linked(events: pl.DataFrame) -> pl.DataFrame:
    return events.with_columns(
        owner=pl.col("consumer"), customer=pl.when(pl.col("linked")).then("consumer").otherwise(None)
    )


def _detailed(events: pl.DataFrame, charges: Charges, merchants: Merchants) -> pl.DataFrame:
    """Add what an amended charge may change: amount, risk score and category."""
    charge = pl.col("charge")
    return events.with_columns(
        amount=pl.lit(pl.Series(charges.amount)).gather(charge),
        score=pl.lit(pl.Series(charges.score)).gather(charge),
        category=pl.lit(named_categories(merchants)).gather(pl.lit(pl.Series(charges.merchant)).gather(charge)),
    )


def named_categories(merchants: Merchants) -> pl.Series:
    """Return each merchant's category."""
    return pl.Series(list(names.CATEGORIES)).gather(pl.Series(merchants.category))
