"""
On-demand features: computed row by row from other features and from what the request brings.

One function, `add`, computes them for frames and for online reads alike. The code comes from the definitions, not
from a folder: a release computes what it computed when it was made.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lifecycle.errors import DataError, SpineError, UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lifecycle.definitions import OnDemand

TYPES = {
    "BOOLEAN": pa.bool_(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
}
TYPES |= {f"{name}[]": pa.list_(kind) for name, kind in list(TYPES.items())}


@dataclass(frozen=True)
class Computed:
    """
    An on-demand view as a frame or a read wants it.

    features, names: the outputs taken, and their columns. inputs: per argument (its name, the column that it is
    in, its DuckDB type).
    """

    view: OnDemand
    features: tuple[str, ...]
    names: tuple[str, ...]
    inputs: tuple[tuple[str, str, str], ...] = ()

    @property
    def types(self) -> dict[str, pa.DataType]:
        """The Arrow type by output column."""
        about = self.view.name
        kinds = [arrow_type(self.view.feature(one).dtype, f"{one!r} of {about!r}") for one in self.features]
        return dict(zip(self.names, kinds, strict=True))


def require(columns: Sequence[str], wanted: Sequence[Computed]) -> None:
    """Raise SpineError unless a spine's columns include what on-demand views expect to come with each row."""
    for one in wanted:
        missing = sorted({field.name for field in one.view.request} - set(columns))
        if missing:
            raise SpineError(
                f"the spine has no column {', '.join(missing)}, which on-demand view {one.view.name!r} reads. "
                f"Add it. The spine has: {', '.join(columns)}."
            )


def add(table: pa.Table, wanted: Sequence[Computed]) -> pa.Table:
    """
    Return `table` with the columns of on-demand features behind its own.

    table: any rows, with the inputs' columns. Inputs are cast to their declared types, so a column of NULLs alone
    will do. Raises UsageError where a column is missing, DataError in the function's own words where it fails or
    returns what its view does not declare.
    """
    for one in wanted:
        columns = compute(one.view, {name: _input(one, table, name, column) for name, column, _ in one.inputs})
        for feature, name in zip(one.features, one.names, strict=True):
            table = table.append_column(name, columns[feature])
    return table


def compute(view: OnDemand, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return every feature of one view as an Arrow array of its declared type.

    inputs: an Arrow array per argument. Raises DataError where the function fails or returns other features,
    another number of rows or values that its types do not hold.
    """
    return call(view, load(view), inputs)


def call(view: OnDemand, function: Callable[[pa.Table], Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `function` makes of a view's inputs, checked as `compute` says."""
    rows = pa.table(dict(inputs))
    try:
        made = function(rows)
    except (pa.ArrowException, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise DataError(f"on-demand view {view.name!r} fails: {type(error).__name__}: {error}") from error
    names = [field.name for field in view.features]
    if not isinstance(made, dict) or set(made) != set(names):
        got = ", ".join(made) if isinstance(made, dict) else type(made).__name__
        raise DataError(f"on-demand view {view.name!r} must return a dict of {', '.join(names)}; it returned {got}.")
    return {field.name: _output(view, field.dtype, field.name, made[field.name], len(rows)) for field in view.features}


def load(view: OnDemand) -> Callable[[pa.Table], Any]:
    """Return the view's function, made from the text of its module; raises UsageError where it is none."""
    function: Callable[[pa.Table], Any] | None = getattr(_module(view.source), view.function, None)
    if not callable(function):
        raise unknown("function", view.function, _functions(_module(view.source)))
    return function


def arrow_type(dtype: str, who: str) -> pa.DataType:
    """Return the Arrow type of a DuckDB type; raises UsageError for one that on-demand features cannot have."""
    if dtype not in TYPES:
        raise unknown(f"type of {who}", dtype, TYPES)
    return TYPES[dtype]


@lru_cache(maxsize=64)
def _module(source: str) -> ModuleType:
    name = f"lifecycle_on_demand_{sha256(source.encode()).hexdigest()[:16]}"
    module = ModuleType(name)
    sys.modules[name] = module  # dataclasses and the like look their module up
    try:
        exec(compile(source, name, "exec"), vars(module))  # noqa: S102 - the release's own code, as Feast's registry holds it
    except Exception as error:
        raise UsageError(
            f"an on-demand module does not run by itself: {type(error).__name__}: {error}. It may import libraries, "
            "but nothing of the project, since a release carries the module's text alone."
        ) from error
    return module


def _functions(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]


def _input(one: Computed, table: pa.Table, name: str, column: str) -> Any:
    if column not in table.column_names:
        raise UsageError(
            f"on-demand view {one.view.name!r} reads {name!r}, which must come with each row: give a column "
            f"{column!r} with the keys and times. There are: {', '.join(table.column_names)}."
        )
    [dtype] = {dtype for argument, _, dtype in one.inputs if argument == name}
    found = table[column].combine_chunks()
    wanted = arrow_type(dtype, f"input {name!r} of on-demand view {one.view.name!r}")
    try:
        return found if found.type == wanted else found.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"on-demand view {one.view.name!r} reads {name!r} as {dtype}: {error}.") from error


def _output(view: OnDemand, dtype: str, name: str, made: Any, rows: int) -> Any:
    wanted = arrow_type(dtype, f"feature {name!r} of on-demand view {view.name!r}")
    if not isinstance(made, pa.Array | pa.ChunkedArray) or len(made) != rows:
        size = f"{len(made)} values" if isinstance(made, pa.Array | pa.ChunkedArray) else type(made).__name__
        raise DataError(f"on-demand view {view.name!r} must return {rows} values of {name!r}, one per row, not {size}.")
    whole = made.combine_chunks() if isinstance(made, pa.ChunkedArray) else made
    try:
        return whole if whole.type == wanted else whole.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"on-demand view {view.name!r} returns {name!r} not as {dtype}: {error}.") from error
