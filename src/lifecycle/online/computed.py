"""On-demand features of an online read: what frames call, over what was read and what the request brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lifecycle.engine.on_demand import arrow_type, compute
from lifecycle.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lifecycle.engine.on_demand import Computed


def computed(
    wanted: Sequence[Computed], read: Callable[[str], list[Any] | None], rows: Sequence[Mapping[str, Any]]
) -> dict[str, list[Any]]:
    """
    Return on-demand features by output name, a value per row.

    read: gives the values of a feature that was read, None for a name that is none. rows: the keys with what comes
    beside them. Raises UsageError where a row lacks what a view reads, DataError where its function fails.
    """
    made: dict[str, list[Any]] = {}
    for one in wanted:
        inputs = {}
        for name, column, dtype in one.inputs:
            values = read(column)
            if values is None:
                values = _brought(one, rows, column)
            inputs[name] = _array(one, name, values, dtype)
        found = compute(one.view, inputs)
        made |= {name: found[feature].to_pylist() for feature, name in zip(one.features, one.names, strict=True)}
    return made


def _brought(one: Computed, rows: Sequence[Mapping[str, Any]], column: str) -> list[Any]:
    try:
        return [row[column] for row in rows]
    except KeyError as error:
        raise UsageError(
            f"on-demand view {one.view.name!r} reads {column!r}, which comes with each request. Give it with the keys."
        ) from error


def _array(one: Computed, name: str, values: list[Any], dtype: str) -> pa.Array:
    kind = arrow_type(dtype, f"input {name!r} of on-demand view {one.view.name!r}")
    try:
        if any(isinstance(value, str) for value in values):
            return pa.array(values, pa.string()).cast(kind)  # a command line brings text
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"on-demand view {one.view.name!r} reads {name!r} as {dtype}: {error}.") from error
