"""Making a frame again from its receipt, and saying why two frames differ."""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.engine.frames import Frame, training_frame
from lifecycle.engine.receipts import FORM, KEY, Receipt, write_times
from lifecycle.engine.selection import select
from lifecycle.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from lifecycle.definitions import Label, View
    from lifecycle.engine.selection import Wanted

DEFINITIONS, LATE_DATA, SPINE, LABEL = "definitions", "late data", "spine", "label"
KNOWN_TIME, ENGINE = "known-time mode", "engine"
EITHER = f"{DEFINITIONS} or {LATE_DATA}"
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def read_receipt(given: str | Path) -> Receipt:
    """
    Read a receipt from a frame's Parquet file or from a JSON file.

    Raises UsageError when the file holds none.
    """
    path = Path(given)
    if not path.is_file():
        raise UsageError(f"there is no file {path}. Name a frame's Parquet file, or its receipt as JSON.")
    if path.suffix == ".json":
        return _receipt(path, path.read_bytes())
    try:
        found = (pq.read_metadata(path).metadata or {}).get(KEY)
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path} is neither a Parquet file nor a receipt (.json): {error}") from error
    if found is None:
        raise UsageError(f"{path} carries no receipt: it was not written by a frame.")
    return _receipt(path, found)


def _receipt(path: Path, text: bytes) -> Receipt:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{path} holds no receipt, which is JSON: {error}.") from error
    form = content.get("form") if isinstance(content, dict) else None
    if form != FORM:
        raise UsageError(f"{path} holds no receipt of form {FORM}, which this engine reads; its form is {form!r}.")
    return Receipt(content)


def rebuild(
    connection: Any, receipt: Receipt, *, spine: Any = None, watermarks: Mapping[str, datetime] | None = None
) -> Frame:
    """
    Compute a receipt's frame again on `connection`, which shows the release that the receipt names.

    spine: the spine again, where the receipt does not know how to get it (it came as a table in memory); by
    default the Parquet file or query that the receipt names. watermarks: those of the release that now bears the
    receipt's number; None takes it for the same one. The frame's Parquet file has the same bytes as the first one.
    Raises DataError that lists all that is gone: the release, other versions, another spine (and which of its
    columns), another outcome.
    """
    if watermarks is not None and write_times(watermarks) != receipt["watermarks"]:
        raise DataError(
            f"release {receipt['release']} is another one now, of a lake made anew: it held all facts up to "
            f"{receipt['watermarks']}, and now does up to {write_times(watermarks)}. The frame cannot be made again."
        )
    given = _spine_again(receipt["spine"]) if spine is None else spine
    request = receipt["request"]
    made = training_frame(
        connection,
        receipt.definitions,
        given,
        **_asked(request),
        watermarks=receipt.watermarks,
        release=receipt["release"],
    )
    if other := list(_gone(receipt.content, made.receipt.content)):
        raise DataError("the frame cannot be made again byte for byte: " + "; ".join(other) + ".")
    made.receipt = receipt  # the spine may have come from elsewhere this time
    return made


def _asked(request: dict[str, Any]) -> dict[str, Any]:
    names = ("features", "label", "known_time", "full_feature_names", "keep_immature")
    return {name: request[name] for name in names}


def _spine_again(account: dict[str, Any]) -> str:
    """Return the path or query by which the spine can be had again; raises DataError where there is none."""
    given: str | None = account["reference"]
    if given is None:
        held = f"a {account['kind']} table of {account['rows']} rows, which the receipt cannot hold"
    elif account["kind"] == "parquet" and not Path(given).is_file():
        held = f"the file {given} of {account['rows']} rows, which is not there any more"
    else:
        return given
    raise DataError(f"the spine came as {held}. Give it again; its content hash is {account['hash']}.")


