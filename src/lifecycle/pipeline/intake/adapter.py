"""
What an adapter is: pure row-level Python that turns a source's records into events. Table in, tables out.

An adapter lives in the project (`transformations/sources/`) and is named in `lifecycle.toml` as
`adapter = "package.module:SOURCE"`, where `SOURCE` is a `Source`. Intake reads the file, calls `convert` for each
chunk, and does all the rest: it hashes, drops repeats, settles versions, encrypts what was rejected and writes the
lake. An adapter does no I/O, asks no clock and knows neither DuckDB nor Feast.

A chunk is an Arrow table whose first column, `PLACE` (int64), says where a record stands in its file: the line of
a text file, the row of a Parquet file, from 1. Beside it stand
- `line` (string), one JSON text a row, for newline-delimited JSON, or
- the file's columns: string for CSV (an empty field is NULL), the file's own types for Parquet, with nanosecond
  times already rounded up to the microsecond.

Each record ends as an event or as a rejection, never as both and never as neither: intake counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Format = Literal["ndjson", "csv", "parquet"]

PLACE = "#place"
"""The chunk's column of places; the sign keeps it apart from a file's own columns."""

EVENTS = pa.schema(
    [
        ("place", pa.int64()),
        ("event_id", pa.string()),
        ("revision", pa.int64()),
        ("retracted", pa.bool_()),
        ("type", pa.string()),
        ("event_timestamp", pa.int64()),
        ("received_at", pa.int64()),
        ("sequence", pa.int64()),
        ("payload", pa.string()),
        ("content", pa.string()),
    ]
)
"""
What `convert` returns of accepted records. Times are microseconds since 1970-01-01 UTC. `received_at` is NULL for
a bare record: intake then takes `event_timestamp` plus the source's `delay_seconds`. `content` is what the content
hash covers where that is less than the payload, else NULL.
"""

REJECTED = pa.schema([("place", pa.int64()), ("reason", pa.string()), ("detail", pa.string())])
"""What `convert` returns of rejected records. `detail` is a sentence that holds no value of the record."""


class Rejected(Exception):  # noqa: N818  it is a verdict on a record, not a fault of the program
    """A record cannot become an event: `reason` is a code such as `bad_time`, `detail` a sentence without values."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Context:
    """
    What an adapter is given beside the records.

    options: the source's table of `lifecycle.toml`. tokenise: (kind, value) → keyed hash, 32 hex characters; equal
    values of one kind have equal hashes.
    """

    options: Mapping[str, Any]
    tokenise: Callable[[str, str], str]


@dataclass(frozen=True)
class Converted:
    """A chunk's events (schema EVENTS), its rejections (REJECTED), and how many mutable fields were dropped."""

    events: pa.Table
    rejected: pa.Table
    dropped_fields: int = 0


@dataclass(frozen=True)
class Source:
    """
    An adapter: what it reads, and the function that reads it.

    formats: the file formats it takes. convert: a chunk and the context → events and rejections.
    columns: the columns a CSV or Parquet file must have, by the source's options; each is a tuple of the names it
    may go by, the first of which `convert` sees. whole_file: `convert` is given the file as one chunk.
    check: raises UsageError for options that cannot work, before any file is opened.
    """

    formats: tuple[Format, ...]
    convert: Callable[[pa.Table, Context], Converted]
    columns: Callable[[Mapping[str, Any]], tuple[tuple[str, ...], ...]] = lambda _: ()
    whole_file: bool = False
    check: Callable[[Mapping[str, Any]], None] = lambda _: None


@dataclass
class Collector:
    """Gathers events and rejections row by row; `converted` returns them as tables."""

    dropped_fields: int = 0
    _events: list[tuple[Any, ...]] = field(default_factory=list)
    _rejected: list[tuple[int, str, str]] = field(default_factory=list)

    def accept(
        self,
        place: int,
        event_id: str,
        kind: str,
        event_timestamp: int,
        payload: str,
        *,
        revision: int | None = None,
        retracted: bool = False,
        received_at: int | None = None,
        sequence: int | None = None,
    ) -> None:
        """Add an event of type `kind`; times in microseconds since 1970-01-01 UTC."""
        self._events.append(
            (place, event_id, revision, retracted, kind, event_timestamp, received_at, sequence, payload, None)
        )

    def reject(self, place: int, verdict: Rejected) -> None:
        """Add a rejection."""
        self._rejected.append((place, verdict.reason, verdict.detail))

    def converted(self) -> Converted:
        """Return all that was gathered, as tables."""
        return Converted(_table(self._events, EVENTS), _table(self._rejected, REJECTED), self.dropped_fields)


def _table(rows: list[Any], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    arrays = [pa.array(column, one.type) for column, one in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
