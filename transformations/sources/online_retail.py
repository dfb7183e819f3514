"""
The UCI files Online Retail and Online Retail II: one event of type `retail.line` for each line (docs/events.md).

Lines repeated within a file are real; the files overlap. So a line's id holds its content and how often that content
stood in the file before: the second file's copy of a line has the id of the first's.

Few values are distinct in a million lines (minutes, prices), so each distinct one is read once, exactly, in Python.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from decimal import ROUND_HALF_UP, localcontext
from typing import TYPE_CHECKING, Any

import polars as pl

from lifecycle.pipeline.intake import moments
from lifecycle.pipeline.intake.adapter import EVENTS, PLACE, REJECTED, Context, Converted, Rejected, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

TYPE = "retail.line"
CURRENCY = "gbp"
TIME_ZONE = "Europe/London"
CANCELLATION = "C"
MISSING = ("", "nan", "NaN")
INT64_MAX = 2**63 - 1
HASH_LENGTH = 16
COLUMNS = (
    ("InvoiceNo", "Invoice"),
    ("StockCode",),
    ("Description",),
    ("Quantity",),
    ("InvoiceDate",),
    ("UnitPrice", "Price"),
    ("CustomerID", "Customer ID"),
    ("Country",),
)
_CONTENT = ("invoice", "stock_code", "description", "quantity", "time", "unit_price", "customer", "country")
_OBJECT = (
    "id", "invoice", "cancellation", "line", "stock_code", "description", "quantity", "unit_price", "amount",
    "currency", "customer", "country",
)  # fmt: skip


def convert(file: pa.Table, context: Context) -> Converted:
    """Turn a whole file's lines into events."""
    zone = context.options.get("time_zone", TIME_ZONE)
    lines = _read(pl.DataFrame(pl.from_arrow(file)), lambda value: _time(value, zone))
    bad = lines.filter(pl.col("reason").is_not_null()).select("place", "reason", "detail")
    return Converted(_events(lines.filter(pl.col("reason").is_null())), _to(bad, REJECTED))


def _read(given: pl.DataFrame, read_time: Callable[[Any], int]) -> pl.DataFrame:
    """Type every column; a line that cannot be read has a reason and a detail."""
    lines = given.select(
        place=PLACE,
        invoice=pl.col("InvoiceNo").cast(pl.String).str.strip_chars(),
        stock_code=pl.col("StockCode").cast(pl.String),
        # pandas wrote a missing description into the Parquet file as the text "nan".
        description=_text("Description"),
        country=_text("Country"),
        given_time="InvoiceDate",
        given_quantity="Quantity",
        given_price="UnitPrice",
        given_customer="CustomerID",
    )
    lines = _each(lines, ("given_time",), {"time": pl.Int64}, lambda value: (read_time(value),))
    lines = _each(lines, ("given_customer",), {"customer": pl.String}, lambda value: (_customer(value),))
    lines = _each(
        lines,
        ("given_quantity", "given_price"),
        {"quantity": pl.Int64, "unit_price": pl.String, "amount": pl.Int64},
        _amount,
    )
    faults = [
        pl.when(pl.col("invoice").fill_null("") == "").then(pl.lit("missing_field\nInvoiceNo is missing")),
        pl.when(pl.col("stock_code").fill_null("") == "").then(pl.lit("missing_field\nStockCode is missing")),
    ]
    fault = pl.coalesce(*faults, "time_fault", "quantity_fault", "customer_fault").str.split_exact("\n", 1)
    return lines.with_columns(reason=fault.struct[0], detail=fault.struct[1])


def _each(
    lines: pl.DataFrame, given: tuple[str, ...], made: Mapping[str, Any], read: Callable[..., tuple[Any, ...]]
) -> pl.DataFrame:
    """Add columns computed once for each distinct value of `given`, with a column of faults beside them."""
    distinct = lines.select(given).unique()
    results = [_attempt(read, row, len(made)) for row in distinct.iter_rows()]
    columns = (
        dict(zip((*made, f"{next(iter(made))}_fault"), zip(*results, strict=True), strict=True)) if results else {}
    )
    types = {**made, f"{next(iter(made))}_fault": pl.String}
    added = pl.DataFrame(columns or {name: [] for name in types}, schema=types)
    return lines.join(distinct.hstack(added), on=given, how="left", nulls_equal=True, maintain_order="left").drop(given)


