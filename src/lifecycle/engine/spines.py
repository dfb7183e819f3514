"""
Spines: the rows that a frame answers, whatever holds them.

A spine's columns never pass through DuckDB. Only row number, time and keys do; the answers come back in row
order and are laid beside the spine's own Arrow columns, so that what a user put in comes out untouched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lifecycle.engine.content import ContentHash
from lifecycle.engine.session import BATCH_ROWS
from lifecycle.errors import SpineError
from lifecycle.lake.connection import ALIAS, QUERY_ERRORS
from lifecycle.names import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lifecycle.engine.session import Session

TIME = "event_timestamp"
SHOWN_ROWS = 5
_LOAD_ROWS = 1_000_000
_SQL = re.compile(r"(select|with|from|values)[\s(*'\"]|\(", re.IGNORECASE)
_OBSERVED = pa.timestamp("us", "UTC")


@dataclass
class Spine:
    """
    Rows to answer: `schema` as they came, `time` the column of observation times.

    kind: pandas, polars, arrow, parquet, sql or dates. reference: the path or SQL by which it can be had
    again. native: the pandas or Polars frame it came as. rows and hash are known once it is loaded.
    """

    schema: pa.Schema
    time: str
    kind: str
    open: Callable[[int], Iterator[pa.RecordBatch]]
    reference: str | None = None
    native: Any = None
    rows: int = 0
    hash: str = ""
    column_hashes: list[list[str]] = field(default_factory=list)

    def load(self, session: Session, keys: Sequence[str]) -> None:
        """
        Put (row, t, keys) into the session's table `spine` and take the content's hash, in one pass.

        row: BIGINT from 0. t: TIMESTAMPTZ, nanoseconds rounded down. Keys are named k0, k1, ... in the order
        given. Raises SpineError for a missing key column and for a NULL time.
        """
        for key in keys:
            if key not in self.schema.names:
                raise SpineError(
                    f"the spine has no column {key!r}, which the features are keyed by. "
                    f"It has: {', '.join(self.schema.names)}."
                )
        digest = ContentHash(self.schema)
        session.append("spine", self._narrow(_empty(self.schema), keys, 0))
        for batch in self.open(_LOAD_ROWS):
            digest.update(batch)
            session.append("spine", self._narrow(batch, keys, self.rows))
            self.rows += batch.num_rows
        self.hash, self.column_hashes = digest.hexdigest(), digest.columns()

    def _narrow(self, batch: pa.RecordBatch, keys: Sequence[str], start: int) -> pa.Table:
        observed = observation_times(batch.column(self.time), self.time, start)
        rows = pa.array(np.arange(start, start + batch.num_rows, dtype=np.int64))
        columns = {"row": rows, "t": observed}
        for position, key in enumerate(keys):
            columns[f"k{position}"] = _key(batch.column(key))
        return pa.table(columns)


def open_spine(session: Session, given: Any) -> Spine:
    """
    Take a spine as pandas, Polars, Arrow (table, batch, reader), Parquet path or SQL.

    The time column is `event_timestamp`; without one, the only column of a time type (Feast's rule).
    Raises SpineError when there is none, and when the columns cannot be told apart.
    """
    native: Any = None
    reference: str | None = None
    if isinstance(given, (str, Path)):
        kind, schema, opened, reference = _named(session, given)
    elif isinstance(given, pa.RecordBatchReader):
        kind, (schema, opened) = "arrow", _spooled(session, given)
    else:
        kind, table, native = _in_memory(given)
        schema, opened = table.schema, _batches_of(table)
    _refuse_repeated(schema.names)
    return Spine(schema, time_column(schema), kind, opened, reference, native)


def time_column(schema: pa.Schema) -> str:
    """Return the spine's column of observation times."""
    if TIME in schema.names:
        return TIME
    times = [one.name for one in schema if pa.types.is_timestamp(one.type)]
    if len(times) == 1:
        return str(times[0])
    found = f"several time columns ({', '.join(times)})" if times else "no time column"
    raise SpineError(
        f"the spine has no column {TIME!r} and {found}. Name the time at which each row is observed {TIME!r}. "
        f"It has: {', '.join(schema.names)}."
    )


def observation_times(array: pa.Array, name: str, start: int = 0) -> pa.Array:
    """
    Return observation times as timestamp[us, UTC]: naive times are UTC, dates midnight UTC.

    Nanoseconds round down, so that rounding never lets a fact in. Raises SpineError for NULL and other types.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("us"))
    if array.null_count:
        rows = np.flatnonzero(pc.is_null(array)) + start
        shown = ", ".join(str(row) for row in rows[:SHOWN_ROWS])
        more = ", ..." if len(rows) > SHOWN_ROWS else ""
        raise SpineError(
            f"{name} is NULL in {len(rows)} rows of the spine (rows {shown}{more}, counted from 0). "
            "A feature has no value without a time: fill the times in, or leave those rows out."
        )
    if not pa.types.is_timestamp(array.type):
        if len(array) == 0 and pa.types.is_null(array.type):
            return pa.array([], _OBSERVED)
        raise SpineError(
            f"{name} is of type {array.type}; a spine's times are timestamps or dates. "
            "Convert it first, for instance with pandas.to_datetime(..., utc=True)."
        )
    if array.type.unit == "ns":
        whole = np.floor_divide(np.asarray(array.cast(pa.int64())), 1000)
        return pa.array(whole, pa.int64()).cast(_OBSERVED)
    return array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64()).cast(_OBSERVED)


def _key(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(pa.float32()) if pa.types.is_float16(array.type) else array


def _named(
    session: Session, given: str | Path
) -> tuple[str, pa.Schema, Callable[[int], Iterator[pa.RecordBatch]], str]:
    text = str(given).strip()
    if isinstance(given, str) and _SQL.match(text):
        return ("sql", *_of_query(session, text), text)
    path = Path(text)
    if not path.is_file():
        raise SpineError(
            f"{text!r} is neither a Parquet file nor SQL. A spine is a pandas, Polars or Arrow table, "
            "the path of a Parquet file, or a query that begins with SELECT, WITH or FROM."
        )
    try:
        schema = pq.read_schema(path)
    except pa.ArrowInvalid as error:
        raise SpineError(f"{path} is no Parquet file: {error}") from error
    return "parquet", schema.remove_metadata(), _batches_in(path), str(path)


def _of_query(session: Session, sql: str) -> tuple[pa.Schema, Callable[[int], Iterator[pa.RecordBatch]]]:
    """Run a query on the caller's connection, so that it sees the caller's own tables besides the lake's."""
    connection = session.connection
    database, schema = connection.execute("SELECT current_database(), current_schema()").fetchone()
    connection.execute(f"USE {quote(ALIAS)}")
    try:
        try:
            return _spooled(session, connection.execute(sql).to_arrow_reader(BATCH_ROWS))
        except QUERY_ERRORS as error:
            # A thread that was stopped for another one's error may be heard first; asked again, DuckDB tells the error.
            if "INTERRUPT" not in str(error):
                raise
        return _spooled(session, connection.execute(sql).to_arrow_reader(BATCH_ROWS))
    except QUERY_ERRORS as error:
        raise SpineError(f"the spine's query fails: {error}\nQuery: {sql}") from error
    finally:
        connection.execute(f"USE {quote(database)}.{quote(schema)}")


def _in_memory(given: Any) -> tuple[str, pa.Table, Any]:
    module = type(given).__module__.partition(".")[0]
    if isinstance(given, pa.RecordBatch):
        return "arrow", _bare(pa.Table.from_batches([given])), None
    if isinstance(given, pa.Table):
        return "arrow", _bare(given), None
    if module == "pandas" and hasattr(given, "iloc"):
        frame = given.copy()  # the frame is computed later than this call, and pandas frames change in place
        _refuse_repeated(list(frame.columns))
        try:
            return "pandas", _bare(pa.Table.from_pandas(frame, preserve_index=False)), frame
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise SpineError(
                f"a column of the spine has no Arrow type: {error}. Convert it, or leave it out."
            ) from error
    if module == "polars":
        frame = given.collect() if hasattr(given, "collect") else given
        return "polars", _bare(frame.to_arrow(compat_level=_oldest())), frame
    raise SpineError(
        f"a spine cannot be a {type(given).__name__}. Give a pandas, Polars or Arrow table, the path of a "
        "Parquet file, or a query that begins with SELECT, WITH or FROM."
    )


def _oldest() -> Any:
    import polars as pl

    return pl.CompatLevel.oldest()


def _bare(table: pa.Table) -> pa.Table:
    # pandas' own metadata holds its version and would make the same values' bytes differ.
    return table.replace_schema_metadata(None)


def _refuse_repeated(names: Sequence[Any]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise SpineError(f"the spine's column {name!r} is named by no text. Rename it.")
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise SpineError(f"the spine has several columns called {', '.join(repeated)}. Rename all but one.")


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, one.type) for one in schema], schema=schema)


def _batches_of(table: pa.Table) -> Callable[[int], Iterator[pa.RecordBatch]]:
    return lambda size: iter(table.to_batches(max_chunksize=size))


def _batches_in(path: Path) -> Callable[[int], Iterator[pa.RecordBatch]]:
    def opened(size: int) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=min(size, BATCH_ROWS)):
                yield batch.replace_schema_metadata(None)

    return opened


def _spooled(
    session: Session, reader: pa.RecordBatchReader
) -> tuple[pa.Schema, Callable[[int], Iterator[pa.RecordBatch]]]:
    """Keep what can be read once."""
    schema = reader.schema.remove_metadata()
    return schema, _batches_of(session.spool(schema, (batch.replace_schema_metadata(None) for batch in reader)))
