"""
Reading features online: several views and many keys in one round trip, each value with its age and status.

The value at read time t is the frame's for (key, t) on the same facts. t is the lesser of the clock and the
store's high-water mark, unless one is given.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lifecycle.engine.selection import Selection, select
from lifecycle.engine.windows.single import Single
from lifecycle.errors import UsageError
from lifecycle.online.backend import CLOCK
from lifecycle.online.codec import BIAS, DELETED, ENTRY, FIRST, ROW, SCHEMA, Codec
from lifecycle.online.computed import computed
from lifecycle.online.events import EventCodec, converter
from lifecycle.online.rows import row_at
from lifecycle.online.store import Clock
from lifecycle.times import from_microseconds, iso, to_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lifecycle.definitions import Definitions, View, Window
    from lifecycle.online.store import OnlineStore, Space

Status = Literal["PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND"]


@dataclass(frozen=True)
class OnlineValue:
    """
    One feature at the read time.

    event_timestamp: when the value's row became true, or the newest event in force (UTC). age: from then to the read
    time; both None where there is none. definition: hash of the view's definition that made it. release: the release
    that wrote the row, None for a pushed one. freshness: "push" or "release", None for NOT_FOUND.
    status: PRESENT (a NULL value is present too), OUTSIDE_MAX_AGE (older than the view's ttl: no value),
    NOT_FOUND (no row, or a tombstone).
    """

    value: Any
    event_timestamp: datetime | None
    age: timedelta | None
    status: Status
    definition: str
    release: int | None = None
    freshness: Literal["push", "release"] | None = None


class Answer(NamedTuple):
    """One view's answer for one key: `values` in the selection's order, `event` in microseconds or None."""

    status: Status
    values: Sequence[Any] | None
    event: int | None
    release: int


_READERS = 64
_COUNTS = {"count", "count_distinct"}
_HEAD = ENTRY.size
_first = FIRST.unpack_from
_answer = Answer._make  # half the time of calling the class
NOT_FOUND = Answer("NOT_FOUND", None, None, 0)


class Row(Mapping[str, OnlineValue]):
    """One key's features by output name, in the order asked for, made when looked at."""

    __slots__ = ("_answers", "_computed", "_reader", "t")

    def __init__(self, reader: Reader, answers: list[Answer], t: int, computed: dict[str, Any] | None = None) -> None:
        self._reader = reader
        self._answers = answers
        self._computed = computed
        self.t = t

    def __getitem__(self, name: str) -> OnlineValue:
        if self._computed is not None and name in self._computed:
            return OnlineValue(self._computed[name], None, None, "PRESENT", self._reader.definitions.hash)
        part, position = self._reader.places[name]
        status, values, event, release = self._answers[part]
        definition = self._reader.parts[part].definition
        value = values[position] if values is not None else None
        if event is None:
            return OnlineValue(value, None, None, status, definition)
        age = timedelta(microseconds=self.t - event)
        origin: Literal["push", "release"] = "release" if release else "push"
        return OnlineValue(value, from_microseconds(event), age, status, definition, release or None, origin)

    def __iter__(self) -> Iterator[str]:
        return iter(self._reader.places)

    def __len__(self) -> int:
        return len(self._reader.places)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, NULL where there is none; the quickest way to a model's input."""
        parts = self._reader.parts
        if len(parts) == 1 and self._computed is None:
            only, values = parts[0], self._answers[0].values
            # A copy has its size from the beginning, and an answer as many values as its part has names.
            filled = only.nothing.copy()
            if values is not None:
                filled.update(zip(only.names, values))  # noqa: B905
            return filled
        made: dict[str, Any] = {}
        for part, (_, values, _, _) in zip(parts, self._answers, strict=True):
            made.update(part.nothing if values is None else zip(part.names, values, strict=True))
        if self._computed is None:
            return made
        # Features that only on-demand ones read are left out.
        made |= self._computed
        return {name: made[name] for name in self._reader.places}


class Part:
    """One view of a service, ready to be read."""

    def __init__(self, selection: Selection) -> None:
        self.view = view = selection.view
        self.names = selection.names
        self.nothing = dict.fromkeys(selection.names)
        self.key_names = selection.spine_keys
        self.codec = Codec(view)
        self.ttl = view.ttl_us or 0
        self._schema = self.codec.schema
        self._exclude = int(self.codec.exclude)
        self.definition = definition_hash(view)
        self._positions = [self.codec.features.index(name) for name in selection.features]
        self._whole = self._positions == list(range(len(self.codec.features)))

    def answer(self, entry: bytes | None, t: int) -> Answer:
        """Return the state in force at `t` (microseconds)."""
        if entry is None:
            return NOT_FOUND
        schema, length, event, known, release, flags = _first(entry)
        if schema != self._schema:
            self.codec.check(entry)
        start = _HEAD
        if start + length != len(entry):
            found = row_at(entry, t, exclude=self.codec.exclude)
            if found is None:
                return NOT_FOUND
            start = found
            _, event, _, release, flags = ROW.unpack_from(entry, start)
        elif known > (now := t + BIAS) or event + self._exclude > now:
            return NOT_FOUND
        if flags & DELETED:
            return NOT_FOUND
        event -= BIAS
        if self.ttl and t - event > self.ttl:
            return Answer("OUTSIDE_MAX_AGE", None, event, release)
        values = self.codec.unpack(entry, start)
        if not self._whole:
            values = [values[at] for at in self._positions]
        return _answer(("PRESENT", values, event, release))


class WindowPart:
    """One window view of a service: the engine's kernel over a key's recent events."""

    def __init__(self, selection: Selection) -> None:
        self.view = view = selection.view
        self.names = selection.names
        self.nothing = dict.fromkeys(selection.names)
        self.key_names = selection.spine_keys
        self.codec = EventCodec(view)
        self.definition = definition_hash(view)
        self._schema = self.codec.schema
        wanted = {one.name: one for one in view.windows}
        self._single = Single([wanted[name] for name in selection.features], self.codec.inputs, view.history_cap)
        converts = [_conversion(view, wanted[name]) for name in selection.features]
        self._converts = [(at, convert) for at, convert in enumerate(converts) if convert is not None]
        self._empty = [0 if wanted[name].function in _COUNTS else None for name in selection.features]

    def answer(self, entry: bytes | None, t: int) -> Answer:
        """Return the windows' values at `t` (microseconds): there are some for every key."""
        if entry is None:
            return Answer("PRESENT", self._empty, None, 0)
        if entry[SCHEMA] != self._schema:
            Codec(self.view).check(entry)
        values, newest = self._single.values(self.codec.decode(entry), t)
        for at, convert in self._converts:
            if values[at] is not None:
                values[at] = convert(values[at])
        there, release = self.codec.origin(entry)
        return _answer(("PRESENT", values, newest, 0 if there else release))


def part_of(selection: Selection) -> Part | WindowPart:
    """Return a view of a service, ready to be read."""
    return WindowPart(selection) if selection.view.windows else Part(selection)


def _conversion(view: View, window: Window) -> Callable[[Any], Any] | None:
    """Return what makes a value of the feature's type from the kernel's number, None where the number is it."""
    if window.function not in {"min", "max", "approx_quantile"}:
        return None
    return converter(view.feature(window.name).dtype)


class Reader:
    """
    Reads one service (or features named `view` or `view:feature`) from a store.

    Make it once and keep it: names, layouts and key types are worked out here. Safe to share between threads.
    Raises UsageError for unknown names, and for a view that is not online.
    """

    def __init__(
        self,
        store: OnlineStore,
        definitions: Definitions,
        features: str | Sequence[str],
        *,
        full_feature_names: bool = False,
    ) -> None:
        wanted = select(definitions, features, full_feature_names=full_feature_names)
        self.store = store
        self.definitions = definitions
        self.parts = [part_of(one) for one in wanted.selections]
        by_name = {name: (at, i) for at, one in enumerate(self.parts) for i, name in enumerate(one.names)}
        self.places = {name: by_name.get(name, (0, 0)) for name in wanted.columns}
        self._read_names = by_name
        self._on_demand = wanted.on_demand
        self._spaces: tuple[int, list[Space]] | None = None

    def read(self, keys: Sequence[Mapping[str, Any]], t: datetime | None = None) -> list[Row]:
        """
        Return one row per key, in order, all as of one moment of the store.

        keys: values by entity column; NULL matches nothing, and a view whose columns are not given finds nothing.
        t: a naive time is UTC. Raises UsageError for keys of no view asked for, and for a `t` earlier than the store
        can answer.
        """
        if len(keys) == 1 and len(self.parts) == 1 and not self._on_demand:
            return [self._read_one(self.parts[0], keys, t)]
        version, spaces = self._spaces or self._resolve(None)
        while True:
            wanted = [self._encode(part, space, keys) for part, space in zip(self.parts, spaces, strict=True)]
            asked = [key for column in wanted for key in column if key is not None]
            found = self.store.backend.read([CLOCK, *asked])
            clock = Clock.from_bytes(found[0])
            if clock.version == version:
                break
            version, spaces = self._resolve(clock.version)
        at = clock.read_time(time.time_ns() // 1000) if t is None else self._asked(t, clock)
        entries = iter(found)
        next(entries)
        columns = [
            [part.answer(None if key is None else next(entries), at) for key in column]
            for part, column in zip(self.parts, wanted, strict=True)
        ]
        if not self._on_demand:
            return [Row(self, list(answers), at) for answers in zip(*columns, strict=True)]
        return self._with_computed(columns, keys, at)

    def _read_one(self, part: Part | WindowPart, keys: Sequence[Mapping[str, Any]], t: datetime | None) -> Row:
        # The same for one key of one view, in two thirds of the time.
        version, spaces = self._spaces or self._resolve(None)
        while True:
            [key] = self._encode(part, spaces[0], keys)
            found = self.store.backend.read((CLOCK,) if key is None else (CLOCK, key))
            clock = Clock.from_bytes(found[0])
            if clock.version == version:
                break
            version, spaces = self._resolve(clock.version)
        at = clock.read_time(time.time_ns() // 1000) if t is None else self._asked(t, clock)
        return Row(self, [part.answer(None if key is None else found[1], at)], at)

    def _with_computed(self, columns: list[list[Answer]], keys: Sequence[Mapping[str, Any]], at: int) -> list[Row]:
        def read(name: str) -> list[Any] | None:
            if name not in self._read_names:
                return None
            part, position = self._read_names[name]
            return [None if one.values is None else one.values[position] for one in columns[part]]

        made = computed(self._on_demand, read, keys)
        each = [dict(zip(made, row, strict=True)) for row in zip(*made.values(), strict=True)]
        found = zip(*columns, strict=True) if columns else [()] * len(keys)
        return [Row(self, list(answers), at, one) for answers, one in zip(found, each, strict=True)]

    def _encode(self, part: Part | WindowPart, space: Space, keys: Sequence[Mapping[str, Any]]) -> list[bytes | None]:
        encode, prefix, names = part.codec.keys.one, space.prefix, part.key_names
        try:
            if len(names) == 1:
                [name] = names
                return [encode((row[name],), prefix) for row in keys]
            return [encode([row[name] for name in names], prefix) for row in keys]
        except KeyError:
            return [self._encode_given(part, prefix, row) for row in keys]

    def _encode_given(self, part: Part | WindowPart, prefix: bytes, row: Mapping[str, Any]) -> bytes | None:
        names = part.key_names
        if all(name in row for name in names):
            return part.codec.keys.one([row[name] for name in names], prefix)
        if not any(set(row).issuperset(one.key_names) for one in self.parts):
            raise UsageError(
                f"view {part.view.name!r} is keyed by {', '.join(names)}, and the keys given are "
                f"{', '.join(map(repr, row)) or 'none'}. Give the keys of one of the views at least."
            )
        return None

    def _resolve(self, version: int | None) -> tuple[int, list[Space]]:
        newest, catalog = self.store.catalog(version)
        spaces = [self.store.serving(part.view, part.codec.schema, catalog) for part in self.parts]
        self._spaces = (newest, spaces)
        return self._spaces

    def _asked(self, t: datetime, clock: Clock) -> int:
        at = to_microseconds(t)
        if at < clock.floor:
            raise UsageError(
                f"the online store keeps what is in force from {iso(from_microseconds(clock.floor))} on and cannot "
                f"answer for {iso(t)}. Ask a training frame for earlier times."
            )
        return at


def read(
    store: OnlineStore,
    definitions: Definitions,
    service: str | Sequence[str],
    keys: Sequence[Mapping[str, Any]],
    t: datetime | None = None,
    *,
    full_feature_names: bool = False,
) -> list[Row]:
    """Return one row of features per key; see `Reader.read`. Readers are kept with the store."""
    asked = service if isinstance(service, str) else tuple(service)
    name = (id(definitions), asked, full_feature_names)
    reader = store.readers.get(name)
    # The reader holds its definitions, so an id in use cannot mean others.
    if reader is None:
        reader = Reader(store, definitions, service, full_feature_names=full_feature_names)
        if len(store.readers) >= _READERS:
            store.readers.clear()
        store.readers[name] = reader
    return reader.read(keys, t)


def definition_hash(view: View) -> str:
    """Return the SHA-256 of a view's definition, in hexadecimal; where it is settled does not matter."""
    return _hash(view, ())


def content_hash(view: View) -> str:
    """Return the hash of all that decides a view's rows: not its ttl, which is applied when they are read."""
    return _hash(view, ("ttl_us", "tags", "online"))


def _hash(view: View, without: Sequence[str]) -> str:
    given = {name: value for name, value in asdict(view).items() if name not in {"settled", *without}}
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()
