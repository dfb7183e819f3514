"""Consumers: who they are, when they sign up, pause and leave; their cards, devices and network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lifecycle.synth import names
from lifecycle.synth.draw import (
    DAY,
    HOUR,
    NEVER,
    Bools,
    Floats,
    Ints,
    chance,
    codes,
    ids,
    members,
    named,
    stream,
    words,
)

if TYPE_CHECKING:
    from lifecycle.synth.rates import Rates

HONEST, TAKEOVER, SYNTHETIC, BUST_OUT, FRIENDLY = range(5)
PERSONAS = ("honest", "account_takeover_victim", "synthetic_identity", "bust_out", "friendly_fraud")
ACCOUNTS = {"acct_1LIFEcycleDEMO01": 0.62, "acct_1LIFEcycleDEMO02": 0.38}
MONTH = 30 * DAY


@dataclass(frozen=True)
class Span:
    """The generated time in Unix milliseconds: [start, end)."""

    start: int
    end: int


@dataclass(frozen=True)
class People:
    """
    All consumers; entry i of each array is consumer i. Times are Unix milliseconds, or NEVER.

    `text` holds what only rendering needs: id, account, country, currency, email, phone, name.
    `network` is the consumer's home network, `ring` the consumer whose device, network and card it uses.
    """

    text: pl.DataFrame
    persona: Ints
    country: Ints
    level: Floats
    signup: Ints
    first_payment: Ints
    pause_from: Ints
    pause_until: Ints
    churn: Ints
    takeover: Ints
    bust: Ints
    network: Ints
    ring: Ints

    @property
    def count(self) -> int:
        """Return how many consumers there are."""
        return len(self.persona)


@dataclass(frozen=True)
class Cards:
    """All cards, grouped by consumer: those of consumer i are `first[i]` to `first[i] + owned[i] - 1`."""

    text: pl.DataFrame
    consumer: Ints
    first: Ints
    owned: Ints
    attached: Ints
    declines: Floats


@dataclass(frozen=True)
class Devices:
    """All devices, grouped by consumer as cards are; `attack[i]` is the device of whoever takes over i."""

    text: pl.DataFrame
    first: Ints
    owned: Ints
    attack: Ints


def make_people(n: int, span: Span, rates: Rates, seed: int) -> People:
    """Draw `n` consumers."""
    rng = stream(seed, "people")
    persona = _personas(rng, n, rates)
    country = codes(rng, [one.weight for one in names.COUNTRIES], n)
    fraud = persona != HONEST
    length = span.end - span.start
    # Growth slows; what a takeover or a bust needs is a life before it.
    share = np.where(fraud, 0.5, 0.97) * rng.random(n) ** 0.9
    signup = span.start + (share * length).astype(np.int64)
    first = signup + 2 * HOUR + (DAY * np.exp(rng.normal(0.3, 1.6, n))).astype(np.int64)
    first[chance(rng, rates.never_pays, n) & ~fraud] = NEVER
    hazard = rates.churn_monthly * rng.gamma(2.0, 0.5, n)
    churn = signup + (MONTH * np.minimum(rng.exponential(1.0, n) / np.maximum(hazard, 1e-3), 1e4)).astype(np.int64)
    churn = np.where(fraud, NEVER, np.maximum(churn, signup + 2 * DAY))
    pause_from = signup + ((np.minimum(churn, span.end) - signup) * rng.uniform(0.1, 0.9, n)).astype(np.int64)
    pause_until = pause_from + (DAY * rng.uniform(30, 150, n)).astype(np.int64)
    paused = chance(rng, rates.paused, n) & ~fraud & (first < pause_from) & (pause_until < churn)
    # Fraud comes late in a life, and for some only after the generated time: then it is not in the feed.
    when = signup + (rng.uniform(0.3, 1.15, n) * np.minimum(span.end - signup, 11 * MONTH)).astype(np.int64)
    bust = np.where(persona == SYNTHETIC, when, NEVER)
    ring = _rings(persona, rates.ring_size)
    return People(
        text=_text(rng, n, country, persona, ring),
        persona=persona,
        country=country,
        level=rates.spend_minor
        * np.exp(rates.spend_sigma * rng.standard_normal(n))
        * np.array([one.level for one in names.COUNTRIES])[country],
        signup=signup,
        first_payment=first,
        pause_from=np.where(paused, pause_from, NEVER),
        pause_until=np.where(paused, pause_until, NEVER),
        churn=np.where(persona == SYNTHETIC, np.minimum(bust + 6 * DAY, NEVER), churn),
        takeover=np.where(persona == TAKEOVER, when, NEVER),
        bust=bust,
        network=_networks(rng, ring, rates),
        ring=ring,
    )


def _personas(rng: np.random.Generator, n: int, rates: Rates) -> Ints:
    shares = (rates.account_takeover_victim, rates.synthetic_identity, rates.bust_out, rates.friendly_fraud)
    persona = np.full(n, HONEST, dtype=np.int64)
    order = rng.permutation(n)
    at = 0
    for kind, share in enumerate(shares, start=1):
        count = max(1, round(share * n))
        persona[order[at : at + count]] = kind
        at += count
    return persona


def _rings(persona: Ints, size: int) -> Ints:
    ring = np.arange(len(persona), dtype=np.int64)
    synthetic = np.flatnonzero(persona == SYNTHETIC)
    ring[synthetic] = synthetic[(np.arange(len(synthetic)) // size) * size]
    return ring


def _networks(rng: np.random.Generator, ring: Ints, rates: Rates) -> Ints:
    n = len(ring)
    network = rng.integers(0, 0xE000, n)  # above lie the carriers' and the attackers' networks
    shared = np.flatnonzero(chance(rng, rates.household, n))
    network[shared] = network[rng.integers(0, n, len(shared))]
    return network[ring]


def _text(rng: np.random.Generator, n: int, country: Ints, persona: Ints, ring: Ints) -> pl.DataFrame:
    number = pl.Series(np.where(chance(rng, 0.7, n), rng.integers(1, 1000, n), 0))
    frame = pl.DataFrame(
        {
            "id": ids(rng, "cus_", n),
            "account": words(rng, ACCOUNTS, n),
            "country": named([one.code for one in names.COUNTRIES], country),
            "currency": named([one.currency for one in names.COUNTRIES], country),
            "first": named(names.FIRST, rng.integers(0, len(names.FIRST), n)),
            "last": named(names.LAST, rng.integers(0, len(names.LAST), n)),
            "number": number.cast(pl.String).replace("0", ""),
            "domain": words(rng, names.MAIL_DOMAINS, n),
            "style": rng.integers(0, 20, n),
            "area": rng.integers(201, 990, n),
            "line": rng.integers(0, 100, n),
            "ring": ring,
            "synthetic": persona == SYNTHETIC,
        }
    ).with_row_index("row")
    plain = pl.concat_str(pl.col("first").str.to_lowercase(), pl.lit("."), pl.col("last").str.to_lowercase(), "number")
    # A ring's addresses differ only by what stands behind the plus: one mailbox once normalised.
    ring_mail = pl.concat_str(
        plain.gather(pl.col("ring")), pl.lit("+"), pl.col("row") - pl.col("ring") + 1, pl.lit("@"),
        pl.col("domain").gather(pl.col("ring")),
    )  # fmt: skip
    email = (
        pl.when("synthetic")
        .then(ring_mail)
        .when(pl.col("style") == 0)
        .then(pl.concat_str(plain, pl.lit("+pay@"), "domain"))
        .when(pl.col("style") == 1)
        .then(pl.concat_str("first", pl.lit("."), "last", "number", pl.lit("@"), "domain"))
        .otherwise(pl.concat_str(plain, pl.lit("@"), "domain"))
    )
    phone = pl.format("+1{}55501{}", "area", pl.col("line").cast(pl.String).str.zfill(2))
    return frame.select(
        "id", "account", "country", "currency", email.alias("email"), phone.alias("phone"),
        pl.format("{} {}", "first", "last").alias("name"),
    )  # fmt: skip


def make_cards(people: People, rates: Rates, seed: int) -> Cards:
    """Draw each consumer's cards: one, or two."""
    rng = stream(seed, "cards")
    second = chance(rng, rates.second_card, people.count)
    owned = 1 + second.astype(np.int64)
    consumer, place = members(owned)
    n = len(consumer)
    first = np.cumsum(owned) - owned
    # The first card comes shortly before the first payment, or near sign-up where nothing is ever paid.
    begun = np.minimum(people.first_payment, people.signup + 3 * DAY)[consumer]
    attached = people.signup[consumer] + ((begun - people.signup[consumer]) * rng.uniform(0.2, 0.95, n)).astype(
        np.int64
    )
    attached += place * (MONTH * rng.uniform(1, 8, n)).astype(np.int64)
    declines = np.minimum(rates.failed * rng.gamma(1.5, 1 / 1.5, n), 0.6)
    fingerprint = ids(rng, "", n)
    shared = np.where(people.persona[consumer] == SYNTHETIC, first[people.ring[consumer]], np.arange(n))
    text = pl.DataFrame(
        {
            "id": ids(rng, "pm_", n),
            "brand": words(rng, names.BRANDS, n),
            "country": people.text["country"].gather(pl.Series(consumer)),
            "funding": words(rng, names.FUNDING, n),
            "exp_month": rng.integers(1, 13, n),
            "exp_year": rng.integers(2026, 2031, n),
            "fingerprint": fingerprint.gather(pl.Series(shared)),
        }
    )
    return Cards(text, consumer, first, owned, attached, declines)


