"""
Your own data: CSV, Parquet or newline-delimited JSON with a mapping in `lifecycle.toml` (docs/your-own-data.md).

`[sources.NAME.columns]` says which columns make the event itself, `[sources.NAME.fields]` which ones its payload
keeps, under which name and as what. A column in neither is dropped. Where no single column tells facts apart,
`event_id` lists those that do together.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from math import isnan
from typing import TYPE_CHECKING, Any

from lifecycle.errors import UsageError, unknown
from lifecycle.pipeline.intake import moments
from lifecycle.pipeline.intake.adapter import PLACE, Collector, Context, Converted, Rejected, Source
from transformations.sources.stripe import decode, encode
from transformations.sources.stripe_fields import INT64_MAX, INT64_MIN, PERSONAL, personal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    Record = dict[str, Any]

REQUIRED = ("event_id", "event_timestamp")
OPTIONAL = ("type", "known_at", "revision", "retracted", "sequence")
TRUE, FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")
MOST_DIGITS = 6
SLICE = 20_000


def convert(chunk: pa.Table, context: Context) -> Converted:
    """Turn rows or lines into events by the mapping."""
    gathered = Collector()
    reader = _Reader(context)
    for start in range(0, chunk.num_rows, SLICE):
        for place, row in _rows(chunk.slice(start, SLICE)):
            try:
                reader.read(place, decode(row) if isinstance(row, str) else row, gathered)
            except Rejected as verdict:
                gathered.reject(place, verdict)
    return gathered.converted()


def _rows(chunk: pa.Table) -> Iterator[tuple[int, Record | str]]:
    places = chunk[PLACE].to_pylist()
    if "line" in chunk.column_names and chunk.num_columns == 2:  # noqa: PLR2004  place and line: text
        return zip(places, chunk["line"].to_pylist(), strict=True)
    return zip(places, chunk.drop_columns(PLACE).to_pylist(), strict=True)


class _Reader:
    """Reads rows by a source's mapping."""

    def __init__(self, context: Context) -> None:
        options = context.options
        self._columns: Mapping[str, str] = options["columns"]
        given = self._columns["event_id"]
        self._id = (given,) if isinstance(given, str) else tuple(given)
        self._type = options.get("type")
        self._zone = options.get("time_zone", "UTC")
        self._form = options.get("time_format")
        self._fields = [(*name.split("."), _field(given)) for name, given in options["fields"].items()]
        self._tokenise = context.tokenise

    def read(self, place: int, row: Record, gathered: Collector) -> None:
        """Add the row's event; raises Rejected."""
        known_at = self._get(row, "known_at")
        gathered.accept(
            place,
            self._event_id(row),
            self._type or _text(self._need(row, "type"), self._columns["type"]),
            self._time(self._need(row, "event_timestamp"), self._columns["event_timestamp"]),
            encode({"object": self._object(row)}),
            revision=self._optional(row, "revision", _integer),
            retracted=self._optional(row, "retracted", _boolean) or False,
            received_at=None if known_at is None else self._time(known_at, self._columns["known_at"]),
            sequence=self._optional(row, "sequence", _integer),
        )

    def _event_id(self, row: Record) -> str:
        """Return the id; of several columns the JSON list of their texts, in which no two facts look alike."""
        parts = [_text(self._required(_look(row, column), column, "event_id"), column) for column in self._id]
        return parts[0] if len(parts) == 1 else encode(parts)

    def _object(self, row: Record) -> Record:
        result: Record = {}
        for *head, leaf, given in self._fields:
            value = _look(row, given["column"])
            target = result
            for one in head:
                target = target.setdefault(one, {})
            kind = given["as"]
            if kind in PERSONAL:
                stand_ins = personal(None if value is None else str(value), kind, given["column"], self._tokenise)
                target.update({leaf + ending: stand_in for ending, stand_in in stand_ins})
            elif value is None:
                target[leaf] = None
            elif kind == "time":
                target[leaf] = _seconds(self._time(value, given["column"]))
            elif kind == "money":
                target[leaf] = _money(value, given["column"], given.get("digits", 2))
            else:
                target[leaf] = KINDS[kind](value, given["column"])
        return result

    def _get(self, row: Record, name: str) -> Any:
        return _look(row, self._columns[name]) if name in self._columns else None

    def _need(self, row: Record, name: str) -> Any:
        return self._required(self._get(row, name), self._columns[name], name)

    @staticmethod
    def _required(value: Any, column: str, name: str) -> Any:
        if value is None or value == "":
            raise Rejected("missing_field", f"{column} ({name}) is missing")
        return value

    def _optional(self, row: Record, name: str, take: Callable[[Any, str], Any]) -> Any:
        value = self._get(row, name)
        return None if value is None else take(value, self._columns[name])

    def _time(self, value: Any, column: str) -> int:
        if isinstance(value, datetime):
            return moments.from_aware(value, column) if value.tzinfo else moments.localise(value, self._zone, column)
        if isinstance(value, date):
            return moments.from_text(value.isoformat(), self._zone, column)
        if self._form == "unix":
            number = value if isinstance(value, (int, Decimal, float)) else moments.decimal(str(value), column)
            return moments.from_unix(number, column)
        if not isinstance(value, str):
            raise Rejected("bad_time", f'{column} is a number; time_format = "unix" reads Unix seconds')
        form = None if self._form in (None, "iso") else self._form
        return moments.from_text(value, self._zone, column, form=form)