def _attempt(read: Callable[..., tuple[Any, ...]], row: tuple[Any, ...], width: int) -> tuple[Any, ...]:
    try:
        return (*read(*row), None)
    except Rejected as verdict:
        return (*(None,) * width, f"{verdict.reason}\n{verdict.detail}")


def _time(value: Any, zone: str) -> int:
    if value is None:
        raise Rejected("missing_field", "InvoiceDate is missing")
    if isinstance(value, datetime):
        return (
            moments.from_aware(value, "InvoiceDate") if value.tzinfo else moments.localise(value, zone, "InvoiceDate")
        )
    return moments.from_text(str(value), zone, "InvoiceDate")


def _customer(value: Any) -> str | None:
    if value is None or str(value).strip() in MISSING:
        return None
    number = moments.decimal(str(value), "CustomerID")
    if number != number.to_integral_value() or number < 0:
        raise Rejected("bad_number", "CustomerID is no whole number")
    return str(int(number))


def _amount(quantity: Any, price: Any) -> tuple[int, str, int]:
    """Return the quantity, the exact price as canonical text, and the pence, rounded half away from zero."""
    if quantity is None or price is None:
        raise Rejected("missing_field", f"{'Quantity' if quantity is None else 'UnitPrice'} is missing")
    count = moments.decimal(str(quantity), "Quantity")
    unit = moments.decimal(str(price), "UnitPrice")
    if count != count.to_integral_value():
        raise Rejected("bad_number", "Quantity is no whole number")
    with localcontext(prec=100):
        pence = (count * unit * 100).to_integral_value(ROUND_HALF_UP)
    if abs(count) > INT64_MAX or abs(pence) > INT64_MAX:
        raise Rejected("overflow", "Quantity times UnitPrice does not fit 64 bits of pence")
    text = format(unit, "f")
    return int(count), (text.rstrip("0").rstrip(".") if "." in text else text) or "0", int(pence)


def _events(lines: pl.DataFrame) -> pa.Table:
    content = pl.concat_str([pl.col(name).cast(pl.String).fill_null("\x00") for name in _CONTENT], separator="\x1f")
    lines = lines.with_columns(content=content)
    hashes = [hashlib.sha256(one.encode()).hexdigest()[:HASH_LENGTH] for one in lines["content"]]
    occurrence = pl.int_range(1, pl.len() + 1).over("content")
    lines = lines.with_columns(
        id=pl.concat_str("invoice", pl.Series(hashes, dtype=pl.String), occurrence.cast(pl.String), separator=":"),
        line=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("invoice"),
        cancellation=pl.col("invoice").str.starts_with(CANCELLATION),
        currency=pl.lit(CURRENCY),
    )
    return _to(
        lines.select(
            "place",
            event_id="id",
            revision=pl.lit(None, pl.Int64),
            retracted=pl.lit(value=False),
            type=pl.lit(TYPE),
            event_timestamp="time",
            received_at=pl.lit(None, pl.Int64),
            sequence="line",
            payload=pl.struct(object=pl.struct(_OBJECT)).struct.json_encode(),
            # Not the payload: a line's position may differ between the two files.
            content="content",
        ),
        EVENTS,
    )


def _text(column: str) -> pl.Expr:
    text = pl.col(column).cast(pl.String)
    return pl.when(~text.is_in(MISSING)).then(text)


def _to(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    return frame.to_arrow().cast(schema)


def check(options: Mapping[str, Any]) -> None:
    """Refuse a time zone that does not exist."""
    moments.time_zone(options.get("time_zone", TIME_ZONE))


SOURCE = Source(formats=("csv", "parquet"), convert=convert, columns=lambda _: COLUMNS, whole_file=True, check=check)
