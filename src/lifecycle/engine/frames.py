"""
Training frames: one row per spine row, in its order, each feature as it was known at that row's time.

A frame streams: batch by batch, in row order, each view's answers are gathered and laid beside the same rows of the
spine. Answers are mapped from a file, so a frame need not fit into memory.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.engine import asof, labels, on_demand
from lifecycle.engine.grids import between_dates
from lifecycle.engine.receipts import (
    FORM,
    KEY,
    Receipt,
    definitions_part,
    spine_part,
    used_definitions,
    versions,
    write_times,
)
from lifecycle.engine.selection import select, spine_columns
from lifecycle.engine.session import BATCH_ROWS, Session
from lifecycle.engine.spines import open_spine
from lifecycle.errors import SpineError, UsageError
from lifecycle.times import to_microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from lifecycle.definitions import Definitions, KnownTime, Label
    from lifecycle.engine.asof import Answers
    from lifecycle.engine.on_demand import Computed
    from lifecycle.engine.selection import Wanted
    from lifecycle.engine.spines import Spine


KNOWN_TIMES = ("as_known", "feast")


@dataclass(frozen=True)
class _Parts:
    """
    What a frame is laid out of, besides its spine.

    rows: SQL of the spine's rows in the frame, in order, with their labels. features: for each one, the answers that
    hold it and its position in them. on_demand: what is computed of them. columns: the features of the frame, in the
    order asked for.
    """

    rows: str
    features: dict[str, tuple[Answers, int]]
    on_demand: tuple[Computed, ...]
    columns: tuple[str, ...]


class Frame:
    """
    A computed frame. `schema`: the spine's columns as they came, then features, then the label.

    `batches()` streams it; `table`, `to_pandas()` and `to_polars()` hold it. In pandas whole numbers and
    booleans of features are nullable types (Int64, boolean, ...), whether or not a value is missing.
    """

    def __init__(self, session: Session, spine: Spine, parts: _Parts, schema: pa.Schema, receipt: Receipt) -> None:
        self.schema = schema
        self.receipt = receipt
        self._session, self._spine, self._parts = session, spine, parts
        self._table: pa.Table | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Stream the frame as Arrow batches; ends when another frame method streams it anew."""
        rows = _Rows(self._spine)
        for answer in self._session.stream(self._parts.rows):
            wanted = np.asarray(answer.column(0))
            spine = rows.take(wanted)
            found = {name: held.take(wanted, position) for name, (held, position) in self._parts.features.items()}
            if self._parts.on_demand:
                found = self._computed(spine, found)
            columns = [*spine, *(found[name] for name in self._parts.columns), *answer.columns[1:]]
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _computed(self, spine: list[pa.Array], found: dict[str, pa.Array]) -> dict[str, pa.Array]:
        """Return the features with the on-demand ones, which read features and the spine's own columns."""
        rows = pa.table(dict(zip(self._spine.schema.names, spine, strict=True)) | found)
        made = on_demand.add(rows, self._parts.on_demand)
        return found | {name: _one_chunk(made[name]) for one in self._parts.on_demand for name in one.names}

    @property
    def table(self) -> pa.Table:
        """The frame as an Arrow table."""
        if self._table is None:
            self._table = pa.Table.from_batches(self.batches(), self.schema)
        return self._table

    def write_parquet(self, path: str | Path) -> Path:
        """
        Write one Parquet file with the receipt in its metadata (`lifecycle.receipt`), without holding the frame.

        The same frame gives the same bytes. The file appears when it is whole.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".part")
        try:
            with (
                pq.ParquetWriter(partial, self.schema, compression="snappy", version="2.6") as writer,
                ThreadPoolExecutor(1) as beside,  # one group is encoded while the next is laid out
            ):
                written: Future[None] | None = None
                for group in _groups(self.batches() if self._table is None else iter(self._table.to_batches())):
                    if written is not None:
                        written.result()
                    written = beside.submit(writer.write_table, group, row_group_size=BATCH_ROWS)
                if written is not None:
                    written.result()
                writer.add_key_value_metadata({KEY: self.receipt.to_json().encode()})
            partial.replace(target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()
        return target

    def to_pandas(self) -> Any:
        """Return a pandas frame; a pandas spine's columns, dtypes and index come back as they were."""
        if self._spine.kind != "pandas":
            return self.table.to_pandas(types_mapper=_nullable)
        import pandas as pd

        native = self._spine.native
        kept = self._kept()
        left = native if kept is None else native.iloc[kept]
        answers = self._answers().to_pandas(types_mapper=_nullable)
        answers.index = left.index
        return pd.concat([left, answers], axis=1)

    def to_polars(self) -> Any:
        """Return a Polars frame; a Polars spine's columns and dtypes come back as they were."""
        import polars as pl

        if self._spine.kind != "polars":
            return pl.from_arrow(self.table)
        kept = self._kept()
        native = self._spine.native
        left = native if kept is None else native[kept]
        answers = self._answers()
        return left.hstack(pl.DataFrame(pl.from_arrow(answers)).get_columns()) if answers.num_columns else left

    def _answers(self) -> pa.Table:
        return self.table.select(self.schema.names[len(self._spine.schema) :])

    def _kept(self) -> list[int] | None:
        """Return the spine's rows that are in the frame, or None for all."""
        if self.receipt["rows"] == self._spine.rows:
            return None
        return [row for (row,) in self._session.rows("SELECT row FROM spine ORDER BY row")]


