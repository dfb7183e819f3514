"""Events as JSON lines: Stripe's objects with Stripe's field names, and the platform's own beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from lifecycle.synth.objects import SHAPES

if TYPE_CHECKING:
    from lifecycle.synth.world import World

API_VERSION = "2025-02-24.acacia"
UNKNOWN_TYPE = "invoice.paid"


def lines(kind: str, events: pl.DataFrame, world: World) -> pl.DataFrame:
    """Return `received`, `event_id`, `defect` and `line` (JSON text) of each event."""
    body, previous = SHAPES[kind](world)
    frame = events.with_columns(
        account=pl.lit(world.people.text["account"]).gather("owner"),
        currency=pl.lit(world.people.text["currency"]).gather("owner"),
        who=pl.lit(world.people.text["id"]).gather("customer"),
    ).with_columns(body=body)
    before = pl.lit("") if previous is None else pl.concat_str(pl.lit(',"previous_attributes":'), previous)
    received = pl.col("received").cast(pl.Datetime("ms")).dt.to_string("%Y-%m-%dT%H:%M:%S%.3fZ")
    line = pl.concat_str(
        *_member('{"received_at":"', received),
        *_member('","event":{"id":"', "event_id"),
        *_member('","object":"event","type":"', "type"),
        *_member(f'","api_version":"{API_VERSION}","created":', _seconds("created")),
        *_member(',"account":"', "account"),
        *_member('","livemode":true', pl.concat_str(pl.lit(',"revision":'), "revision").fill_null("")),
        pl.when("retracted").then(pl.lit(',"retracted":true')).otherwise(pl.lit("")),
        *_member(',"data":{"object":', pl.col("body").struct.json_encode()),
        before.fill_null(""),
        pl.lit("}}}"),
    )
    return frame.select("received", "event_id", "defect", line=line)


def spoil(line: str, defect: str) -> str:
    """Return a line of a charge with the named defect."""
    if defect == "truncated":
        return line[: len(line) * 2 // 3]
    start = line.index('"event":{"id":"') + len('"event":{')
    end = line.index('"object":"event"')
    amount = line.index('"amount":') + len('"amount":')
    behind = line.index(",", amount)
    return {
        "unknown_type": line.replace('"type":"charge.succeeded"', f'"type":"{UNKNOWN_TYPE}"', 1),
        "missing_id": line[:start] + line[end:],
        "negative_amount": f"{line[:amount]}-{line[amount:]}",
        "overflowing_amount": f"{line[:amount]}99999999999999999999{line[behind:]}",
        "test_mode": line.replace('"livemode":true', '"livemode":false', 1),
    }[defect]


def _seconds(milliseconds: str) -> pl.Expr:
    at = pl.col(milliseconds)
    return pl.format("{}.{}", at // 1_000, (at % 1_000).cast(pl.String).str.zfill(3))


def _member(text: str, value: str | pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    return pl.lit(text), pl.col(value) if isinstance(value, str) else value
