"""Filling one view: a new epoch loaded in key order, or the changes since the release that is served."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from operator import eq
from typing import TYPE_CHECKING, Any

import msgspec

from lifecycle.online.backend import META
from lifecycle.online.codec import ENTRY, Codec
from lifecycle.online.keys import KEPT
from lifecycle.online.needed import Needed, columns_of
from lifecycle.online.rows import Guard
from lifecycle.online.store import NEVER, Space

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lifecycle.online.codec import Packed
    from lifecycle.online.store import OnlineStore

BATCH_ROWS = 100_000
Items = list[tuple[bytes, bytes]]


class Progress(msgspec.Struct):
    """How far a load came: its last key (without the space), keys written, and whether that is all."""

    last: bytes = b""
    keys: int = 0
    complete: bool = False


def progress_key(space: Space) -> bytes:
    """Return the key of a space's Progress."""
    return META + b"progress" + space.prefix


@dataclass
class Filling:
    """One view's way from a release into a space. `said` is called with a sentence after each batch."""

    store: OnlineStore
    connection: Any
    codec: Codec
    space: Space
    release: int
    wanted: Needed
    said: Callable[[str], None]

    def load(self) -> int:
        """
        Load the space in key order and return its keys; go on where a dead run left it.

        All rows that come after the release's time are loaded too: the read time decides.
        """
        record = progress_key(self.space)
        left = self.store.backend.read([record])[0]
        progress = msgspec.msgpack.decode(left, type=Progress) if left else Progress()
        if progress.complete:
            return progress.keys
        resumed = progress.last
        for items, complete in _whole_keys(self._packed(self.wanted.ordered()), Guard(NEVER, self.codec.exclude)):
            fresh = _after(items, resumed)
            if fresh or complete:
                last = fresh[-1][0] if fresh else progress.last
                progress = Progress(last, progress.keys + len(fresh), complete)
                self._put(fresh, [(record, msgspec.msgpack.encode(progress))])
                self.said(f"{self.space.view}: {progress.keys:,} keys")
        return progress.keys

    def update(self, before: Needed) -> int:
        """Write the rows that the release behind `before` did not need; return their number."""
        count = 0
        for packed in self._packed(self.wanted.changed(before)):
            self.store.write(packed, exclude=self.codec.exclude)
            count += len(packed.keys)
            self.said(f"{self.space.view}: {count:,} changed rows")
        return count

    def _put(self, items: Items, records: Items) -> None:
        # The quick way is shut where keys are there already: rows pushed meanwhile, or another space behind this.
        if not self.store.backend.load(items, records):
            self.store.merge(dict(items), exclude=self.codec.exclude, records=records)

    def _packed(self, sql: str) -> Iterator[Packed]:
        cursor = self.connection.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        for batch in cursor.execute(sql).to_arrow_reader(BATCH_ROWS):
            rows = columns_of(batch, self.wanted.view)
            yield self.codec.pack(rows, prefix=self.space.prefix, epoch=self.space.epoch, release=self.release)


def _after(items: Items, last: bytes) -> Items:
    """Leave out what a dead run wrote. Long keys with one beginning are in no order, so these are written again."""
    if not last or not items or items[0][0] > last:
        return items
    return [item for item in items if item[0] > last or (len(last) > KEPT and item[0][:KEPT] == last[:KEPT])]


def _whole_keys(batches: Iterator[Packed], guard: Guard) -> Iterator[tuple[Items, bool]]:
    """Return (key, entry) lists in which each key has all its rows, and whether the list is the last."""
    held: Items = []
    for packed in batches:
        items = held + list(zip(packed.keys, packed.values, strict=True))
        keys = [key for key, _ in items]
        if any(map(eq, keys, islice(keys, 1, None))):
            entries: dict[bytes, bytes] = {}
            for key, entry in items:
                entries[key] = guard.merge(entries.get(key), entry, guard.visible(entry, ENTRY.size))
            items = list(entries.items())
        held = items[-1:]
        if len(items) > 1:
            yield items[:-1], False
    yield held, True
