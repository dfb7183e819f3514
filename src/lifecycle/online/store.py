"""
The online store: views' packed rows in spaces, under one clock.

A space holds one view's rows under one definition: an epoch. A changed definition, or a rollback, loads a new
space beside the served one and then takes its place in one write. Within an epoch the guard decides.

The clock says up to when the store is filled (`high_water`) and from when on it can answer (`floor`). Rows that
become visible after the high-water mark wait beside the ones in force, so moving the mark shows all of them, in
all views, at once.
"""

from __future__ import annotations

import struct
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from lifecycle.definitions import Definitions
from lifecycle.errors import PlatformError, UsageError
from lifecycle.online.backend import CLOCK, META, SPACE_BYTES
from lifecycle.online.codec import Codec, Packed
from lifecycle.online.rows import Guard, split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lifecycle.definitions import View
    from lifecycle.online.backend import Backend, Changes, Found
    from lifecycle.online.codec import Columns

CATALOG = META + b"catalog"
DEFINITIONS = META + b"definitions"
PUSHED = META + b"pushed"
NEVER = -(2**63)
_CLOCK = struct.Struct(">Qqq")


class Clock(NamedTuple):
    """version: counts changes of the catalog. high_water, floor: microseconds since 1970, NEVER at first."""

    version: int = 0
    high_water: int = NEVER
    floor: int = NEVER

    def moved(self, at: int | None) -> Clock:
        """Return the clock with its mark moved up to `at`; what a write then keeps is answerable from the old mark."""
        if at is None or at <= self.high_water:
            return self
        return Clock(self.version, at, max(self.floor, self.high_water))

    def read_time(self, now: int) -> int:
        """Return the read time at clock time `now`: no later than the mark, no earlier than can be answered."""
        return max(self.floor, min(now, self.high_water))

    def to_bytes(self) -> bytes:
        """Return what `from_bytes` reads."""
        return _CLOCK.pack(*self)

    @classmethod
    def from_bytes(cls, data: bytes | None) -> Clock:
        """Read a clock; None is a new store's."""
        return cls._make(_CLOCK.unpack(data)) if data else cls()


class Space(msgspec.Struct, frozen=True):
    """
    One view's rows under one definition.

    schema, content, definition: hashes of the rows' layout, of all that decides them, of the whole view.
    release, at: the last release written and its time in microseconds; release 0 for a space that is only written
    to. snapshot: that release's in the lake. declared: the view itself, as JSON.
    """

    number: int
    epoch: int
    view: str
    schema: str
    content: str
    definition: str
    release: int
    at: int
    snapshot: int
    declared: str = ""

    def definition_of_view(self) -> View:
        """Return the view whose rows these are."""
        return Definitions.from_json(self.declared).view(self.view)

    @property
    def prefix(self) -> bytes:
        """What each of its keys begins with."""
        return self.number.to_bytes(SPACE_BYTES, "big")


class Spaces(msgspec.Struct, frozen=True):
    """A view's spaces: the served one, the one before it (for readers of its definition), one being loaded."""

    serving: Space | None = None
    previous: Space | None = None
    loading: Space | None = None


class Catalog(msgspec.Struct, frozen=True):
    """
    What the store holds.

    next: the number of the next space. release: the one filled last. dropped: spaces still to be cleared.
    """

    views: dict[str, Spaces] = {}
    next: int = 1
    release: int = 0
    dropped: list[int] = []

    def of(self, view: str) -> Spaces:
        """Return a view's spaces."""
        return self.views.get(view, Spaces())

    def with_(self, **changes: Any) -> Catalog:
        """Return the catalog with fields replaced."""
        return msgspec.structs.replace(self, **changes)

    def with_view(self, view: str, spaces: Spaces) -> Catalog:
        """Return the catalog with a view's spaces replaced."""
        return self.with_(views={**self.views, view: spaces})


