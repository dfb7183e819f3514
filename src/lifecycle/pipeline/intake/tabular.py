"""Reading CSV and Parquet in chunks: the columns an adapter names, under the names it knows them by."""

from __future__ import annotations

import csv
import io
from difflib import get_close_matches
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lifecycle.pipeline.intake.adapter import PLACE
from lifecycle.pipeline.intake.files import Chunk, Spoiled, as_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from lifecycle.pipeline.intake.adapter import Source
    from lifecycle.pipeline.intake.files import Reached

ROWS = 50_000
DELIMITER = ","
_SURROGATES = ("\udc80", "\udcff")


def csv_chunks(stream: IO[bytes], source: Source, options: dict[str, Any], reached: Reached) -> Iterator[Chunk]:
    """Yield a CSV file's rows; empty fields are NULL."""
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=options.get("delimiter", DELIMITER), strict=True)
    try:
        header = _header(reader, reached)
        wanted = _resolve(header, source.columns(options), reached)
        rows = _csv_rows(reader, lines, len(header), reached)
        while part := list(islice(rows, ROWS)):
            yield _csv_chunk(part, header, wanted)
    finally:
        text.detach()  # whoever opened the stream closes it


def parquet_chunks(path: Path, source: Source, options: dict[str, Any], reached: Reached) -> Iterator[Chunk]:
    """Yield a Parquet file's rows; times finer than a microsecond are rounded up."""
    try:
        with pq.ParquetFile(path) as file:
            wanted = _resolve(file.schema_arrow.names, source.columns(options), reached)
            batches = file.iter_batches(batch_size=ROWS, columns=list(wanted))
            for batch in batches:
                yield _parquet_chunk(pa.Table.from_batches([batch]), wanted, reached.place)
                reached.place += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise reached.refuse(f"the Parquet file is damaged after this row ({error})") from error


class _Lines:
    """Lines of text, remembering those of the record being read."""

    def __init__(self, stream: Iterable[str]) -> None:
        self._stream = iter(stream)
        self.current: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._stream)
        self.current.append(line)
        return line


def _header(reader: Any, reached: Reached) -> list[str]:
    try:
        names: list[str] = next(reader, [])
    except csv.Error as error:
        raise reached.refuse(f"the header cannot be read as CSV ({error})", 1) from error
    return [name.strip() for name in names]


def _csv_rows(reader: Any, lines: _Lines, width: int, reached: Reached) -> Iterator[tuple[int, list[str] | Spoiled]]:
    """Yield (line, row); a row that is no CSV or has another number of fields comes as Spoiled."""
    while True:
        lines.current.clear()
        reached.place = place = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            if "unexpected end" in str(error) or "field larger" in str(error):
                raise reached.refuse("a quote that opens in this record never closes", place) from error
            raw = "".join(lines.current).encode(errors="surrogateescape")
            yield place, Spoiled(place, "bad_csv", "the line is no CSV: a quote closes inside a field", raw)
            continue
        if row is None:
            return
        if len(row) == width:
            yield place, row
        elif row:
            raw = "".join(lines.current).encode(errors="surrogateescape")
            detail = f"the row has {len(row)} fields, the header {width}"
            yield place, Spoiled(place, "wrong_field_count", detail, raw)


def _csv_chunk(part: list[tuple[int, Any]], header: list[str], wanted: dict[str, str]) -> Chunk:
    spoiled = [row for _, row in part if isinstance(row, Spoiled)]
    rows = [(place, row) for place, row in part if not isinstance(row, Spoiled)]
    try:
        table = _columns(rows, header, wanted)
    except UnicodeEncodeError:
        bad = [(place, row) for place, row in rows if _is_spoiled("".join(row))]
        rows = [(place, row) for place, row in rows if not _is_spoiled("".join(row))]
        spoiled += [
            Spoiled(place, "bad_utf8", "the row is not valid UTF-8", as_record(dict(zip(header, row, strict=True))))
            for place, row in bad
        ]
        table = _columns(rows, header, wanted)
    return Chunk(table, spoiled, lambda at: as_record(dict(zip(header, rows[at][1], strict=True))))


def _columns(rows: list[tuple[int, list[str]]], header: list[str], wanted: dict[str, str]) -> pa.Table:
    places = pa.array([place for place, _ in rows], pa.int64())
    columns = list(zip(*(row for _, row in rows), strict=True)) or [()] * len(header)
    # All columns are encoded, so that a bad byte in a column nobody wants is found whatever is wanted.
    arrays = {name: pa.array(column, pa.string()) for name, column in zip(header, columns, strict=True)}
    given = {wanted[name]: _null_if_empty(array) for name, array in arrays.items() if name in wanted}
    return pa.table({PLACE: places} | given)


def _null_if_empty(array: Any) -> Any:
    return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)


def _is_spoiled(text: str) -> bool:
    return any(_SURROGATES[0] <= one <= _SURROGATES[1] for one in text)


def _parquet_chunk(table: pa.Table, wanted: dict[str, str], before: int) -> Chunk:
    columns = {wanted[name]: _microseconds(table[name]) for name in wanted}
    places = pa.array(range(before + 1, before + 1 + table.num_rows), pa.int64())
    return Chunk(pa.table({PLACE: places} | columns), [], lambda row: as_record(table.slice(row, 1).to_pylist()[0]))


def _microseconds(column: Any) -> Any:
    """Round nanosecond times up; decode dictionaries, so that adapters meet plain types."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type):
        up = pc.ceil_temporal(column, unit="microsecond") if column.type.unit == "ns" else column
        return up.cast(pa.timestamp("us", column.type.tz))
    return column


def _resolve(header: list[str], needed: tuple[tuple[str, ...], ...], reached: Reached) -> dict[str, str]:
    """Return the file's column → the adapter's name, for every needed one; IntakeError for wrong columns."""
    found: dict[str, str] = {}
    for names in needed:
        here = [name for name in header if name in names]
        if len(here) > 1:
            raise reached.refuse(f"the file has the column {here[0]!r} {len(here)} times over", 1)
        if here:
            found[here[0]] = names[0]
    missing = [names for names in needed if names[0] not in found.values()]
    if missing:
        raise reached.refuse(_missing(missing, [name for name in header if name not in found], header), 1)
    return found


def _missing(missing: list[tuple[str, ...]], spare: list[str], header: list[str]) -> str:
    parts = []
    for names in missing:
        close = get_close_matches(names[0].lower(), [name.lower() for name in spare], n=1)
        guess = next((name for name in spare if close and name.lower() == close[0]), None)
        called = " or ".join(repr(name) for name in names)
        parts.append(f"{called} (is it {guess!r}?)" if guess else called)
    listed = ", ".join(repr(name) for name in header[:40]) or "none"
    return f"the columns {', '.join(parts)} are missing; the file has: {listed}"