def training_frame(
    connection: Any,
    definitions: Definitions,
    spine: Any,
    *,
    features: str | Sequence[str],
    label: str | None = None,
    known_time: KnownTime | None = None,
    full_feature_names: bool = False,
    keep_immature: bool = False,
    watermarks: Mapping[str, datetime] | None = None,
    release: int | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Frame:
    """
    Compute a frame over the lake attached to `connection` as `lake`.

    spine: see `lifecycle.engine.spines.open_spine`; None with `start` and `end` (UTC) takes every moment between
    them at which a state changed. features: a service's name, or a list of "view:feature"
    and "view". label: a label's name; rows on which it is not mature are left out and counted in the receipt,
    or kept with NULL and a column `<label>_status` when `keep_immature`. known_time: None takes the
    definitions' own. watermarks: per source, UTC; needed for a label. release: its number, for the receipt.

    Raises UsageError for unknown names and clashing columns, SpineError for a spine that cannot be answered.
    """
    mode = known_time or definitions.known_time
    if mode not in KNOWN_TIMES:
        raise UsageError(f"known_time is {mode!r}; it can be {' or '.join(KNOWN_TIMES)}.")
    wanted = select(definitions, features, full_feature_names=full_feature_names)
    about = definitions.label(label) if label is not None else None
    asof.load_kernels(wanted.selections)
    session = Session(connection)
    if spine is None:
        spine = _by_dates(session, wanted, mode, start, end)
    given = open_spine(session, spine)
    made = [*wanted.columns, *_label_columns(about, keep_immature=keep_immature)]
    _refuse_clash(given, made)
    on_demand.require(given.schema.names, wanted.on_demand)
    keys = spine_columns(wanted.selections)
    keys += [one for one, _ in about.join_keys if one not in keys] if about is not None else []
    given.load(session, keys)
    judged = labels.judge(session, about, keys, watermarks) if about is not None else None
    if judged is not None and not keep_immature:
        session.run(f"DELETE FROM spine WHERE row IN (SELECT row FROM label WHERE status <> '{labels.MATURE}')")
    answers = asof.join(session, wanted.selections, keys, mode, given.rows)
    places = _places(wanted, answers)
    parts = _Parts(_rows_query(about, keep_immature=keep_immature), places, wanted.on_demand, wanted.columns)
    schema = _schema(session, given, parts, made)
    request = {
        "features": features if isinstance(features, str) else list(features),
        "label": label,
        "known_time": mode,
        "full_feature_names": full_feature_names,
        "keep_immature": keep_immature,
    }
    decided = {
        "form": FORM,
        "release": release,
        "request": request,
        "label": asdict(judged) if judged is not None else None,
        "watermarks": write_times(watermarks),
        "not_final": _not_final(session, wanted, watermarks),
        "rows": session.value("SELECT count(*) FROM spine"),
        "schema": [[one.name, str(one.type)] for one in schema],
        "packages": versions(session.value("SELECT version()")),
    }
    used = used_definitions(definitions, wanted, label)
    return Frame(session, given, parts, schema, Receipt(decided | spine_part(given) | definitions_part(used)))


def _by_dates(session: Session, wanted: Wanted, mode: KnownTime, start: datetime | None, end: datetime | None) -> str:
    if start is None or end is None:
        raise UsageError("without a spine, name the dates to take rows between: start and end.")
    return between_dates(session.cursor, wanted.selections, mode, start, end)


class _Rows:
    """The spine's columns at ascending row numbers, read forward once."""

    def __init__(self, spine: Spine) -> None:
        self._batches = spine.open(BATCH_ROWS)
        self._schema = spine.schema
        self._held = pa.Table.from_batches([], spine.schema)
        self._start = 0

    def take(self, rows: np.ndarray[Any, Any]) -> list[pa.Array]:
        """Return the columns at `rows`, which follow those taken before."""
        if not len(rows):
            return [pa.array([], one.type) for one in self._schema]
        first, last = int(rows[0]), int(rows[-1])
        self._advance(first, last)
        held = self._held.slice(first - self._start, last - first + 1)
        if len(held) != len(rows):
            held = held.take(pa.array(rows - first))
        return [_one_chunk(column) for column in held.columns]

    def _advance(self, first: int, last: int) -> None:
        arrived = []
        end = self._start + self._held.num_rows
        while end <= last:
            batch = next(self._batches)
            end += batch.num_rows
            arrived.append(batch)
        known = self._held.slice(min(first - self._start, self._held.num_rows))
        joined = pa.concat_tables([known, pa.Table.from_batches(arrived, self._schema)])
        self._start, self._held = end - joined.num_rows, joined


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Regroup batches into tables of BATCH_ROWS rows, so that row groups do not depend on how rows arrive."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        while rows >= BATCH_ROWS:
            table = pa.Table.from_batches(held)
            yield table.slice(0, BATCH_ROWS)
            held, rows = table.slice(BATCH_ROWS).to_batches(), rows - BATCH_ROWS
    if rows:
        yield pa.Table.from_batches(held)


def _label_columns(label: Label | None, *, keep_immature: bool) -> list[str]:
    if label is None:
        return []
    return [label.name, f"{label.name}_status"] if keep_immature else [label.name]


def _refuse_clash(spine: Spine, made: Sequence[str]) -> None:
    clash = [name for name in made if name in spine.schema.names]
    if clash:
        raise SpineError(
            f"the spine already has columns that the frame makes: {', '.join(clash)}. Rename them in the spine, "
            "leave those features out, or ask for full feature names (view__feature)."
        )
    repeated = sorted({name for name in made if list(made).count(name) > 1})
    if repeated:
        raise UsageError(f"the label and a feature would share the column {', '.join(repeated)}.")


def _places(wanted: Wanted, answers: Sequence[Answers]) -> dict[str, tuple[Answers, int]]:
    """Return, for each stored or window feature, the answers that hold it and its position in them."""
    return {
        name: (found, position)
        for found, one in zip(answers, wanted.selections, strict=True)
        for position, name in enumerate(one.names)
    }


def _rows_query(label: Label | None, *, keep_immature: bool) -> str:
    """Return SQL of the rows that are in the frame and their labels, in row order."""
    if label is None:
        return "SELECT row FROM spine ORDER BY row"
    status = ", label.status AS status" if keep_immature else ""
    return f"SELECT s.row, label.label AS answer{status} FROM spine AS s JOIN label ON s.row = label.row ORDER BY s.row"


def _schema(session: Session, spine: Spine, parts: _Parts, made: Sequence[str]) -> pa.Schema:
    kinds = {name: answers.table.schema.types[position] for name, (answers, position) in parts.features.items()}
    kinds |= {name: kind for one in parts.on_demand for name, kind in one.types.items()}
    types = [kinds[name] for name in parts.columns]
    types += session.stream(f"{parts.rows} LIMIT 0").schema.types[1:]
    return pa.schema([*spine.schema, *(pa.field(name, dtype) for name, dtype in zip(made, types, strict=True))])


def _not_final(session: Session, wanted: Wanted, watermarks: Mapping[str, datetime] | None) -> int | None:
    """Count rows later than the watermarks of the views' sources (all sources, where a view names none)."""
    if not watermarks:
        return None
    named = [one.view.sources for one in wanted.selections]
    sources = set().union(*named) if all(named) else set(watermarks)
    until = min((at for source, at in watermarks.items() if source in sources), default=None)
    if until is None:
        return None
    return int(session.value(f"SELECT count(*) FROM spine WHERE epoch_us(t) > {to_microseconds(until)}"))


def _nullable(dtype: pa.DataType) -> Any:
    import pandas as pd

    if pa.types.is_boolean(dtype):
        return pd.BooleanDtype()
    if not pa.types.is_integer(dtype):
        return None
    return getattr(pd, f"{'U' if pa.types.is_unsigned_integer(dtype) else ''}Int{dtype.bit_width}Dtype")()
