"""A source's aggregations against its relation: the engine's windows, and the types of their outputs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lifecycle.definitions import Field
from lifecycle.errors import UsageError, unknown
from lifecycle.lake.connection import arrow_type, select
from lifecycle.names import relation

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from lifecycle.definitions import Window
    from lifecycle.feast_plugin.source import LifecycleSource

# A relation with a column of this name holds money; these aggregations of it make sense in one currency only.
CURRENCY = "currency"
OF_ONE_CURRENCY = frozenset({"sum", "mean", "min", "max", "var", "std", "approx_quantile"})


def windows_of(source: LifecycleSource) -> tuple[Window, ...]:
    """Return a source's windows, with the currency of each column of money; raises UsageError for a name used twice."""
    made = []
    for window in (window for one in source.aggregations for window in one.compiled()):
        currency = window.currency or source.money.get(window.column or "")
        made.append(replace(window, currency=currency if window.function in OF_ONE_CURRENCY else None))
    twice = sorted(name for name, times in Counter(window.name for window in made).items() if times > 1)
    if twice:
        raise UsageError(f"source {source.name!r} declares {', '.join(twice)} more than once: change a stem.")
    return tuple(made)


def window_fields(source: LifecycleSource, columns: Mapping[str, str]) -> tuple[Field, ...]:
    """
    Return the name and DuckDB type of each window's output.

    columns: the relation's, with DuckDB's types. Raises UsageError for a column that is not there or that money
    needs, DataError for a type that an aggregation cannot take.
    """
    for one in source.aggregations:
        for name in one.inputs:
            if name not in columns:
                raise unknown(f"column of {source.relation}, wanted by aggregation {one.stem!r},", name, columns)
    for column, currency in source.money.items():
        for name in filter(None, (column, currency)):
            if name not in columns:
                raise unknown(f"column of {source.relation}, named in money of {source.name!r},", name, columns)
    return tuple(_field(source, window, columns) for window in source.windows)


def check_filters(connection: Any, source: LifecycleSource) -> None:
    """Raise UsageError, in DuckDB's own words, for a `where` that is no condition on the source's relation."""
    for predicate in dict.fromkeys(one.where for one in source.aggregations if one.where):
        select(connection, f"SELECT 1 FROM {relation(source.relation)} WHERE ({predicate}) LIMIT 0")


def _field(source: LifecycleSource, window: Window, columns: Mapping[str, str]) -> Field:
    from lifecycle.engine.windows.functions import result_type

    dtype = columns[window.column] if window.column is not None else None
    given = arrow_type(dtype) if dtype is not None else None
    made = result_type(window, given)
    _refuse_money_without_currency(source, window, columns, given)
    if dtype is not None and made == given:
        return Field(window.name, dtype)
    if window.function == "last_k":
        return Field(window.name, f"{dtype}[]")
    return Field(window.name, "DOUBLE" if str(made) == "double" else "BIGINT")


def _refuse_money_without_currency(
    source: LifecycleSource, window: Window, columns: Mapping[str, str], given: pa.DataType | None
) -> None:
    import pyarrow as pa

    column = window.column
    if CURRENCY not in columns or column in source.money or window.currency is not None:
        return
    if window.function in OF_ONE_CURRENCY and given is not None and pa.types.is_integer(given):
        raise UsageError(
            f"{window.name!r} is the {window.function} of {column!r}, and {source.relation} has currencies. Say which "
            f"money it is, money={{{column!r}: {CURRENCY!r}}}, or that it is none, money={{{column!r}: None}}."
        )
