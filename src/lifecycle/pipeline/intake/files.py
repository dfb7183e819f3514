"""
Reading a file in chunks of records, and refusing what is not a file of the form it should be.

A file's form is told by its content: gzip and Parquet by their first bytes; text by its name's ending (.csv, .tsv,
.ndjson, .jsonl, .json, with or without .gz), else by whether it begins with a brace.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lifecycle.errors import IntakeError
from lifecycle.pipeline.intake.adapter import PLACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lifecycle.pipeline.intake.adapter import Format, Source

GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
BOM = b"\xef\xbb\xbf"
BLOCK_BYTES = 8 << 20
LONGEST_LINE = 64 << 20
_ENDINGS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson",
}  # fmt: skip


@dataclass(frozen=True)
class Spoiled:
    """A record that cannot even be read: its place, the reason, a sentence, and the bytes as they came."""

    place: int
    reason: str
    detail: str
    record: bytes


@dataclass(frozen=True)
class Chunk:
    """
    Some of a file's records.

    table: the readable ones, as `adapter` describes it. spoiled: the others. record: a row of the table → the
    bytes to keep of it in quarantine.
    """

    table: pa.Table
    spoiled: list[Spoiled]
    record: Callable[[int], bytes]

    def record_at(self, place: int) -> bytes:
        """Return the record that stands at `place` of the file."""
        places = self.table[PLACE].to_numpy()
        return self.record(int(np.searchsorted(places, place)))


class Reached:
    """The last line or row that was read, for errors."""

    def __init__(self, path: Path, unit: str = "line") -> None:
        self.path = path
        self.unit = unit
        self.place = 0

    def refuse(self, cause: str, place: int | None = None) -> IntakeError:
        """Return the error that refuses the file, naming it, the place and the cause."""
        where = self.place if place is None else place
        return IntakeError(
            f"{self.path}, {self.unit} {where}: {cause}. Nothing of this file was taken in; files before it stay."
        )


def chunks(path: Path, source: Source, options: dict[str, Any]) -> Iterator[Chunk]:
    """Yield a file's records for an adapter; IntakeError when the file is not what the adapter reads."""
    parts = _chunks(path, source, options)
    if source.whole_file:
        yield from _joined(parts)
    else:
        yield from parts


def _chunks(path: Path, source: Source, options: dict[str, Any]) -> Iterator[Chunk]:
    from lifecycle.pipeline.intake import tabular

    form = _form(path, source)
    reached = Reached(path, "row" if form == "parquet" else "line")
    if form == "parquet":
        yield from tabular.parquet_chunks(path, source, options, reached)
        return
    with _opened(path, reached) as stream:
        if form == "csv":
            yield from tabular.csv_chunks(stream, source, options, reached)
        else:
            for places, lines in _numbered_lines(stream, reached):
                if lines:
                    yield _line_chunk(places, lines)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def refuse_no_file(path: Path) -> None:
    """Raise IntakeError for a folder, a missing or unreadable file, and one of no bytes."""
    if path.is_dir():
        raise IntakeError(
            f"{path} is a folder, not a file. Name its files, in the order they were made, such as: {path}/*.ndjson.gz"
        )
    try:
        with path.open("rb") as stream:
            first = stream.read(1)
    except FileNotFoundError as error:
        raise IntakeError(f"{path} does not exist. Check the path; it is taken from the working folder.") from error
    except OSError as error:
        raise IntakeError(f"{path} cannot be read: {error.strerror}. Check its owner and mode.") from error
    if not first:
        raise Reached(path).refuse("the file is empty (0 bytes)")


def _form(path: Path, source: Source) -> Format:
    with path.open("rb") as stream:
        magic = stream.read(len(PARQUET_MAGIC))
    form: Format
    if magic == PARQUET_MAGIC:
        form = "parquet"
    elif len(source.formats) == 1 and source.formats[0] != "parquet":
        form = source.formats[0]
    else:
        form = _text_form(path)
    if form not in source.formats:
        raise Reached(path).refuse(
            f"this is a file of form {form}, and the source reads {' or '.join(source.formats)}", 1
        )
    return form


