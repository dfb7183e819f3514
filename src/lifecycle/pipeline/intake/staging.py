"""Gathering a file's converted chunks in two Parquet files that wait to be landed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.errors import PlatformError
from lifecycle.pipeline.intake.files import Reached
from lifecycle.pipeline.intake.relations import Staged
from lifecycle.times import from_microseconds, to_microseconds

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    from lifecycle.pipeline.intake.adapter import Converted
    from lifecycle.pipeline.intake.files import Chunk
    from lifecycle.pipeline.intake.privacy import Vault

UTC_TIME = pa.timestamp("us", "UTC")
HASH_LENGTH = 32
ROWS = 50_000
STRUCTURAL = frozenset({"bad_utf8", "not_json", "not_an_object", "bad_csv", "wrong_field_count"})
_EVENTS = pa.schema(
    [
        ("place", pa.int64()),
        ("event_id", pa.string()),
        ("revision", pa.int64()),
        ("content_hash", pa.string()),
        ("retracted", pa.bool_()),
        ("type", pa.string()),
        ("event_timestamp", UTC_TIME),
        ("known_at", UTC_TIME),
        ("sequence", pa.int64()),
        ("payload", pa.string()),
    ]
)
_REJECTIONS = pa.schema(
    [("place", pa.int64()), ("reason", pa.string()), ("detail", pa.string()), ("record", pa.binary())]
)


class Stage:
    """
    Writes chunks into `folder` and counts them.

    now: the clock at the file's beginning, UTC. delay: microseconds from a bare record's creation until the
    platform could have known it.
    """

    def __init__(self, folder: Path, vault: Vault, now: datetime, delay: int) -> None:
        self.landed = self.rejected = self.dropped_fields = 0
        self._accepted_structurally = False
        self._first_fault: tuple[int, str] | None = None
        self._folder, self._vault, self._now, self._delay = folder, vault, now, delay
        self._watermark: int | None = None
        self._writers: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for writer in self._writers.values():
            writer.close()

    def add(self, chunk: Chunk, converted: Converted) -> None:
        """Stage a chunk: its events, what the adapter rejected, and what could not be read at all."""
        events, ahead = self._known(converted.events)
        rejected = [(p, r, d, chunk.record_at(p)) for p, r, d in _rows(converted.rejected) + ahead]
        rejected += [(one.place, one.reason, one.detail, one.record) for one in chunk.spoiled]
        landed = chunk.table.num_rows + len(chunk.spoiled)
        if events.num_rows + len(rejected) != landed:
            raise PlatformError(
                f"the adapter was given {landed} records and returned {events.num_rows} events and "
                f"{len(rejected)} rejections: each record must be one of the two. Mend the adapter."
            )
        self.landed += landed
        self.rejected += len(rejected)
        self.dropped_fields += converted.dropped_fields
        self._note_faults(rejected)
        for start in range(0, events.num_rows, ROWS):
            self._write("events", _with_hashes(events.slice(start, ROWS)))
        if rejected:
            self._write("rejections", self._sealed(rejected))

    def refuse_if_nothing_fits(self, path: Path) -> None:
        """Raise IntakeError for a file without records, and for one none of whose records has the source's form."""
        if not self.landed:
            raise Reached(path).refuse("the file is empty: it holds no record")
        if not self._accepted_structurally and self._first_fault and "events" not in self._writers:
            place, detail = self._first_fault
            raise Reached(path).refuse(
                f"this is not a file of this source's form: {detail}, and none of its {self.landed:,} records fits",
                place,
            )

    def staged(self, source: str, file: str, file_hash: str) -> Staged:
        """Return what was staged, for `relations.land`."""
        latest = None if self._watermark is None else min(from_microseconds(self._watermark), self._now)
        return Staged(
            source, file, file_hash, self.landed, self.rejected, self.dropped_fields, latest, self._now,
            self._file("events"), self._file("rejections"),
        )  # fmt: skip

    def _known(self, given: pa.Table) -> tuple[pa.Table, list[tuple[int, str, str]]]:
        """Give each event its known time (microseconds); take out what claims to come from the future."""
        now = to_microseconds(self._now)
        happened = given["event_timestamp"].to_numpy()
        bare = given["received_at"].is_null().to_numpy()
        received = given["received_at"].fill_null(0).to_numpy()
        early = np.where(bare, happened, received) > now
        late = [
            (int(place), "time_ahead", "the record was created" + _AHEAD if is_bare else "the receipt time" + _AHEAD)
            for place, is_bare in zip(given["place"].to_numpy()[early], bare[early], strict=True)
        ]
        known = np.where(bare, happened + self._delay, received)
        given, known = given.filter(pa.array(~early)), known[~early]
        if len(known):
            latest = int(known.max())
            self._watermark = latest if self._watermark is None else max(latest, self._watermark)
        return given.append_column("known_at", pa.array(known, pa.int64())), late

    def _note_faults(self, rejected: list[tuple[int, str, str, bytes]]) -> None:
        for place, reason, detail, _ in rejected:
            if reason not in STRUCTURAL:
                self._accepted_structurally = True
            elif self._first_fault is None or place < self._first_fault[0]:
                self._first_fault = (place, detail)

    def _sealed(self, rejected: list[tuple[int, str, str, bytes]]) -> pa.Table:
        places, reasons, details, records = zip(*rejected, strict=True)
        columns = [places, reasons, details, [self._vault.seal(one) for one in records]]
        arrays = [pa.array(one, field.type) for one, field in zip(columns, _REJECTIONS, strict=True)]
        return pa.Table.from_arrays(arrays, schema=_REJECTIONS)

    def _write(self, name: str, table: pa.Table) -> None:
        if name not in self._writers:
            path = self._folder / f"{name}.parquet"
            self._writers[name] = pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=1)
        self._writers[name].write_table(table)

    def _file(self, name: str) -> Path | None:
        return self._folder / f"{name}.parquet" if name in self._writers else None


_AHEAD = " after the time of this run; is a clock wrong?"


def _rows(rejected: pa.Table) -> list[tuple[int, str, str]]:
    return list(zip(*(column.to_pylist() for column in rejected.columns), strict=True))


def _with_hashes(given: pa.Table) -> pa.Table:
    times = given["event_timestamp"]
    contents = given["content"].fill_null("").to_pylist()
    payloads = given["payload"].to_pylist()
    hashes = [
        content_hash(kind, time, retracted, content or payload)
        for kind, time, retracted, content, payload in zip(
            given["type"].to_pylist(),
            times.to_pylist(),
            given["retracted"].to_pylist(),
            contents,
            payloads,
            strict=True,
        )
    ]
    columns = {
        "content_hash": pa.array(hashes, pa.string()),
        "event_timestamp": times.cast(UTC_TIME),
        "known_at": given["known_at"].cast(UTC_TIME),
    }
    arrays = [columns[one.name] if one.name in columns else given[one.name] for one in _EVENTS]
    return pa.Table.from_arrays(arrays, schema=_EVENTS)


def content_hash(kind: str, event_timestamp: int, retracted: bool, content: str) -> str:
    """Hash what is kept of an event, its known time aside: 32 hexadecimal characters of SHA-256."""
    text = f"{kind}\n{event_timestamp}\n{int(retracted)}\n{content}"
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]