def _look(row: Record, column: str) -> Any:
    """Return a value by its column, or by its path in a JSON object; NaN is pandas' way to say none."""
    value: Any = row
    for part in (column,) if column in row else column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return None if isinstance(value, float) and isnan(value) else value


def _text(value: Any, column: str) -> str:
    if isinstance(value, (dict, list, bytes)):
        raise Rejected("bad_field", f"{column} is no single value")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # pandas turns whole numbers with gaps into floats
    return str(value)


def _number(value: Any, column: str) -> Decimal:
    if isinstance(value, bool):
        raise Rejected("bad_number", f"{column} is no number")
    return moments.decimal(str(value), column)


def _whole(number: Decimal, column: str, *, reason: str = "bad_number") -> int:
    if number != number.to_integral_value():
        raise Rejected(reason, f"{column} is no whole number")
    if not INT64_MIN <= number <= INT64_MAX:
        raise Rejected("overflow", f"{column} does not fit 64 bits")
    return int(number)


def _integer(value: Any, column: str) -> int:
    return _whole(_number(value, column), column)


def _money(value: Any, column: str, digits: int) -> int:
    """Turn an amount in major units into minor ones, exactly, or not at all."""
    return _not_negative(_whole(_number(value, column).scaleb(digits), column, reason="fraction_of_minor_unit"), column)


def _minor(value: Any, column: str) -> int:
    return _not_negative(_integer(value, column), column)


def _not_negative(amount: int, column: str) -> int:
    if amount < 0:
        raise Rejected("negative_amount", f"{column} is negative; make a refund an event of its own type")
    return amount


def _boolean(value: Any, column: str) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in TRUE + FALSE:
        raise Rejected("bad_field", f"{column} is neither true nor false")
    return word in TRUE


def _seconds(microseconds: int) -> Any:
    whole, rest = divmod(microseconds, moments.SECOND)
    return Decimal(microseconds) / moments.SECOND if rest else whole


KINDS: dict[str, Callable[[Any, str], Any]] = {
    "text": _text,
    "integer": _integer,
    "minor": _minor,
    "decimal": lambda value, column: format(_number(value, column), "f"),
    "boolean": _boolean,
}
ALL_KINDS = (*KINDS, "money", "time", *PERSONAL)


def _field(given: Any) -> dict[str, Any]:
    return {"column": given, "as": "text"} if isinstance(given, str) else {"as": "text", **given}


def check(options: Mapping[str, Any]) -> None:
    """Refuse a mapping that cannot work, saying what is missing and what is possible."""
    columns, fields = options.get("columns"), options.get("fields")
    if not isinstance(columns, dict) or not isinstance(fields, dict) or not fields:
        raise UsageError(
            "this source has no column mapping. Give it the tables [sources.NAME.columns] (event_id and "
            "event_timestamp at least) and [sources.NAME.fields] (what to keep) in lifecycle.toml; "
            "docs/your-own-data.md shows one."
        )
    for name in columns:
        if name not in REQUIRED + OPTIONAL:
            raise unknown("entry of [sources.NAME.columns]", name, REQUIRED + OPTIONAL)
    identity = columns.get("event_id", "")
    if not isinstance(identity, str) and (
        not isinstance(identity, list) or not all(isinstance(c, str) for c in identity)
    ):
        raise UsageError(
            f"columns.event_id is {identity!r}; write one column, or a list of those that tell facts apart."
        )
    missing = [name for name in REQUIRED if not columns.get(name)]
    if missing:
        raise UsageError(f"[sources.NAME.columns] does not say which column is {' and which is '.join(missing)}.")
    if ("type" in columns) == ("type" in options):
        raise UsageError('name the type once: type = "payment.made" for all rows, or the column in columns.type.')
    for name, given in fields.items():
        _check_field(name, given)
    delimiter = options.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise UsageError(f"delimiter is {delimiter!r}; it must be one character, such as ';'.")
    if options.get("time_zone", "UTC") != moments.OFFSET:
        moments.time_zone(options.get("time_zone", "UTC"))


def _check_field(name: str, given: Any) -> None:
    if not isinstance(given, (str, dict)) or (isinstance(given, dict) and "column" not in given):
        raise UsageError(f'fields.{name} is {given!r}; write "column", or {{column = "...", as = "..."}}.')
    one = _field(given)
    if one["as"] not in ALL_KINDS:
        raise unknown(f"kind of fields.{name}", str(one["as"]), ALL_KINDS)
    digits = one.get("digits", 2)
    if isinstance(digits, bool) or not isinstance(digits, int) or not 0 <= digits <= MOST_DIGITS:
        raise UsageError(f"fields.{name} has digits = {digits!r}; it must be a whole number from 0 to {MOST_DIGITS}.")


def _needed(options: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    columns = options["columns"].values()
    named = [one for given in columns for one in ([given] if isinstance(given, str) else given)]
    named += [_field(one)["column"] for one in options["fields"].values()]
    return tuple((name,) for name in dict.fromkeys(named))


SOURCE = Source(formats=("csv", "parquet", "ndjson"), convert=convert, columns=_needed, check=check)
