"""Cutting a stream of sorted events into pieces of whole keys, without copying more than a cut key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lifecycle.engine.windows.columns import single

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def key_codes(batch: Any) -> Any:
    """Return the int64 codes of column `key`."""
    return single(batch.column("key")).cast(pa.int64()).to_numpy()


def whole_keys(batches: Iterable[Any], rows: int) -> Iterator[Any]:
    """
    Yield record batches of at most about `rows` events, in which every key is complete.

    batches: record batches with an int64 column `key`, sorted by it across all of them.
    """
    held: list[Any] = []
    held_key = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        keys = key_codes(batch)
        begin = int(np.searchsorted(keys, held_key, "right")) if held else 0
        if begin:
            held.append(batch.slice(0, begin))
        if begin == len(keys):
            continue
        if held:
            yield pa.concat_batches(held)
        last = int(np.searchsorted(keys, keys[-1], "left"))
        yield from _cut(batch, keys, begin, last, rows)
        held, held_key = [batch.slice(last)], int(keys[-1])
    if held:
        yield pa.concat_batches(held)


def _cut(batch: Any, keys: Any, begin: int, last: int, rows: int) -> Iterator[Any]:
    while begin < last:
        end = last
        if last - begin > rows:
            # Up to the end of the key that stands at the wanted size: never more than one key beyond it.
            end = int(np.searchsorted(keys[:last], keys[begin + rows - 1], "right"))
        yield batch.slice(begin, end - begin)
        begin = end