class OnlineStore:
    """Packed rows by view and key over a backend; safe to share between threads."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._catalog: tuple[int, Catalog] | None = None
        self._lock = threading.Lock()
        self._definitions: tuple[int, Definitions] | None = None
        self.readers: dict[Any, Any] = {}

    def clock(self) -> Clock:
        """Return the clock."""
        return Clock.from_bytes(self.backend.read([CLOCK])[0])

    def catalog(self, version: int | None = None) -> tuple[int, Catalog]:
        """Return (version, catalog): one already known if its version is `version`, else the newest."""
        known = self._catalog
        if known is None or known[0] != version:
            clock, data = self.backend.read([CLOCK, CATALOG])
            known = (Clock.from_bytes(clock).version, _catalog(data))
            with self._lock:
                self._catalog = known
        return known

    def definitions(self) -> Definitions:
        """Return the definitions of the release that the store was filled from last."""
        version = self.clock().version
        known = self._definitions
        if known is None or known[0] != version:
            data = self.backend.read([DEFINITIONS])[0]
            if data is None:
                raise UsageError("the online store holds no release yet: fill it with `lifecycle materialize`.")
            known = self._definitions = (version, Definitions.from_json(data.decode()))
        return known[1]

    def put(self, view: View, rows: Columns, *, at: int | None = None) -> None:
        """
        Write pushed rows under the guard: an older row never replaces a newer one.

        at: microseconds; the high-water mark moves up to it in the same write, so that what is known by then
        can be read. The columns' keys and event times hold no NULL. Raises UsageError for a view the store
        does not hold.
        """
        if view.windows:
            raise UsageError(f"view {view.name!r} has windows: push its events, not its features.")
        codec = Codec(view)
        written = False
        while not written:
            version, catalog = self.catalog()
            serving = self.serving(view, codec.schema, catalog)
            loading = catalog.of(view.name).loading
            both = loading is not None and loading.schema == serving.schema
            spaces = [serving, loading] if both else [serving]
            packs = [codec.pack(rows, prefix=one.prefix, epoch=one.epoch, release=0) for one in spaces if one]
            whole = Packed(
                [key for pack in packs for key in pack.keys],
                [value for pack in packs for value in pack.values],
                np.concatenate([pack.visible for pack in packs]),
            )
            written = self.write(whole, exclude=codec.exclude, at=at, version=version)

    def write(self, packed: Packed, *, exclude: bool, at: int | None = None, version: int | None = None) -> bool:
        """
        Merge packed rows into what is there, under the guard, and move the high-water mark up to `at`.

        version: the catalog's, by which the spaces were chosen; False, and nothing written, if it has changed.
        """
        keys, values, visible = packed.keys, packed.values, packed.visible.tolist()
        places = list(dict.fromkeys(keys))
        written = True

        def decide(found: Found) -> Changes:
            nonlocal written
            clock = Clock.from_bytes(found[-1]).moved(at)
            written = version is None or clock.version == version
            if not written:
                return []
            merge = Guard(clock.floor, exclude).merge
            if len(places) == len(keys):
                old = found[:-1]
                made: Changes = [
                    (key, entry)
                    for key, entry, before in zip(keys, map(merge, old, values, visible), old, strict=True)
                    if entry is not before
                ]
            else:
                now = dict(zip(places, found[:-1], strict=True))
                for key, new, seen in zip(keys, values, visible, strict=True):
                    now[key] = merge(now[key], new, seen)
                made = list(now.items())
            return made + _meta(clock, moved=at is not None)

        self.backend.change([*places, CLOCK], decide)
        return written

    def merge(self, entries: dict[bytes, bytes], *, exclude: bool, records: list[tuple[bytes, bytes]]) -> None:
        """Merge entries of any number of rows into what is there, under the guard, and write `records` behind them."""
        keys = list(entries)

        def decide(found: Found) -> Changes:
            guard = Guard(Clock.from_bytes(found[-1]).floor, exclude)
            pairs = zip(keys, found[:-1], strict=True)
            made = [(key, guard.settle(entries[key], [*split(entries[key]), *split(old or b"")])) for key, old in pairs]
            return [*made, *records]

        self.backend.change([*keys, CLOCK], decide)

    def update(
        self, change: Callable[[Catalog], Catalog], *, at: int | None = None, also: Changes | None = None
    ) -> Catalog:
        """Change the catalog; `at` sets high-water mark and floor, no read before it being answerable after."""
        result = Catalog()

        def decide(found: Found) -> Changes:
            nonlocal result
            clock = Clock.from_bytes(found[1])
            result = change(_catalog(found[0]))
            if at is not None:
                clock = Clock(clock.version, max(clock.high_water, at), max(clock.floor, at))
            return [*(also or []), *_meta(clock, result)]

        self.backend.change([CATALOG, CLOCK], decide)
        return result

    def advance(self, at: int) -> None:
        """Say that all facts known by `at` (microseconds) are in: move the high-water mark up to it."""

        def decide(found: Found) -> Changes:
            clock = Clock.from_bytes(found[0])
            return _meta(Clock(clock.version, max(clock.high_water, at), clock.floor), moved=True)

        self.backend.change([CLOCK], decide)

    def serving(self, view: View, schema: bytes, catalog: Catalog | None = None) -> Space:
        """Return the space that answers for `view`; raises where the store has none of its schema."""
        spaces = (catalog or self.catalog()[1]).of(view.name)
        for space in (spaces.serving, spaces.previous):
            if space is not None and space.schema == schema.hex():
                return space
        if spaces.serving is None:
            raise UsageError(
                f"the online store holds no view {view.name!r}. It is filled by `lifecycle materialize`, "
                "for views declared with online=True."
            )
        raise PlatformError(
            f"the online store holds view {view.name!r} with schema {spaces.serving.schema} (release "
            f"{spaces.serving.release}), and this reader's definitions make it {schema.hex()}. Read with the "
            "store's own definitions, or materialize the release you read with."
        )

    def forget(self, names: Sequence[str]) -> None:
        """Drop views with all their rows; those the store does not hold are passed over."""
        gone: list[int] = []

        def change(catalog: Catalog) -> Catalog:
            found = [catalog.of(name) for name in names]
            gone[:] = [
                space.number for one in found for space in (one.serving, one.previous, one.loading) if space is not None
            ]
            return catalog.with_(views={name: one for name, one in catalog.views.items() if name not in names})

        if set(names) & set(self.catalog()[1].views):
            self.update(change)
        for number in gone:
            self.clear(number)

    def clear(self, number: int) -> None:
        """Delete a space with all that is noted of its keys."""
        space = number.to_bytes(SPACE_BYTES, "big")
        self.backend.clear(space)
        noted: Changes = [(key, None) for key, _ in self.backend.scan(PUSHED + space)]
        if noted:
            self.backend.change([], partial(_exactly, noted))

    def delete(self, view: View, key: Sequence[Any]) -> int:
        """
        Delete a key's rows from every space of the view and return how many entries went.

        Fewer values than the view has keys delete every key that begins with them.
        """
        codec = Codec(view)  # a window view's keys are the same
        whole = len(key) == len(view.join_keys)
        gone = 0
        spaces = self.catalog()[1].of(view.name)
        for space in (spaces.serving, spaces.previous, spaces.loading):
            prefix = codec.keys.one(key, space.prefix) if space is not None else None
            if prefix is None:
                continue
            found = [one for one, _ in self.backend.scan(prefix) if not whole or one == prefix]
            gone_now: Changes = [(name, None) for one in found for name in (one, PUSHED + one)]
            self.backend.change(found, partial(_exactly, gone_now))
            gone += len(found)
        return gone

    def close(self) -> None:
        """Close the backend."""
        self.backend.close()


def _exactly(changes: Changes, _: Found) -> Changes:
    return changes


def _catalog(data: bytes | None) -> Catalog:
    return msgspec.json.decode(data, type=Catalog) if data else Catalog()


def moved(clock: Clock, at: int | None) -> Changes:
    """Return the change that moves the high-water mark up to `at`, none without a time."""
    return [] if at is None else _meta(clock.moved(at), moved=True)


def _meta(clock: Clock, catalog: Catalog | None = None, *, moved: bool = False) -> Changes:
    """Return the store's own records to write, the clock last."""
    if catalog is None:
        return [(CLOCK, clock.to_bytes())] if moved else []
    newer = Clock(clock.version + 1, clock.high_water, clock.floor)
    return [(CATALOG, msgspec.json.encode(catalog)), (CLOCK, newer.to_bytes())]
