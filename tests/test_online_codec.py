"""Packed rows and keys: what goes in comes out, keys sort as values do, and another schema is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.definitions import Field, View
from lifecycle.errors import LifecycleError, PlatformError, UsageError
from lifecycle.online.codec import Codec, Columns
from lifecycle.online.keys import LONGEST, KeyCodec
from lifecycle.times import from_microseconds

INT64 = st.integers(-(2**63), 2**63 - 1)
MICROSECONDS = st.integers(-(10**15), 4 * 10**15)
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
MOMENTS = MICROSECONDS.map(from_microseconds)
TYPES = {
    "BOOLEAN": (pa.bool_(), st.booleans()),
    "SMALLINT": (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "INTEGER": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "BIGINT": (pa.int64(), INT64),
    "UBIGINT": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "DOUBLE": (pa.float64(), st.floats(allow_nan=False)),
    "FLOAT": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "VARCHAR": (pa.string(), TEXT),
    "BLOB": (pa.binary(), st.binary(max_size=20)),
    "DATE": (pa.date32(), st.dates(date(1900, 1, 1), date(2200, 1, 1))),
    "TIME": (pa.time64("us"), st.times()),
    "TIMESTAMP": (pa.timestamp("us"), MOMENTS.map(lambda moment: moment.replace(tzinfo=None))),
    "TIMESTAMP WITH TIME ZONE": (pa.timestamp("us", "UTC"), MOMENTS),
    "DECIMAL(18,3)": (pa.decimal128(18, 3), st.decimals(-(10**14), 10**14, places=3)),
    "HUGEINT": (pa.decimal128(38, 0), st.integers(-(10**37), 10**37).map(Decimal)),
    "BIGINT[]": (pa.list_(pa.int64()), st.lists(st.none() | INT64, max_size=4)),
    "VARCHAR[]": (pa.list_(pa.string()), st.lists(st.none() | TEXT, max_size=3)),
    "DECIMAL(9,2)[]": (pa.list_(pa.decimal128(9, 2)), st.lists(st.decimals(-1000, 1000, places=2), max_size=3)),
    "TIMESTAMP WITH TIME ZONE[]": (pa.list_(pa.timestamp("us", "UTC")), st.lists(MOMENTS, max_size=3)),
    "DOUBLE[][]": (
        pa.list_(pa.list_(pa.float64())),
        st.lists(st.lists(st.floats(allow_nan=False), max_size=2), max_size=2),
    ),
}
VIEW = View(
    name="facts",
    relation="features.facts",
    join_keys=(("id", "id"),),
    event_timestamp="event_timestamp",
    known_at="known_at",
    features=tuple(Field(dtype, dtype) for dtype in TYPES),
    keys=(Field("id", "VARCHAR"),),
    deleted="deleted",
)
ROWS = st.lists(st.tuples(*(st.none() | values for _, values in TYPES.values())), min_size=1, max_size=5)


def keyed(*types: str) -> KeyCodec:
    fields = tuple(Field(f"k{at}", dtype) for at, dtype in enumerate(types))
    return KeyCodec(replace(VIEW, keys=fields, join_keys=tuple((field.name, field.name) for field in fields)))


def columns(features: list[pa.Array], count: int) -> Columns:
    moments = pa.array(range(count), pa.timestamp("us", "UTC"))
    return Columns([pa.array([f"key{at}" for at in range(count)])], features, moments, moments)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS)
def test_a_row_comes_back_as_arrow_gives_it(rows):
    codec = Codec(VIEW)
    arrays = [pa.array(column, kind) for column, (kind, _) in zip(zip(*rows, strict=True), TYPES.values(), strict=True)]
    packed = codec.pack(columns(arrays, len(rows)), prefix=b"view", epoch=1, release=2)
    for at, entry in enumerate(packed.values):
        codec.check(entry)
        assert codec.unpack(entry) == [array[at].as_py() for array in arrays]


def test_a_slice_of_a_batch_packs_as_the_rows_alone():
    codec = Codec(VIEW)
    whole = [pa.array([None, *values], kind) for (kind, _), values in zip(TYPES.values(), SAMPLES, strict=True)]
    sliced = codec.pack(columns([one.slice(1) for one in whole], 2), prefix=b"view", epoch=1, release=1)
    alone = codec.pack(
        columns([pa.array(one.slice(1).to_pylist(), one.type) for one in whole], 2), prefix=b"view", epoch=1, release=1
    )
    assert sliced.values == alone.values


NAIVE = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)
SAMPLES = [
    (True, None), (1, -2), (3, None), (2**63 - 1, -(2**63)), (2**64 - 1, 0), (0.1, None), (0.5, None), ("ä", ""),
    (b"\x00", b""), (date(2024, 2, 29), None), (time(23, 59, 59, 999_999), None), (NAIVE, None),
    (datetime(2024, 1, 1, tzinfo=UTC), None), (Decimal("1.500"), Decimal("-0.001")), (Decimal(10) ** 30, None),
    ([1, None], []), (["a"], None), ([Decimal("1.25")], None), ([datetime(2024, 1, 1, tzinfo=UTC)], None),
    ([[0.5]], [[]]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("types", "values"),
    [
        (["BIGINT"], st.tuples(INT64)),
        (["UBIGINT"], st.tuples(st.integers(0, 2**64 - 1))),
        (["VARCHAR", "VARCHAR"], st.tuples(TEXT, TEXT)),
        (["VARCHAR", "BIGINT"], st.tuples(st.sampled_from(["", "a", "a\x00", "a\x00\x01", "b"]), INT64)),
        (["DATE", "BOOLEAN", "VARCHAR"], st.tuples(st.dates(), st.booleans(), TEXT)),
        (["DECIMAL(18,3)"], st.tuples(st.decimals(-(10**14), 10**14, places=3))),
        (["TIMESTAMP WITH TIME ZONE", "BLOB"], st.tuples(MOMENTS, st.binary(max_size=5))),
    ],
)
def test_keys_sort_as_their_values_and_are_the_same_one_by_one(types, values):
    codec = keyed(*types)
    kinds = [TYPES[one][0] for one in types]

    @settings(max_examples=60, deadline=None)
    @given(st.lists(values, min_size=2, max_size=8, unique=True))
    def check(rows):
        # UTF-8 sorts by code point, as Python's text does.
        arrays = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
        encoded = codec.encode(arrays, b"here", len(rows))
        assert encoded == [codec.one(row, b"here") for row in rows]
        assert [row for _, row in sorted(zip(encoded, rows, strict=True))] == sorted(rows)
        assert all(key.startswith(codec.one(row[:1], b"here")) for key, row in zip(encoded, rows, strict=True))

    check()


def test_a_first_part_is_the_prefix_of_its_own_keys_only():
    codec = keyed("VARCHAR", "VARCHAR")
    assert not codec.one(["ab", "c"], b"").startswith(codec.one(["a"], b""))
    assert codec.one(["a", "bc"], b"") != codec.one(["ab", "c"], b"")


def test_long_keys_stay_apart_and_fit():
    codec = keyed("VARCHAR")
    long = ["x" * 2000, "x" * 2000 + "y", "x" * (LONGEST - 4)]
    encoded = codec.encode([pa.array(long)], b"here", 3)
    assert len(set(encoded)) == 3
    assert max(map(len, encoded)) <= 511
    assert encoded == [codec.one([key], b"here") for key in long]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("BIGINT", None), ("BIGINT", 1.5), ("BIGINT", 2**63), ("BIGINT", float("nan")), ("SMALLINT", 40_000),
     ("BIGINT", float("inf")), ("VARCHAR", None), ("VARCHAR", float("nan")), ("DECIMAL(9,2)", Decimal("0.001"))],
)  # fmt: skip
def test_a_value_that_its_type_cannot_hold_matches_nothing(dtype, value):
    assert keyed(dtype).one([value], b"") is None


def test_pandas_missing_values_match_nothing():
    pandas = pytest.importorskip("pandas")
    assert keyed("BIGINT").one([pandas.NA], b"") is None
    assert keyed("VARCHAR").one([pandas.NA], b"") is None
    assert keyed("TIMESTAMP").one([pandas.NaT], b"") is None


@pytest.mark.parametrize(("dtype", "value"), [("BIGINT", "1"), ("VARCHAR", 1), ("DATE", NAIVE), ("TIMESTAMP", 5)])
def test_a_key_of_another_kind_is_an_error_that_names_it(dtype, value):
    with pytest.raises(UsageError, match=rf"'k0', which is {dtype}, and got"):
        keyed(dtype).one([value], b"")


def test_equal_numbers_are_equal_keys():
    assert keyed("BIGINT").one([7.0], b"") == keyed("BIGINT").one([7], b"")


@pytest.mark.parametrize(
    "other",
    [
        replace(VIEW, features=VIEW.features[::-1]),
        replace(VIEW, features=(Field("BOOLEAN", "BIGINT"), *VIEW.features[1:])),
        replace(VIEW, keys=(Field("id", "BIGINT"),)),
        replace(VIEW, at_t="exclude"),
    ],
)
def test_a_row_of_another_schema_is_refused(other):
    arrays = [pa.array([None], kind) for kind, _ in TYPES.values()]
    [entry] = Codec(VIEW).pack(columns(arrays, 1), prefix=b"view", epoch=1, release=1).values
    with pytest.raises(PlatformError, match="materialize again"):
        Codec(other).check(entry)


@pytest.mark.parametrize(
    "dtype", ["INTERVAL", "TIMESTAMP_NS", "STRUCT(a INTEGER)", "MAP(VARCHAR, BIGINT)", "STRUCT(a INTEGER)[]"]
)
def test_a_type_without_a_layout_is_refused_by_name(dtype):
    with pytest.raises(LifecycleError, match="feature facts:odd has type"):
        Codec(replace(VIEW, features=(Field("odd", dtype),)))
