"""Identity checks: verification sessions with Stripe's error codes and up to three attempts."""

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
    codes,
    ids,
    skewed,
    spans,
    stream,
    words,
)
from lifecycle.synth.people import SYNTHETIC, TAKEOVER, People, Span

if TYPE_CHECKING:
    from lifecycle.synth.rates import Rates

ATTEMPTS = 3
FAKE_PENALTY = 0.35  # how much less often a synthetic identity passes


def identity_events(people: People, applied: Ints, span: Span, rates: Rates, seed: int) -> pl.DataFrame:
    """
    Return the events of verification sessions: type, created, begun, id, consumer, link, status, error, ...

    applied: each consumer's credit application time (NEVER: none), which asks for a check before it.
    `link` says how a session names its consumer: 0 related_customer, 1 client_reference_id, 2 not at all.
    """
    rng = stream(seed, "identity")
    sessions = _sessions(rng, people, applied, span, rates)
    session = np.arange(len(sessions), dtype=np.int64)
    at = sessions["begun"].to_numpy()
    fake = people.persona[sessions["consumer"].to_numpy()] == SYNTHETIC
    parts = [_events("created", at, session, "requires_input", None)]
    quits = chance(rng, rates.canceled_check, len(session))
    parts.append(_events("canceled", at[quits] + 40 * MINUTE, session[quits], "canceled", None))
    session, at = session[~quits], at[~quits]
    for attempt in range(ATTEMPTS):
        base = rates.pass_first if attempt == 0 else rates.pass_retry
        passed = chance(rng, np.where(fake[session], base - FAKE_PENALTY, base), len(session))
        tried, decided = _attempt(rng, session, at, passed, fake[session])
        redacted = passed & chance(rng, rates.redacted, len(session))
        parts += [*tried, _events("redacted", decided[redacted] + 90 * DAY, session[redacted], "verified", None)]
        again = ~passed & chance(rng, rates.tries_again, len(session))
        at = (decided + skewed(rng, 2 * HOUR, 2.0, len(session)))[again]
        session = session[again]
    return pl.concat(parts).with_columns(
        pl.lit(sessions[name]).gather(pl.col("session")).alias(name) for name in sessions.columns
    )


def _attempt(
    rng: np.random.Generator, session: Ints, at: Ints, passed: Bools, fake: Bools
) -> tuple[list[pl.DataFrame], Ints]:
    """Return one attempt's events and, per session, when it was decided."""
    n = len(session)
    submitted = at + spans(rng, 40 * SECOND, 6 * MINUTE, n)
    decided = submitted + skewed(rng, 25 * SECOND, 0.7, n) + SECOND
    errors = pl.DataFrame(
        {"fake": fake, "yes": words(rng, names.FAKE_CHECK_ERRORS, n), "no": words(rng, names.CHECK_ERRORS, n)}
    ).select(pl.when("fake").then("yes").otherwise("no"))
    error = errors.to_series().filter(pl.Series(~passed))
    tried = [
        _events("processing", submitted, session, "processing", None),
        _events("verified", decided[passed], session[passed], "verified", None),
        _events("requires_input", decided[~passed], session[~passed], "requires_input", error),
    ]
    return tried, decided


def _sessions(rng: np.random.Generator, people: People, applied: Ints, span: Span, rates: Rates) -> pl.DataFrame:
    n = people.count
    at_signup = np.flatnonzero(chance(rng, rates.checked, n))
    for_credit = np.flatnonzero(applied < NEVER)
    for_credit = np.setdiff1d(for_credit, at_signup)
    # A victim proves who they are once more to get the account back.
    recovered = np.flatnonzero((people.persona == TAKEOVER) & (people.takeover < span.end))
    consumer = np.concatenate([at_signup, for_credit, recovered])
    begun = np.concatenate(
        [
            people.signup[at_signup] + np.minimum(skewed(rng, 20 * MINUTE, 2.0, len(at_signup)), 20 * DAY),
            np.maximum(
                applied[for_credit] - spans(rng, 10 * MINUTE, 2 * DAY, len(for_credit)),
                people.signup[for_credit] + MINUTE,
            ),
            people.takeover[recovered] + spans(rng, 2.2 * DAY, 9 * DAY, len(recovered)),
        ]
    )
    m = len(consumer)
    link = codes(
        rng,
        (
            rates.by_related_customer,
            rates.by_client_reference,
            1 - rates.by_related_customer - rates.by_client_reference,
        ),
        m,
    )
    return pl.DataFrame(
        {
            "consumer": consumer,
            "begun": begun,
            "id": ids(rng, "vs_", m),
            "link": link,
            "kind": words(rng, {"document": 0.9, "id_number": 0.1}, m),
            "document": words(rng, names.DOCUMENTS, m),
        }
    )


def _events(kind: str, created: Ints, session: Ints, status: str, error: pl.Series | None) -> pl.DataFrame:
    return pl.DataFrame({"created": created, "session": session}).with_columns(
        type=pl.lit(f"identity.verification_session.{kind}"),
        status=pl.lit(status),
        error=pl.lit(None, dtype=pl.String) if error is None else error,
    )