def _gone(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    if then["engine"] != now["engine"]:
        yield f"it was made by engine {then['engine']}, this is {now['engine']}"
    for package, version in then["packages"].items():
        if now["packages"].get(package) != version:
            yield f"it was made with {package} {version}, here is {now['packages'].get(package)}"
    yield from _other_spine(then["spine"], now["spine"])
    for name, said in (
        ("definitions", "definitions"),
        ("rows", "number of rows"),
        ("label", "label counts"),
        ("not_final", "number of rows not final"),
        ("schema", "output columns"),
    ):
        if then[name] != now[name] and then["spine"]["hash"] == now["spine"]["hash"]:
            yield f"its {said} were {then[name]}, now {now[name]}"


def _other_spine(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    if then["rows"] != now["rows"]:
        yield f"its spine had {then['rows']} rows, the one given has {now['rows']}"
    if then["hash"] != now["hash"]:
        before = {name: rest for name, *rest in then["columns"]}
        after = {name: rest for name, *rest in now["columns"]}
        other = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        what = f"in {', '.join(other)}" if other else "in the order of its columns"
        yield f"the spine differs {what} (values, or the order of rows: a query's spine needs ORDER BY)"
    elif then["schema"] != now["schema"]:
        yield f"the spine's types were {then['schema']}, now {now['schema']}"


@dataclass(frozen=True)
class Difference:
    """
    What changed between two frames.

    cells: one row per changed cell: `row_a`, `row_b` (BIGINT, from 0), `column`, `before`, `after` (text),
    `cause`. rows: one row per row that only one frame has: `frame` (a or b), `row`, `cause`.
    """

    cells: pa.Table
    rows: pa.Table

    def summary(self) -> dict[str, int]:
        """Return counts by "column: cause" and "rows of a only: cause"."""
        counts = Counter(
            f"{column}: {cause}"
            for column, cause in zip(*(self.cells[name].to_pylist() for name in ("column", "cause")), strict=True)
        )
        counts.update(
            f"rows of {frame} only: {cause}"
            for frame, cause in zip(*(self.rows[name].to_pylist() for name in ("frame", "cause")), strict=True)
        )
        return dict(counts)


def halfway(connection: Any, a: Receipt, b: Receipt) -> Frame | None:
    """
    Return the frame of a's request and definitions on b's release, which `connection` shows; None where there is none.

    There is none where a's spine cannot be had again, or b's release does not hold what a's definitions read.
    """
    # What b's release settled, it settled as b's definitions say.
    bare = a.definitions.with_views(tuple(replace(view, settled=None) for view in a.definitions.views))
    request = a["request"]
    try:
        return training_frame(
            connection, bare, _spine_again(a["spine"]), **_asked(request), watermarks=b.watermarks, release=b["release"]
        )
    except (DataError, UsageError, OSError):
        return None


def diff(
    a: Frame | str | Path, b: Frame | str | Path, *, middle: Frame | None = None, same_facts: bool = False
) -> Difference:
    """
    Attribute each changed cell to `definitions`, `late data`, `spine` or `label`.

    Rows are matched by their spine columns, repeated rows in order. A row that one frame lacks is the spine's
    doing where the spines differ, else the label's (it matured, or its definition changed). A feature changed by
    its definition where only that differs, and by late data where only the release does; where both do, `middle`
    tells them apart: the frame of a's definitions on b's release (`halfway` makes it). Without it such cells
    say "definitions or late data". Frames asked for in two known-time modes, or made by two versions of the engine,
    say so likewise. same_facts: the releases hold the same events, so that a changed model did what no late data
    can have done: `definitions`. Raises UsageError where the frames have no spine column in common.
    """
    first, second = _taken(a), _taken(b)
    shared = [name for name in first.spine_columns if name in second.spine_columns]
    if not shared:
        raise UsageError("the frames' spines have no column in common, so their rows cannot be matched.")
    pairs, only_a, only_b = _match(first, second, shared)
    cells = list(_cells(first, second, pairs, _taken(middle) if middle is not None else None, shared))
    if same_facts:
        cells = [(*cell, DEFINITIONS if LATE_DATA in cause else cause) for *cell, cause in cells]
    cause = SPINE if first.receipt["spine"]["hash"] != second.receipt["spine"]["hash"] else LABEL
    rows = [("a", row, cause) for row in only_a] + [("b", row, cause) for row in only_b]
    return Difference(
        _table(cells, {"row_a": pa.int64(), "row_b": pa.int64()}, ("column", "before", "after", "cause")),
        _table(rows, {"frame": pa.string(), "row": pa.int64()}, ("cause",)),
    )


@dataclass(frozen=True)
class _Taken:
    table: pa.Table
    receipt: Receipt

    @property
    def spine_columns(self) -> list[str]:
        return [name for name, _ in self.receipt["spine"]["schema"]]

    @property
    def made_columns(self) -> list[str]:
        return list(self.table.column_names[len(self.spine_columns) :])

    def keys(self, names: list[str]) -> list[tuple[str, ...]]:
        return list(zip(*(_same_whatever_holds_it(self.table[name]) for name in names), strict=True))


def _same_whatever_holds_it(column: pa.ChunkedArray) -> list[str]:
    """Return values as text, equal where the spine's hash is: a time's unit and zone do not matter."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not pa.types.is_timestamp(column.type):
        return [repr(value) for value in column.to_pylist()]
    size = _NANOSECONDS[column.type.unit]
    return [repr(value if value is None else value * size) for value in column.cast(pa.int64()).to_pylist()]


def _taken(given: Frame | str | Path) -> _Taken:
    if isinstance(given, Frame):
        return _Taken(given.table, given.receipt)
    receipt = read_receipt(given)
    if Path(given).suffix == ".json":
        raise UsageError(f"{given} is a receipt, which holds no cells to compare. Name the frame's Parquet file.")
    return _Taken(pq.read_table(given), receipt)


def _match(a: _Taken, b: _Taken, names: list[str]) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    waiting: dict[tuple[str, ...], deque[int]] = defaultdict(deque)
    for row, key in enumerate(b.keys(names)):
        waiting[key].append(row)
    pairs, only_a = [], []
    for row, key in enumerate(a.keys(names)):
        if waiting[key]:
            pairs.append((row, waiting[key].popleft()))
        else:
            only_a.append(row)
    return pairs, only_a, sorted(row for rows in waiting.values() for row in rows)


def _cells(
    a: _Taken, b: _Taken, pairs: list[tuple[int, int]], middle: _Taken | None, names: list[str]
) -> Iterator[tuple[Any, ...]]:
    between = dict(_match(a, middle, names)[0]) if middle is not None else {}
    for column in dict.fromkeys([*a.made_columns, *b.made_columns]):
        before, after = _values(a, column), _values(b, column)
        halfway = _values(middle, column) if middle is not None else []
        usual = _cause(a.receipt, b.receipt, column)
        for row_a, row_b in pairs:
            old, new = before[row_a] if before else "no column", after[row_b] if after else "no column"
            if old == new:
                continue
            cause = usual
            if usual == EITHER and halfway and row_a in between:
                cause = _told_apart(old, halfway[between[row_a]], new)
            yield row_a, row_b, column, old, new, cause


def _values(frame: _Taken, column: str) -> list[str]:
    return [repr(value) for value in frame.table[column].to_pylist()] if column in frame.made_columns else []


def _told_apart(old: str, halfway: str, new: str) -> str:
    if old == halfway:
        return DEFINITIONS
    return LATE_DATA if halfway == new else f"{DEFINITIONS} and {LATE_DATA}"


def _cause(a: Receipt, b: Receipt, column: str) -> str:
    label_a, label_b = _label(a, column), _label(b, column)
    if label_a is not None or label_b is not None:
        return LATE_DATA if label_a == label_b else LABEL
    said = [(DEFINITIONS, _meaning(a, column) != _meaning(b, column))]
    said += [(KNOWN_TIME, a["request"]["known_time"] != b["request"]["known_time"])]
    said += [(ENGINE, a["engine"] != b["engine"])]
    causes = [cause for cause, differs in said if differs]
    if a["release"] != b["release"] or not causes:
        causes.append(LATE_DATA)
    return " or ".join(causes)


def _label(receipt: Receipt, column: str) -> Label | None:
    for one in receipt.definitions.labels:
        if column in {one.name, f"{one.name}_status"}:
            return one
    return None


def _meaning(receipt: Receipt, column: str) -> tuple[Any, ...]:
    """Return the definitions that make a feature column; empty for a column that is none."""
    request = receipt["request"]
    wanted = select(receipt.definitions, request["features"], full_feature_names=request["full_feature_names"])
    return _maker(wanted, column)


def _maker(wanted: Wanted, column: str) -> tuple[Any, ...]:
    for made in wanted.on_demand:
        if column in made.names:
            feature = made.view.feature(made.features[made.names.index(column)])
            inputs = [(name, dtype, *_maker(wanted, read)) for name, read, dtype in made.inputs]
            return made.view.source, made.view.function, feature, *inputs
    for one in wanted.selections:
        if column in one.names:
            return _plain(one.view, one.features[one.names.index(column)]), one.spine_keys
    return ()


def _plain(view: View, feature: str) -> View:
    """Return what of a view makes one feature: where a release settled it and the view's other features do not."""
    return replace(
        view, name="", settled=None, online=True, tags=(), features=(view.feature(feature),),
        columns=((feature, view.column_of(feature)),), windows=tuple(o for o in view.windows if o.name == feature),
    )  # fmt: skip


def _table(rows: list[tuple[Any, ...]], numbers: dict[str, Any], texts: tuple[str, ...]) -> pa.Table:
    types = {**numbers, **dict.fromkeys(texts, pa.string())}
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(types)
    arrays = [pa.array(list(values), dtype) for values, dtype in zip(columns, types.values(), strict=True)]
    return pa.table(arrays, names=list(types))
