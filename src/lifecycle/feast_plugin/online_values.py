"""
Feast's values and ours: how a Feast view is kept as packed rows, and how its values go in and come out.

Feast keeps times as whole seconds; so does this, wherever values pass through Feast. A type that the store has no
layout for (maps, sets, JSON, ...) is kept as the bytes of Feast's own protobuf value.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types import Value_pb2
from feast.type_map import VALUE_TYPE_TO_PROTO_VALUE_MAP, feast_value_type_to_python_type, python_values_to_proto_values
from feast.value_type import ValueType

from lifecycle.definitions import Field, View
from lifecycle.errors import DataError
from lifecycle.online.holding import WIDER
from lifecycle.online.kinds import arrow_type
from lifecycle.times import MICROSECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feast import FeatureView
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey

Value = Value_pb2.Value
SERIALIZED = "entity_key"
_SCALARS = {
    ValueType.BYTES: "BLOB",
    ValueType.STRING: "VARCHAR",
    ValueType.INT32: "INTEGER",
    ValueType.INT64: "BIGINT",
    ValueType.DOUBLE: "DOUBLE",
    ValueType.FLOAT: "FLOAT",
    ValueType.BOOL: "BOOLEAN",
    ValueType.UNIX_TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
}
_LISTS = {ValueType[f"{kind.name}_LIST"]: f"{dtype}[]" for kind, dtype in _SCALARS.items()}
_DTYPES = _SCALARS | _LISTS
_KEYS = {ValueType.STRING: "VARCHAR", ValueType.INT32: "BIGINT", ValueType.INT64: "BIGINT", ValueType.BOOL: "BOOLEAN",
         ValueType.BYTES: "BLOB", ValueType.UNIX_TIMESTAMP: "TIMESTAMP WITH TIME ZONE"}  # fmt: skip


def view_of(feast_view: FeatureView) -> View:
    """Return a Feast view as the store keeps it when no release is materialized into it."""
    keys = key_types(feast_view)
    names = [name for name in keys if name != DUMMY_ENTITY_ID]
    if any(kind not in _KEYS for kind in keys.values()) or feast_view.name.startswith("__precomputed__"):
        # Feast writes precomputed vectors under keys that their view does not declare.
        fields: tuple[Field, ...] = (Field(SERIALIZED, "BLOB"),)
    else:
        fields = tuple(Field(name, _KEYS[keys[name]]) for name in names)
    return View(
        name=feast_view.name,
        relation="",
        join_keys=tuple((field.name, field.name) for field in fields),
        event_timestamp="event_timestamp",
        known_at="created",
        features=tuple(
            Field(field.name, _DTYPES.get(field.dtype.to_value_type(), "BLOB")) for field in feast_view.features
        ),
        keys=fields,
        ttl_us=ttl_of(feast_view),
    )


def fits(dtype: str, kind: ValueType | None) -> bool:
    """Whether what is stored as DuckDB's type `dtype` are values of a Feast type; None is no feature's."""
    wanted = None if kind is None else _DTYPES.get(kind, "BLOB")
    return dtype == wanted or (dtype, wanted) in WIDER


def key_types(feast_view: FeatureView) -> dict[str, ValueType]:
    """Return a Feast view's join keys with their types."""
    return {column.name: column.dtype.to_value_type() for column in getattr(feast_view, "entity_columns", None) or ()}


def ttl_of(feast_view: FeatureView) -> int | None:
    """Return a Feast view's ttl in microseconds, None where values never expire."""
    ttl = getattr(feast_view, "ttl", None)
    return ttl // MICROSECOND if ttl else None


def key_values(view: View, key: EntityKey) -> list[Any]:
    """Return an entity key's values in the order of the view's keys; a value that is not set is NULL."""
    if [field.name for field in view.keys] == [SERIALIZED]:
        return [serialize_entity_key(key, entity_key_serialization_version=3)]
    given = dict(zip(key.join_keys, key.entity_values, strict=True))
    return [key_value(given.get(name)) for name, _ in view.join_keys]


def key_value(value: Any) -> Any:
    """Return one key's plain value."""
    return None if value is None else feast_value_type_to_python_type(value)


class Form(NamedTuple):
    """
    How one feature's stored values look in Feast: to_python, None where they look the same; to_value, protobuf.

    Neither is asked for NULL.
    """

    to_python: Callable[[Any], Any] | None
    to_value: Callable[[Any], Any]


def form_of(dtype: str, kind: ValueType) -> Form:
    """Return the form of a feature that is stored as DuckDB's type `dtype` and that Feast takes for a `kind`."""
    if dtype == "BLOB" and kind != ValueType.BYTES:
        return Form(lambda data: feast_value_type_to_python_type(Value.FromString(data), kind), Value.FromString)
    name = VALUE_TYPE_TO_PROTO_VALUE_MAP.get(kind, "bytes_val")
    if kind == ValueType.UNIX_TIMESTAMP:
        return Form(_whole_seconds, lambda moment: Value(unix_timestamp_val=_seconds(moment)))
    if kind == ValueType.UNIX_TIMESTAMP_LIST:
        return Form(
            lambda moments: [one and _whole_seconds(one) for one in moments],
            lambda moments: python_values_to_proto_values([moments], kind)[0],
        )
    if kind in _SCALARS:
        return Form(None, lambda value: Value(**{name: value}))
    return Form(None, lambda value: python_values_to_proto_values([value], kind)[0])


def _seconds(moment: datetime | date) -> int:
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _whole_seconds(moment: datetime | date) -> datetime:
    return datetime.fromtimestamp(_seconds(moment), tz=UTC)


def column_of(values: Sequence[Any], dtype: str, kind: ValueType, who: str) -> pa.Array:
    """
    Return Feast values of one feature as an Arrow column of DuckDB's type `dtype`; a value that is not set is NULL.

    Raises DataError, naming `who`, where a value is of another type.
    """
    if dtype == "BLOB" and kind not in _DTYPES:
        listed = [one.SerializeToString(deterministic=True) if one.WhichOneof("val") else None for one in values]
        return pa.array(listed, pa.binary())
    listed = [feast_value_type_to_python_type(one) for one in values]
    try:
        return plain_column(listed, dtype)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{who} is {dtype} in the online store, and a value written does not fit: {error}.") from error


def plain_column(values: Sequence[Any], dtype: str) -> pa.Array:
    """Return Python values as an Arrow column of DuckDB's type `dtype`."""
    wanted = arrow_type(dtype)
    if dtype == "DATE":
        values = [one.date() if isinstance(one, datetime) else one for one in values]
    if pa.types.is_integer(wanted) and any(isinstance(one, float) for one in values):
        return pa.array(values, pa.float64(), from_pandas=True).cast(wanted)
    if wanted == pa.string():
        values = [one if one is None or isinstance(one, str) else _text(one) for one in values]
    return pa.array(values, wanted)


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
