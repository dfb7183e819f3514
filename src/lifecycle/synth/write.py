"""Files: the feed in parts, the truth beside it, and a note that says what they are."""

from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lifecycle.errors import UsageError
from lifecycle.synth.draw import NEVER, Ints
from lifecycle.synth.people import BUST_OUT, PERSONAS, SYNTHETIC, TAKEOVER, Span
from lifecycle.synth.render import lines, spoil

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from lifecycle.synth.delivery import Delivered
    from lifecycle.synth.world import World

LINES_PER_PART = 200_000
TITLE = "Generated consumers: synthetic data, no real person, card or company."
PARTS = "events-*.ndjson.gz"


def clear(folder: Path) -> None:
    """Make the folder ready; parts of an earlier run go, files that did not come from here are refused."""
    folder.mkdir(parents=True, exist_ok=True)
    old = sorted(folder.glob(PARTS))
    readme = folder / "README.txt"
    if old and not (readme.is_file() and readme.read_text(encoding="utf-8").startswith(TITLE)):
        raise UsageError(f"{folder} holds {old[0].name}, which was not generated here. Choose an empty folder.")
    for path in old:
        path.unlink()


def write_feed(folder: Path, delivered: Delivered, world: World, progress: Callable[[str], None]) -> tuple[Path, ...]:
    """Write all deliveries in the order of their receipt, in parts of about 200,000 lines."""
    received = np.sort(np.concatenate([t["received"].to_numpy() for t in delivered.tables.values()]))
    edges = [*received[::LINES_PER_PART].tolist(), NEVER]
    edges = sorted(set(edges))
    paths = []
    # Compression runs beside the rendering of the next part; at most one part waits.
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: Future[None] | None = None
        for number, (low, high) in enumerate(pairwise(edges), start=1):
            content = _part(delivered, world, low, high)
            if waiting is not None:
                waiting.result()
            paths.append(folder / f"events-{number:03d}.ndjson.gz")
            progress(f"{paths[-1].name} of {len(edges) - 1}")
            waiting = pool.submit(_compress, paths[-1], content)
        if waiting is not None:
            waiting.result()
    return tuple(paths)


def _part(delivered: Delivered, world: World, low: int, high: int) -> bytes:
    within = (pl.col("received") >= low) & (pl.col("received") < high)
    parts = [lines(kind, table.filter(within), world) for kind, table in delivered.tables.items()]
    frame = pl.concat(parts).sort("received", "event_id", "line")
    broken = frame["defect"].is_not_null()
    text = frame["line"]
    if broken.any():
        rows = broken.arg_true()
        spoilt = [spoil(line, why) for line, why in zip(text.gather(rows), frame["defect"].gather(rows), strict=True)]
        text = text.clone().scatter(rows, spoilt)
    content: str = text.str.join("\n").item()
    return f"{content}\n".encode()


def _compress(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content, compresslevel=1, mtime=0))


def write_truth(folder: Path, delivered: Delivered, world: World, span: Span) -> tuple[Path, Path]:
    """Write what is true of each consumer and each charge; none of it is in the feed."""
    consumers, charges = folder / "truth.parquet", folder / "truth_charges.parquet"
    _consumers(delivered, world, span).write_parquet(consumers, statistics=False)
    _charges(world).write_parquet(charges, statistics=False)
    return consumers, charges


def _consumers(delivered: Delivered, world: World, span: Span) -> pl.DataFrame:
    people = world.people
    every = np.arange(people.count, dtype=np.int64)
    busted = np.where(people.persona == BUST_OUT, world.credit.busted, people.bust)
    begun = np.select(
        [people.persona == TAKEOVER, np.isin(people.persona, (SYNTHETIC, BUST_OUT))],
        [people.takeover, busted],
        NEVER,
    )
    claims = np.bincount(world.charges.consumer[world.disputed], minlength=people.count)
    frauds = np.bincount(world.charges.consumer[world.charges.fraud], minlength=people.count)
    customer = people.text["id"]
    return pl.DataFrame(
        {
            "consumer_id": customer,
            "persona": pl.Series(PERSONAS).gather(pl.Series(people.persona)),
            "account": people.text["account"],
            "country": people.text["country"],
            "currency": people.text["currency"],
            "signed_up_at": _times(people.signup, span),
            "first_payment_at": _times(
                np.where(people.first_payment < people.churn, people.first_payment, NEVER), span
            ),
            "paused_from": _times(people.pause_from, span),
            "paused_until": _times(people.pause_until, span),
            "churned_at": _times(people.churn, span),
            "taken_over_at": _times(people.takeover, span),
            "fraud": begun < span.end,
            "fraud_began_at": _times(begun, span),
            "fraud_charges": frauds,
            "disputed_charges": claims,
            "ring": customer.gather(pl.Series(people.ring)),
            "merged_into": pl.select(
                pl.when(pl.Series(delivered.merged != every)).then(customer.gather(pl.Series(delivered.merged)))
            ).to_series(),
        }
    )


def _charges(world: World) -> pl.DataFrame:
    charges = world.charges
    return pl.DataFrame(
        {
            "charge_id": charges.ids,
            "consumer_id": world.people.text["id"].gather(pl.Series(charges.consumer)),
            "created_at": pl.Series(charges.at).cast(pl.Datetime("ms", "UTC")).cast(pl.Datetime("us", "UTC")),
            "amount": charges.amount,
            "currency": world.people.text["currency"].gather(pl.Series(charges.consumer)),
            "succeeded": charges.ok,
            "fraud": charges.fraud,
            "disputed": world.disputed,
        }
    )


def _times(values: Ints, span: Span) -> pl.Series:
    """Return UTC times, NULL where they lie beyond the generated time."""
    known = pl.Series(values)
    return pl.select(
        pl.when(known < span.end).then(known).cast(pl.Datetime("ms", "UTC")).cast(pl.Datetime("us", "UTC"))
    ).to_series()