def _text_form(path: Path) -> Format:
    endings = [one.lower() for one in path.suffixes if one.lower() not in (".gz", ".gzip")]
    if endings and endings[-1] in _ENDINGS:
        return _ENDINGS[endings[-1]]
    with _opened(path, Reached(path)) as stream:
        return "ndjson" if stream.read(1 << 12).removeprefix(BOM).lstrip().startswith(b"{") else "csv"


@contextmanager
def _opened(path: Path, reached: Reached) -> Iterator[IO[bytes]]:
    """Open plain or gzip; what gzip finds wrong while reading becomes an IntakeError."""
    with path.open("rb") as plain:
        packed = plain.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        plain.seek(0)
        stream: Any = gzip.GzipFile(fileobj=plain) if packed else plain
        try:
            yield stream
        except EOFError as error:
            raise reached.refuse(
                "the gzip file is truncated: it ends in the middle of its data after this line. Fetch it again"
            ) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise reached.refuse(f"the gzip data is damaged after this line ({error}). Fetch it again") from error


def _numbered_lines(stream: IO[bytes], reached: Reached) -> Iterator[tuple[list[int], list[bytes]]]:
    """Yield blocks of lines that are not blank, with their numbers."""
    rest = b""
    while block := stream.read(BLOCK_BYTES):
        block = block.removeprefix(BOM) if reached.place == 0 and not rest else block
        whole, newline, tail = block.rpartition(b"\n")
        if not newline:
            rest += tail
            if len(rest) > LONGEST_LINE:
                raise reached.refuse(f"the line is longer than {LONGEST_LINE >> 20} MiB", reached.place + 1)
            continue
        lines = (rest + whole).split(b"\n")
        rest = tail
        first = reached.place + 1
        reached.place += len(lines)
        yield _without_blank(first, lines)
    if rest:
        reached.place += 1
        yield _without_blank(reached.place, [rest])


def _without_blank(first: int, lines: list[bytes]) -> tuple[list[int], list[bytes]]:
    kept = [(first + i, line) for i, line in enumerate(lines) if line and not line.isspace()]
    return [place for place, _ in kept], [line for _, line in kept]


def _line_chunk(places: list[int], lines: list[bytes]) -> Chunk:
    spoiled: list[Spoiled] = []
    try:
        texts = pa.array(lines, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        good = [_is_utf8(line) for line in lines]
        spoiled = [
            Spoiled(place, "bad_utf8", "the line is not valid UTF-8", line)
            for place, line, fine in zip(places, lines, good, strict=True)
            if not fine
        ]
        places = [place for place, fine in zip(places, good, strict=True) if fine]
        lines = [line for line, fine in zip(lines, good, strict=True) if fine]
        texts = pa.array(lines, pa.binary()).cast(pa.string())
    table = pa.table({PLACE: pa.array(places, pa.int64()), "line": texts})
    return Chunk(table, spoiled, lambda row: lines[row])


def _joined(parts: Iterator[Chunk]) -> Iterator[Chunk]:
    """Make one chunk of all, which keeps the parts' columns and nothing else of them."""
    tables, spoiled = [], []
    for part in parts:
        tables.append(part.table)
        spoiled += part.spoiled
    if tables:
        table = pa.concat_tables(tables)
        yield Chunk(table, spoiled, lambda row: _record(table, row))


def _record(table: pa.Table, row: int) -> bytes:
    values = table.slice(row, 1).drop_columns(PLACE).to_pylist()[0]
    return values["line"].encode() if list(values) == ["line"] else as_record(values)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def as_record(values: dict[str, Any]) -> bytes:
    """Write a row of a table as JSON for the quarantine."""
    return json.dumps(values, ensure_ascii=False, default=str).encode(errors="surrogateescape")
