"""Sources as Feast's registry keeps them, and DuckDB's types in Feast's words."""

from __future__ import annotations

import pytest
from feast import FileSource
from feast.data_format import ParquetFormat
from feast.value_type import ValueType

from lifecycle.errors import UsageError
from lifecycle.feast_plugin.source import LifecycleSource
from lifecycle.feast_plugin.value_types import value_type


def test_a_parquet_source_keeps_its_format(tmp_path):
    source = FileSource(path=str(tmp_path), file_format=ParquetFormat(), timestamp_field="event_timestamp")
    assert FileSource.from_proto(source.to_proto()) == source


def test_a_lake_source_survives_its_proto():
    source = LifecycleSource(
        name="s",
        relation="features.x",
        timestamp_field="at",
        created_timestamp_column="",
        tie_break=("a", "b"),
        deleted="gone",
        at_t="exclude",
        at="head",
        field_mapping={"raw": "value"},
        description="d",
        tags={"sources": "stripe"},
        owner="o",
    )
    again = LifecycleSource.from_proto(source.to_proto())
    assert again == source
    assert (again.tie_break, again.deleted, again.at_t, again.at) == (("a", "b"), "gone", "exclude", "head")
    assert again != LifecycleSource(name="s", relation="features.x")
    assert LifecycleSource.from_proto(LifecycleSource(relation="features.x").to_proto()).tie_break is None


@pytest.mark.parametrize(
    ("duckdb_type", "expected"),
    [
        ("BIGINT", ValueType.INT64),
        ("SMALLINT", ValueType.INT32),
        ("DECIMAL(18,2)", ValueType.DECIMAL),
        ("BOOLEAN", ValueType.BOOL),
        ("DATE", ValueType.UNIX_TIMESTAMP),
        ("TIMESTAMP WITH TIME ZONE", ValueType.UNIX_TIMESTAMP),
        ("VARCHAR[]", ValueType.STRING_LIST),
        ("DOUBLE[3]", ValueType.DOUBLE_LIST),
        ("DECIMAL(18,2)[]", ValueType.DECIMAL_LIST),
    ],
)
def test_duckdb_types_in_feasts_words(duckdb_type, expected):
    assert value_type(duckdb_type) == expected


@pytest.mark.parametrize("duckdb_type", ["HUGEINT", "STRUCT(a INTEGER)", "INTEGER[][]", "MAP(VARCHAR, BIGINT)"])
def test_types_without_an_exact_form_are_refused(duckdb_type):
    with pytest.raises(UsageError, match="no exact form"):
        value_type(duckdb_type)