def make_devices(people: People, seed: int) -> Devices:
    """Draw each consumer's devices, one to four, and the attackers', each used on about three victims."""
    rng = stream(seed, "devices")
    n = people.count
    owned = 1 + np.minimum(rng.poisson(0.7, n), 3)
    first = np.cumsum(owned) - owned
    total = int(owned.sum())
    attackers = max(1, int((people.persona == TAKEOVER).sum()) // 3)
    kind = codes(rng, (0.68, 0.26, 0.06), total + attackers)
    systems = [pl.Series(rng.integers(0, len(names.DEVICE_SYSTEMS[k]), total + attackers)) for k in range(3)]
    system = [named(names.DEVICE_SYSTEMS[k], systems[k].to_numpy()) for k in range(3)]
    text = pl.DataFrame({"id": ids(rng, "dev_", total + attackers), "kind": kind}).select(
        "id",
        named(names.DEVICE_TYPES, kind).alias("type"),
        pl.when(pl.col("kind") == 0)
        .then(system[0])
        .when(pl.col("kind") == 1)
        .then(system[1])
        .otherwise(system[2])
        .alias("os"),
    )
    # A ring shares its first member's device.
    return Devices(text, first[people.ring], owned, total + rng.integers(0, attackers, n))


@dataclass(frozen=True)
class Visits:
    """Where someone came from: positions in `Devices.text`, addresses, and country codes."""

    device: Ints
    ip: pl.Series
    ip_country: pl.Series


def visits(
    rng: np.random.Generator, people: People, devices: Devices, consumer: Ints, attack: Bools, *, rates: Rates
) -> Visits:
    """Draw a device and an address for each visit; an attacker's are foreign and shared among victims."""
    n = len(consumer)
    other = rng.integers(0, 4, n) % devices.owned[consumer]
    ring = people.persona[consumer] == SYNTHETIC
    place = np.where(chance(rng, 0.8, n) | ring, 0, other)
    device = np.where(attack, devices.attack[consumer], devices.first[consumer] + place)
    mobile = chance(rng, rates.mobile_network, n) & ~ring
    travelling = chance(rng, rates.travelling, n) & ~ring
    abroad = codes(rng, [one.weight for one in names.COUNTRIES], n)
    lair = devices.attack[consumer] % len(names.ATTACKER_COUNTRIES)
    home = np.where(mobile, 0xE000 + people.country[consumer] * 16 + rng.integers(0, 16, n), people.network[consumer])
    network = np.where(attack, 0xF000 + devices.attack[consumer] % 0x0FFF, home)
    country = pl.DataFrame(
        {
            "attack": attack,
            "lair": named(names.ATTACKER_COUNTRIES, lair),
            "home": named(
                [one.code for one in names.COUNTRIES], np.where(travelling, abroad, people.country[consumer])
            ),
        }
    ).select(pl.when("attack").then("lair").otherwise("home").alias("country"))["country"]
    host = np.where(mobile | attack, rng.integers(0, 0x10000, n), people.network[consumer] * 7 % 0xFFF1)
    return Visits(device, _addresses(network, host), country)


def _addresses(network: Ints, host: Ints) -> pl.Series:
    """Write networks as 2001:db8:NETWORK::HOST; every fifth one is IPv4 in a documentation range."""
    digits = pl.Series([f"{i:x}" for i in range(0x10000)])
    frame = pl.DataFrame(
        {
            "old": network % 5 == 0,
            "net": digits.gather(pl.Series(network)),
            "host": digits.gather(pl.Series(host)),
            "test": named(names.TEST_NETS, network // 5 % len(names.TEST_NETS)),
            "last": (network * 31 + host) % 254 + 1,
        }
    )
    return frame.select(
        pl.when("old")
        .then(pl.format("{}{}", "test", "last"))
        .otherwise(pl.format("2001:db8:{}::{}", "net", "host"))
        .alias("ip")
    )["ip"]


def local_hours(people: People, consumer: Ints) -> Ints:
    """Return each consumer's offset from UTC in milliseconds."""
    return np.array([one.offset for one in names.COUNTRIES], dtype=np.int64)[people.country[consumer]] * HOUR
