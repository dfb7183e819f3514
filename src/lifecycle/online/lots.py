"""Events of one key as arrays of one length, beside what is remembered of versions that no read needs any more."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

RELEASED, NEW, AMENDING, RETRACTING = range(4)
EVENT, MARK, TIME, END = range(4)
NO_PAST = np.empty((0, 4), np.int64)


@dataclass(frozen=True)
class Lot:
    """
    Events as arrays of one length, in the kernel's order.

    times, known_from, known_until: int64 microseconds. pushed: uint8, RELEASED where a release brought the version,
    else what a push said of its event: NEW, AMENDING one that was there, or RETRACTING it (a version that never
    counts). events: int64, equal in versions of one event, 0 where it has no id. numbers, ids, present, masks: in the
    codec's order of names. texts: lists of Python values. past: int64[n, 4], EVENT, MARK, TIME and END of versions with
    an id that are not kept.
    """

    times: Any
    known_from: Any
    known_until: Any
    pushed: Any
    events: Any
    numbers: Sequence[Any]
    ids: Sequence[Any]
    present: Sequence[Any]
    masks: Sequence[Any]
    texts: Sequence[list[Any]]
    past: Any = field(default_factory=lambda: NO_PAST)

    def take(self, chosen: Any) -> Lot:
        """Return the events of a slice."""
        return Lot(
            self.times[chosen],
            self.known_from[chosen],
            self.known_until[chosen],
            self.pushed[chosen],
            self.events[chosen],
            [one[chosen] for one in self.numbers],
            [one[chosen] for one in self.ids],
            [one[chosen] for one in self.present],
            [one[chosen] for one in self.masks],
            [one[chosen] for one in self.texts],
            self.past,
        )

    def chosen(self, flags: Any) -> Lot:
        """Return the events whose flag is true."""
        if flags.all():
            return self
        places = np.flatnonzero(flags).tolist() if self.texts else []
        texts = [[one[at] for at in places] for one in self.texts]
        return replace(replace(self, texts=()).take(flags), texts=texts)

    def with_(self, other: Lot) -> Lot:
        """Return these events and others, in order of time and of when they became known."""
        past = np.concatenate([self.past, other.past])
        if not len(self.times) or not len(other.times):
            return replace(self if len(self.times) else other, past=past)
        times = np.concatenate([self.times, other.times])
        known = np.concatenate([self.known_from, other.known_from])
        order = np.lexsort((known, times))

        def both(mine: Sequence[Any], others: Sequence[Any]) -> list[Any]:
            return [np.concatenate(pair)[order] for pair in zip(mine, others, strict=True)]

        places = order.tolist()
        return Lot(
            times[order],
            known[order],
            np.concatenate([self.known_until, other.known_until])[order],
            np.concatenate([self.pushed, other.pushed])[order],
            np.concatenate([self.events, other.events])[order],
            both(self.numbers, other.numbers),
            both(self.ids, other.ids),
            both(self.present, other.present),
            both(self.masks, other.masks),
            [[(a + b)[at] for at in places] for a, b in zip(self.texts, other.texts, strict=True)],
            past,
        )

    def without(self, gone: Any) -> Lot:
        """Return the events whose flag is false; those with an id are remembered as past."""
        if not gone.any():
            return self
        left = self.chosen(gone & (self.events != 0))
        columns = (left.events, marks(left), left.times, left.known_until)
        return replace(self.chosen(~gone), past=np.concatenate([self.past, np.stack(columns, axis=1)]))

    def __len__(self) -> int:
        return len(self.times)


def marks(lot: Lot) -> Any:
    """Return int64, equal where versions are: of one event, and the same in all that the view's windows read."""
    made = _mixed(lot.events.view(np.uint64))
    for column in (lot.times, *lot.numbers, *lot.ids, *lot.present, *lot.masks, lot.pushed == RETRACTING):
        made = _mixed(made ^ (column.view(np.uint64) if column.itemsize == made.itemsize else column.astype(np.uint64)))
    for texts in lot.texts:
        made = _mixed(made ^ np.array([_hashed(one) for one in texts], np.uint64))
    return made.view(np.int64)


def _mixed(numbers: Any) -> Any:
    """Return uint64 in which each bit of a number decides on every bit (the last steps of SplitMix64)."""
    numbers = (numbers ^ (numbers >> 30)) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> 27)) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> 31)


def _hashed(value: Any) -> int:
    return int.from_bytes(hashlib.blake2b(msgspec.msgpack.encode(value), digest_size=8).digest(), "little")
