"""What the online store asks of a place that keeps bytes by key: LMDB, Redis, or another one later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SPACE_BYTES = 4
META = bytes(SPACE_BYTES)
CLOCK = META + b"clock"
VERSION_BYTES = 8  # of the clock: a change holds only while they stand

Found = list[bytes | None]
Changes = list[tuple[bytes, bytes | None]]


class Backend(Protocol):
    """
    Bytes by key. A key's first four bytes name its space; space 0 is the store's own records.

    Any number of processes read while one writes, and none sees half of a `change`'s value of one key. What a
    returned call wrote survives the death of the process.
    """

    def read(self, keys: Sequence[bytes]) -> Found:
        """Return the values of `keys`, None for absent ones, all as of one moment, in one round trip."""
        ...

    def change(self, keys: Sequence[bytes], decide: Callable[[Found], Changes]) -> None:
        """
        Read `keys`, ask `decide` what to write (None deletes), write it; no other writer comes between.

        No change of a space's meaning comes between either: the clock's version still stands when it is written.
        `decide` depends on what it is given alone: it is asked again where another writer was faster. The
        store's own records come last, so that they never promise rows that are not there.
        """
        ...

    def load(self, items: list[tuple[bytes, bytes]], records: list[tuple[bytes, bytes]]) -> bool:
        """
        Write new keys, ascending, the fastest way there is, and the store's own `records` behind them.

        False, and nothing written, where that way is shut.
        It is shut when a key is there already (or, in LMDB, a later one is).
        """
        ...

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Return keys and values that begin with `prefix` (four bytes at least), in no certain order."""
        ...

    def clear(self, space: bytes) -> None:
        """Delete a whole space."""
        ...

    def close(self) -> None:
        """Give the place back; reading and writing end."""
        ...
