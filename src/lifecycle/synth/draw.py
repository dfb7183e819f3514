"""Random draws in bulk: each subject has its own stream, so that a change in one leaves others alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NEVER = np.iinfo(np.int64).max // 4  # later than any time, with room to add to

_ID_ALPHABET = np.frombuffer(b"0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", dtype=np.uint8)
_ID_LENGTH = 16


def stream(seed: int, subject: str) -> np.random.Generator:
    """Return the subject's own generator, a function of the seed and the subject's name alone."""
    return np.random.default_rng([seed, *subject.encode()])


def ids(rng: np.random.Generator, prefix: str, n: int) -> pl.Series:
    """Return `n` identifiers such as `ch_` and 16 letters and digits: 59^16, so they do not collide."""
    head = np.frombuffer(prefix.encode(), dtype=np.uint8)
    width = len(head) + _ID_LENGTH
    text = np.empty((n, width), dtype=np.uint8)
    text[:, : len(head)] = head
    text[:, len(head) :] = _ID_ALPHABET[rng.integers(0, len(_ID_ALPHABET), (n, _ID_LENGTH), dtype=np.uint8)]
    offsets = np.arange(0, (n + 1) * width, width, dtype=np.int64)
    array = pa.Array.from_buffers(pa.large_string(), n, [None, pa.py_buffer(offsets), pa.py_buffer(text.tobytes())])
    return pl.Series(array)


def chance(rng: np.random.Generator, p: float | Floats, n: int) -> Bools:
    """Return `n` booleans, each true with probability `p`."""
    drawn: Bools = rng.random(n) < p
    return drawn


def codes(rng: np.random.Generator, weights: Sequence[float], n: int) -> Ints:
    """Return `n` positions within `weights`, in their proportion."""
    edges = np.cumsum(np.asarray(weights, dtype=np.float64))
    found: Ints = np.searchsorted(edges, rng.random(n) * edges[-1], side="right").astype(np.int64)
    return np.minimum(found, len(edges) - 1)


def words(rng: np.random.Generator, weights: Mapping[str, float], n: int) -> pl.Series:
    """Return `n` of the mapping's keys, in proportion to its values."""
    return named(list(weights), codes(rng, list(weights.values()), n))


def named(names: Sequence[str | None], positions: Ints) -> pl.Series:
    """Return the names at `positions`."""
    return pl.Series(names, dtype=pl.String).gather(pl.Series(positions))


def spans(rng: np.random.Generator, low: float, high: float, n: int) -> Ints:
    """Return `n` durations between `low` and `high` milliseconds."""
    return rng.uniform(low, high, n).astype(np.int64)


def skewed(rng: np.random.Generator, median: float, sigma: float, n: int) -> Ints:
    """Return `n` lognormal durations, in the unit of `median`, rounded down."""
    return (median * np.exp(sigma * rng.standard_normal(n))).astype(np.int64)


def members(counts: Ints) -> tuple[Ints, Ints]:
    """Return, for groups of the given sizes, each member's group and its place within the group."""
    group = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    first = np.cumsum(counts) - counts
    return group, np.arange(len(group), dtype=np.int64) - first[group]
