"""
The seeded generator of consumers' lives, in Stripe's event form, as webhooks deliver it.

`rates.Rates` states every proportion. What is generated says so in a README.txt beside it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lifecycle.errors import UsageError
from lifecycle.synth.rates import Rates
from lifecycle.times import to_microseconds, to_utc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lifecycle.synth.people import Span

__all__ = ["Generated", "Rates", "generate"]

LEAST_CONSUMERS = 10
LAST_COMMON_DAY = 28  # every month has it
START = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Generated:
    """
    What was written.

    events: the feed's parts, in order. truth: one row per consumer; truth_charges: one row per charge.
    lines: in all parts. counts: how many deliveries are first events, late (among them), amended, retracted,
    merged, repeated, malformed.
    """

    folder: Path
    events: tuple[Path, ...]
    truth: Path
    truth_charges: Path
    readme: Path
    consumers: int
    lines: int
    counts: dict[str, int]


def generate(
    folder: Path,
    *,
    consumers: int = 20_000,
    months: int = 18,
    seed: int = 1,
    start: datetime = START,
    dirt: bool = True,
    rates: Rates | None = None,
    progress: Callable[[str], None] = lambda _text: None,
) -> Generated:
    """
    Write the lives of `consumers` from `start` (naive: UTC) over `months` calendar months into `folder`.

    The same arguments give the same bytes. Events and deliveries from the end of that time on are left out, as in
    any feed cut off there. Raises UsageError for arguments out of range and for a folder with other events.
    """
    from lifecycle.synth.delivery import deliver
    from lifecycle.synth.world import make_world
    from lifecycle.synth.write import clear, write_feed, write_truth

    if consumers < LEAST_CONSUMERS or months < 1 or seed < 0:
        raise UsageError(
            f"cannot generate {consumers} consumers over {months} months with seed {seed}: "
            f"it takes {LEAST_CONSUMERS} consumers, 1 month and a seed of 0 or more."
        )
    rates = rates or Rates()
    span = _span(start, months)
    clear(folder)
    progress(f"{consumers:,} lives over {months} months, seed {seed}")
    world = make_world(consumers, span, rates, seed)
    delivered = deliver(world, span, rates, seed, dirt=dirt)
    lines = sum(len(table) for table in delivered.tables.values())
    progress(f"{lines:,} lines to write")
    readme = folder / "README.txt"
    given = {"consumers": consumers, "months": months, "seed": seed, "start": to_utc(start).isoformat(), "dirt": dirt}
    readme.write_text(_readme(given, rates, delivered.counts), encoding="utf-8")
    truth, truth_charges = write_truth(folder, delivered, world, span)
    events = write_feed(folder, delivered, world, progress)
    return Generated(folder, events, truth, truth_charges, readme, consumers, lines, delivered.counts)


def _span(start: datetime, months: int) -> Span:
    from lifecycle.synth.people import Span

    start = to_utc(start)
    total = start.month - 1 + months
    end = start.replace(year=start.year + total // 12, month=total % 12 + 1, day=min(start.day, LAST_COMMON_DAY))
    return Span(to_microseconds(start) // 1_000, to_microseconds(end) // 1_000)


def _readme(given: dict[str, object], rates: Rates, counts: dict[str, int]) -> str:
    from lifecycle.synth.write import TITLE

    return "\n".join(
        [
            TITLE,
            "",
            "events-*.ndjson.gz      the feed, in the order of receipt",
            "truth.parquet           what is true of each consumer; never part of the feed",
            "truth_charges.parquet   what is true of each charge",
            "",
            "Mail domains, phone numbers and IP addresses are those set aside for documentation.",
            "The same parameters give the same bytes.",
            "",
            f"parameters: {json.dumps(given)}",
            f"deliveries: {json.dumps(counts)}",
            f"rates: {json.dumps(asdict(rates))}",
            "",
        ]
    )
