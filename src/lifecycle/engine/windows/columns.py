"""Arrow columns as the kernels read them, without a copy wherever there are no NULLs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.engine.windows.selection import tail_places, tails
from lifecycle.errors import DataError

NO_FLAGS = np.empty(0, np.uint8)
CODED = 1 << 62
NO_TIMES = np.empty(0, np.int64)
_WORDS = {32: pa.int32(), 64: pa.int64()}


def single(column: Any) -> Any:
    """Return a column as one array."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def plain(column: Any) -> Any:
    """Return a column as one array, dictionaries decoded."""
    array = single(column)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def times(column: Any, missing: int | None = None) -> Any:
    """Return int64 microseconds of a timestamp[us] or int64 column; `missing` stands for NULL."""
    array = single(column)
    if pa.types.is_timestamp(array.type) and array.type.unit != "us":
        raise DataError(f"times must be timestamp[us], not {array.type}: cast them to TIMESTAMPTZ in SQL first.")
    array = array.cast(pa.int64())
    if array.null_count:
        if missing is None:
            raise DataError(f"{array.null_count} times are NULL; each event and observation needs one.")
        array = pc.fill_null(array, missing)
    return array.to_numpy()


def holds_fractions(kind: Any) -> bool:
    """Whether values of this type are computed as double."""
    return bool(pa.types.is_floating(kind))


def is_numeric(kind: Any) -> bool:
    """Whether the kernels compute with this type: whole numbers, booleans, floats."""
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind))


def is_ordered(kind: Any) -> bool:
    """Whether minima of this type are a matter of int64 or double."""
    return is_numeric(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def numbers(column: Any) -> Any:
    """Return int64 or float64 values; those of NULLs are arbitrary."""
    array = plain(column)
    if pa.types.is_date32(array.type):
        array = array.cast(pa.int32())
    wanted = pa.float64() if holds_fractions(array.type) else pa.int64()
    try:
        array = array.cast(wanted)
    except pa.ArrowInvalid as error:
        raise DataError(f"a value does not fit 64 bits: {error}. Make it a BIGINT or a DOUBLE.") from error
    return pc.fill_null(array, 0).to_numpy() if array.null_count else array.to_numpy()


def restored(values: Any, valid: Any, kind: Any) -> Any:
    """Return an Arrow array of `kind` from what `numbers` made; NULL where not valid."""
    array = pa.array(values, mask=~valid)
    if pa.types.is_date32(kind):
        array = array.cast(pa.int32())
    return array.cast(kind)


def truths(column: Any) -> Any:
    """Return uint8 flags of a boolean column; NULL is false."""
    array = single(column)
    if not pa.types.is_boolean(array.type):
        raise DataError(f"a filter must be BOOLEAN, not {array.type}.")
    return pc.fill_null(array, fill_value=False).to_numpy(zero_copy_only=False).view(np.uint8)


def present(column: Any) -> Any:
    """Return uint8 flags of where a column is not NULL, or an empty array if it is so everywhere."""
    array = single(column)
    if not array.null_count:
        return NO_FLAGS
    return array.is_valid().to_numpy(zero_copy_only=False).view(np.uint8)


def both(one: Any, other: Any) -> Any:
    """Return where both flags are set; an empty array stands for everywhere."""
    if not len(one):
        return other
    return one & other if len(other) else one


def codes(column: Any) -> tuple[Any, int]:
    """Return int64 codes of a column's values, 0 for NULL, and one more than the greatest code."""
    array = plain(column)
    if pa.types.is_integer(array.type) and len(array) > array.null_count:
        low, high = (pc.min_max(array)[end].as_py() for end in ("min", "max"))
        if low > -CODED and high < CODED and high - low < 4 * len(array):
            # Whole numbers of a narrow range are codes already.
            indices = pc.fill_null(array.cast(pa.int64()), low - 1).to_numpy() - (low - 1)
            return indices, high - low + 2
    if pa.types.is_floating(array.type):
        # -0.0 and 0.0 are one value.
        array = pc.add(array, pa.scalar(0.0, array.type))
    encoded = array.dictionary_encode()
    indices = pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy() + 1
    return indices, len(encoded.dictionary) + 1


def _words(values: Any) -> Any:
    """Return values of 32 or 64 bits, none of them NULL, as whole numbers; None for any others."""
    kind = values.type
    word = _WORDS.get(kind.bit_width) if pa.types.is_primitive(kind) and not values.null_count else None
    return None if word is None else values.view(word).to_numpy()


def joined(parts: list[Any]) -> Any:
    """Return arrays of one type as one."""
    words = [_words(part) for part in parts]
    if any(one is None for one in words):
        return pa.concat_arrays(parts)
    # Numpy asks for huge pages, which take a fraction of the time of Arrow's.
    return pa.array(np.concatenate(words)).view(parts[0].type)


def runs(values: Any, ends: Any, lengths: Any) -> Any:
    """Return values[end - length : end] of each pair, one after another; int64 arrays of one length."""
    total = int(lengths.sum())
    words = _words(values)
    if words is None:
        places = np.empty(total, np.int64)
        tail_places(ends, lengths, places)
        return values.take(pa.array(places))
    # One copy, without a list of places as long as the values.
    found = np.empty(total, words.dtype)
    tails(words, ends, lengths, found)
    return pa.array(found).view(values.type)


def list_of(values: Any, ends: Any, lengths: Any) -> Any:
    """
    Return lists values[end - length : end], NULL where the length is 0; int64 arrays of one length.

    The runs that end at `ends` do not overlap and come one after another, so that lists of all values are `values`.
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    total = offsets[-1]
    if total > np.iinfo(np.int32).max:
        raise DataError(f"the lists hold {total} values together, more than 2^31: ask for fewer rows at a time.")
    inner = values if total == len(values) else runs(values, ends, lengths)
    missing = pa.array(lengths == 0)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), inner, mask=missing)
