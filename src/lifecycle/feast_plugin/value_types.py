"""DuckDB's types as Feast names them."""

from __future__ import annotations

import re

from feast.value_type import ValueType

from lifecycle.errors import UsageError

_LIST = re.compile(r"\[\d*\]\Z")
_PARAMETERS = re.compile(r"\(.*\)\Z")
_SCALARS = {
    "BOOLEAN": ValueType.BOOL,
    "TINYINT": ValueType.INT32,
    "SMALLINT": ValueType.INT32,
    "INTEGER": ValueType.INT32,
    "UTINYINT": ValueType.INT32,
    "USMALLINT": ValueType.INT32,
    "UINTEGER": ValueType.INT64,
    "BIGINT": ValueType.INT64,
    "FLOAT": ValueType.FLOAT,
    "DOUBLE": ValueType.DOUBLE,
    "DECIMAL": ValueType.DECIMAL,
    "VARCHAR": ValueType.STRING,
    "JSON": ValueType.STRING,
    "UUID": ValueType.STRING,
    "BLOB": ValueType.BYTES,
    "DATE": ValueType.UNIX_TIMESTAMP,
    "TIMESTAMP": ValueType.UNIX_TIMESTAMP,
    "TIMESTAMP_S": ValueType.UNIX_TIMESTAMP,
    "TIMESTAMP_MS": ValueType.UNIX_TIMESTAMP,
    "TIMESTAMP_NS": ValueType.UNIX_TIMESTAMP,
    "TIMESTAMPTZ": ValueType.UNIX_TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": ValueType.UNIX_TIMESTAMP,
    "TIMESTAMPTZ_NS": ValueType.UNIX_TIMESTAMP,
}


def value_type(duckdb_type: str) -> ValueType:
    """
    Return Feast's type of a DuckDB type, such as INT64_LIST for `BIGINT[]`.

    Feast keeps timestamps as whole seconds in its protobuf values; frames keep microseconds. Raises UsageError
    for a type that Feast has no exact form for (HUGEINT, STRUCT, nested lists).
    """
    element = _LIST.sub("", duckdb_type.strip())
    scalar = _SCALARS.get(_PARAMETERS.sub("", element).upper())
    if scalar is None:
        raise UsageError(
            f"a feature cannot have DuckDB's type {duckdb_type}: Feast has no exact form of it. "
            f"Cast it in the model to one of {', '.join(sorted(_SCALARS))}, or to a list of one."
        )
    if element == duckdb_type.strip():
        return scalar
    return ValueType[f"{scalar.name}_LIST"]
