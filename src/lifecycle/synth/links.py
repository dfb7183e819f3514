"""Link sessions: a log-in before a payment, or without one; each with its device and address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lifecycle.synth import names
from lifecycle.synth.draw import DAY, MINUTE, SECOND, Bools, Ints, chance, ids, spans, stream, words
from lifecycle.synth.people import Devices, People, visits

if TYPE_CHECKING:
    from lifecycle.synth.charges import Charges
    from lifecycle.synth.purchases import Purchases
    from lifecycle.synth.rates import Rates

CREATED, AUTHENTICATED, FAILED, CLOSED = range(4)
STATUSES = ("created", "authenticated", "failed", "closed")
LEAD = 25 * SECOND  # before the purchase: the payment intent follows at most 20 s before it
LATEST_AUTHENTICATION = 30 * SECOND


@dataclass(frozen=True)
class _Sessions:
    text: pl.DataFrame
    begun: Ints
    attack: Bools
    paid: Ints


def link_events(
    people: People, devices: Devices, bought: Purchases, charges: Charges, *, rates: Rates, seed: int
) -> pl.DataFrame:
    """Return the events of link sessions: type, created, begun, id, consumer, linked (says who), ..."""
    rng = stream(seed, "links")
    sessions = _sessions(rng, people, devices, bought, charges, rates=rates)
    n = len(sessions.begun)
    every = np.arange(n, dtype=np.int64)
    fails = chance(rng, np.where(sessions.attack, rates.session_failed_attack, rates.session_failed), n)
    # A failed log-in comes before the good one, as a session of its own that may never learn who it was.
    answered = sessions.begun + spans(rng, 4 * SECOND, LATEST_AUTHENTICATION, n)
    failed = np.flatnonzero(fails)
    earlier = spans(rng, 3 * MINUTE, 20 * MINUTE, len(failed))
    unlinked = chance(rng, rates.session_unlinked, len(failed))
    closed = np.flatnonzero(chance(rng, 0.8, n))
    ended = np.maximum(sessions.paid, answered) + spans(rng, MINUTE, 15 * MINUTE, n)
    good = pl.concat(
        [
            _rows(sessions, every, sessions.begun, CREATED),
            _rows(sessions, every, answered, AUTHENTICATED),
            _rows(sessions, closed, ended[closed], CLOSED),
        ]
    )
    lost_ids = ids(rng, "lksess_", len(failed))
    lost = [
        _rows(sessions, failed, sessions.begun[failed] - earlier + wait, status).with_columns(
            id=lost_ids,
            begun=pl.Series(sessions.begun[failed] - earlier),
            linked=pl.Series(~unlinked),
        )
        for wait, status in ((0, CREATED), (20 * SECOND, FAILED))
    ]
    return pl.concat([good, *lost])


def _sessions(
    rng: np.random.Generator,
    people: People,
    devices: Devices,
    bought: Purchases,
    charges: Charges,
    *,
    rates: Rates,
) -> _Sessions:
    paying = np.flatnonzero(chance(rng, rates.with_session, len(bought.at)) | bought.fraud)
    looking = np.flatnonzero(chance(rng, rates.browsing, len(bought.at)) & ~bought.fraud)
    looked = bought.at[looking] + spans(rng, -3 * DAY, 5 * DAY, len(looking))
    inside = looked > people.signup[bought.consumer[looking]] + MINUTE * 30
    looking, looked = looking[inside], looked[inside]
    seen = visits(rng, people, devices, bought.consumer[looking], bought.fraud[looking], rates=rates)
    row = np.concatenate([paying, looking])
    at = np.concatenate([bought.at[paying] - LEAD - LATEST_AUTHENTICATION, looked])
    begun = at - spans(rng, SECOND, 5 * MINUTE, len(at))
    # The payment's own visit, so that session and charge agree on device and address.
    theirs = pl.Series(paying)
    text = pl.DataFrame(
        {
            "id": ids(rng, "lksess_", len(row)),
            "consumer": bought.consumer[row],
            "merchant": bought.merchant[row],
            "method": words(rng, names.AUTH_METHODS, len(row)),
            "device": np.concatenate([charges.seen.device[paying], seen.device]),
            "ip": pl.concat([charges.seen.ip.gather(theirs), seen.ip]),
            "ip_country": pl.concat([charges.seen.ip_country.gather(theirs), seen.ip_country]),
        }
    )
    return _Sessions(text, begun, bought.fraud[row], np.concatenate([bought.at[paying], looked]))


def _rows(sessions: _Sessions, rows: Ints, created: Ints, status: int) -> pl.DataFrame:
    return sessions.text[rows].with_columns(
        linked=pl.lit(value=True),
        begun=pl.Series(sessions.begun[rows]),
        created=pl.Series(created),
        status=pl.lit(STATUSES[status]),
        type=pl.lit(f"link.session.{STATUSES[status]}"),
    )
