"""
The write guard: which rows of a key an entry keeps.

An entry holds the row in force at the store's horizon and those that become visible later, each of which beats
all before it. Merging is a pure function of the rows and the horizon, so any order of writes ends in the same
entry, and no older row replaces a newer one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifecycle.errors import DataError
from lifecycle.online.codec import BIAS, ENTRY, RANK, ROW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ONE = b"\x00\x01"
_COUNT = slice(1, 3)
_MOST = 2**16
_LENGTH = struct.Struct(">I")
_TIMES = struct.Struct(">QQ")
_HEAD = ENTRY.size
_RANK = slice(_HEAD + RANK.start, _HEAD + RANK.stop)  # of an entry's first row


@dataclass(frozen=True)
class Guard:
    """
    Decides between rows of one key.

    horizon: microseconds; of the rows visible by then only the winner is kept, for no read asks an earlier
    time. exclude: whether a row counts only after its event time (`at_t: exclude`).
    """

    horizon: int
    exclude: bool = False

    def merge(self, old: bytes | None, new: bytes, visible: int) -> bytes:
        """
        Return the entry of `old`'s rows and `new`'s one row; the same object as `old` where `new` changes nothing.

        visible: when the new row becomes visible, in microseconds.
        """
        if old is None:
            return new
        if old[_COUNT] == _ONE == new[_COUNT]:
            if old[_RANK] < new[_RANK]:
                if visible <= self.horizon or self.visible(old, _HEAD) >= visible:
                    return new
                return _entry(old, [old[_HEAD:], new[_HEAD:]])
            if old == new or (old[_RANK] > new[_RANK] and self.visible(old, _HEAD) <= max(visible, self.horizon)):
                return old
        return self.settle(old, [*split(old), *split(new)])

    def settle(self, like: bytes, rows: Iterable[bytes]) -> bytes:
        """Return the entry of all rows that may still win; format, epoch and schema are those of `like`."""
        kept: list[tuple[int, bytes]] = []
        for visible, _, row in sorted((self.visible(row, 0), row[RANK], row) for row in rows):
            if kept:
                before = kept[-1][1]
                if (row[RANK], row) <= (before[RANK], before):
                    continue
                if kept[-1][0] == visible or visible <= self.horizon:
                    kept.pop()
            kept.append((visible, row))
        made = _entry(like, [row for _, row in kept])
        return like if made == like else made

    def visible(self, data: bytes, start: int) -> int:
        """Return when the row at `start` becomes visible, in microseconds."""
        event, known = _TIMES.unpack_from(data, start + RANK.start)
        first = event + 1 if self.exclude else event
        return int(max(first, known)) - BIAS


def split(entry: bytes) -> Iterator[bytes]:
    """Return the rows of an entry."""
    start = _HEAD
    while start < len(entry):
        (length,) = _LENGTH.unpack_from(entry, start)
        yield entry[start : start + length]
        start += length


def row_at(entry: bytes, t: int, *, exclude: bool) -> int | None:
    """Return where the row in force at `t` (microseconds) starts in the entry, or None."""
    found = None
    start = _HEAD
    while start < len(entry):
        length, event, known, _, _ = ROW.unpack_from(entry, start)
        first = event + 1 if exclude else event
        if max(first, known) - BIAS > t:
            break
        found = start
        start += length
    return found


def _entry(like: bytes, rows: list[bytes]) -> bytes:
    if len(rows) >= _MOST:
        raise DataError(
            f"one key has {len(rows):,} rows whose time is still to come; a packed entry holds {_MOST - 1:,}. "
            "Look for event times far in the future in the view's relation."
        )
    return b"".join((like[: _COUNT.start], len(rows).to_bytes(2, "big"), like[_COUNT.stop : _HEAD], *rows))
