"""Feast views as the store holds them: which rows answer for a view, and how a request is read in one round trip."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.value_type import ValueType

from lifecycle.engine.selection import Selection
from lifecycle.feast_plugin.online_response import Block, Shape
from lifecycle.feast_plugin.online_values import SERIALIZED, Value, fits, form_of, key_value, ttl_of, view_of
from lifecycle.online.backend import CLOCK, SPACE_BYTES
from lifecycle.online.codec import schema_hash
from lifecycle.online.holding import covers, hold
from lifecycle.online.keys import LONGEST
from lifecycle.online.kinds import arrow_type
from lifecycle.online.read import NOT_FOUND, Part, WindowPart, part_of
from lifecycle.online.store import Clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feast import FeatureView

    from lifecycle.definitions import View
    from lifecycle.online import OnlineStore
    from lifecycle.online.codec import Columns
    from lifecycle.online.store import Catalog

_NATIVE: dict[ValueType, set[type]] = {ValueType.STRING: {str}, ValueType.INT64: {int}, ValueType.INT32: {int}}
Keys = dict[str, list[Any]]


class NotPlainError(Exception):
    """A key that was taken for a plain value of its type is none, such as a whole number of more than 64 bits."""


class Table:
    """A Feast view as rows are written for it: the store's view of it, and Feast's types."""

    missing = Value()

    def __init__(self, feast_view: FeatureView, view: View) -> None:
        self.view = view
        self.kinds = kinds_of(feast_view)
        self.types = {field.name: arrow_type(field.dtype) for field in (*view.keys, *view.features)}

    @property
    def plain(self) -> bool:
        """Whether Arrow columns are packed as they are: no key and no feature is kept as protobuf bytes."""
        blobs = {self.kinds.get(one.name) for one in self.view.features if one.dtype == "BLOB"}
        return blobs <= {ValueType.BYTES} and [key.name for key in self.view.keys] != [SERIALIZED]

    def arrow(self, column: pa.Array, name: str) -> pa.Array:
        """Return a column in the type the store packs; raises ArrowInvalid where a value does not fit."""
        wanted = self.types[name]
        if pa.types.is_timestamp(column.type) and pa.types.is_timestamp(wanted):
            # Finer than a microsecond goes; a naive time is UTC.
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        return column if column.type == wanted else column.cast(wanted)


@dataclass(frozen=True)
class Bound:
    """One view of a plan over the rows that answer for it; `part` is None where there are none."""

    part: Part | WindowPart | None
    prefix: bytes
    live: bool
    keys: tuple[str, ...]
    shape: Shape
    alike: str = ""
    """What its keys' bytes depend on, but for the prefix."""

    def encode(self, columns: Keys, count: int) -> list[bytes | None]:
        """Return the store's keys of `count` rows, None where a key can match nothing."""
        if self.part is None:
            return [None] * count
        encode, prefix = self.part.codec.keys.one, self.prefix
        if not self.keys:
            return [prefix] * count
        if len(self.keys) == 1:
            return [encode((value,), prefix) for value in columns.get(self.keys[0]) or [None] * count]
        given = [columns.get(name) or [None] * count for name in self.keys]
        return [encode(row, prefix) for row in zip(*given, strict=True)]


class Plan:
    """How to answer one kind of request: (Feast view, its features) in order, and the names in the answer."""

    def __init__(self, grouped: Sequence[tuple[Any, Sequence[str]]], full: bool) -> None:
        self.grouped = [(table, list(names)) for table, names in grouped]
        self.names = [
            [f"{table.projection.name_to_use()}__{name}" if full else name for name in names]
            for table, names in grouped
        ]
        self.views = [view_of(table) for table, _ in grouped]
        self.types: dict[str, ValueType] = {}
        self.entities: frozenset[str] = frozenset()
        self.key_names: list[dict[str, str]] = []
        self._needed: frozenset[str] = frozenset()
        self._plain: list[bool] = []
        self._bound: tuple[Any, int, list[Bound]] | None = None

    @classmethod
    def of_view(cls, table: FeatureView, names: Sequence[str]) -> Plan:
        """Plan to read features of one view under their own names."""
        return cls([(table, names)], full=False)

    @classmethod
    def of_request(cls, context: tuple[Any, ...], full: bool) -> Plan | None:
        """Plan a request as Feast resolved it; None where it needs more than reading."""
        _, on_demand, entity_names, types, join_keys, grouped, *_ = context
        if on_demand or any(getattr(table.projection, "version_tag", None) is not None for table, _ in grouped):
            return None
        plan = cls(grouped, full)
        if any(plan.serialized(at) for at in range(len(grouped))):
            return None
        plan.types = {name: kind for name, kind in types.items() if name in join_keys}
        plan.entities = frozenset(join_keys) | frozenset(entity_names)
        for at, (table, _) in enumerate(grouped):
            renamed = table.projection.join_key_map
            plan.key_names.append({key: renamed.get(key, key) for key, _ in plan.views[at].join_keys})
        plan._plain = [all(key == name for key, name in names.items()) for names in plan.key_names]
        plan._needed = frozenset(name for names in plan.key_names for name in names.values())
        return plan

    def serialized(self, at: int) -> bool:
        """Whether a view's rows are found by Feast's serialized entity keys."""
        return [field.name for field in self.views[at].keys] == [SERIALIZED]

    def columns(self, rows: Any) -> Keys | None:
        """Return the entity rows' key columns, None where they are not plain values of the keys' own types."""
        if isinstance(rows, list):
            if not rows:
                return None
            first = rows[0]
            if len(rows) > 1 and any(row.keys() != first.keys() for row in rows):
                return None
            given = {name: [row[name] for row in rows] for name in first if name in self.entities}
        else:
            given = {name: values for name, values in rows.items() if name in self.entities}
            if not all(isinstance(values, list) for values in given.values()):
                return None
            if len(set(map(len, given.values()))) != 1 or not all(given.values()):
                return None
        for name, values in given.items():
            native = _NATIVE.get(self.types.get(name, ValueType.UNKNOWN))
            if native is None or not native.issuperset(map(type, values)):
                return None
        return given if given and self._needed <= given.keys() else None

    def rows(self, keys: Keys) -> list[Keys]:
        """Return each view's key columns under its own names; others may stand beside them."""
        return [
            keys if plain else {key: keys[name] for key, name in names.items()}
            for names, plain in zip(self.key_names, self._plain, strict=True)
        ]

    def feast_keys(self, at: int, values: Mapping[str, Sequence[Any]]) -> Keys:
        """Return one view's key columns from columns of protobuf values."""
        if self.serialized(at):
            rows = zip(*values.values(), strict=True)
            return self.entity_keys([EntityKey(join_keys=list(values), entity_values=row) for row in rows], at)
        return {name: [key_value(one) for one in column] for name, column in values.items()}

    def entity_keys(self, keys: Sequence[EntityKey], at: int = 0) -> Keys:
        """Return one view's key columns from entity keys."""
        if self.serialized(at):
            return {SERIALIZED: [serialize_entity_key(key, entity_key_serialization_version=3) for key in keys]}
        names = [name for name, _ in self.views[at].join_keys]
        given = [dict(zip(key.join_keys, key.entity_values, strict=True)) for key in keys]
        return {name: [key_value(one.get(name)) for one in given] for name in names}

    def bound(self, store: OnlineStore, version: int | None = None) -> tuple[int, list[Bound]]:
        """Return the catalog's version and the views over the rows that answer for them."""
        known = self._bound
        if known is None or known[0] is not store or (version is not None and known[1] != version):
            newest, catalog = store.catalog(version)
            made = [self._bind(at, catalog) for at in range(len(self.grouped))]
            known = self._bound = (store, newest, made)
        return known[1], known[2]

    def _bind(self, at: int, catalog: Catalog) -> Bound:
        table, names = self.grouped[at]
        space = catalog.of(table.name).serving
        if space is None:
            nothing = [None] * len(names)
            return Bound(None, b"", live=True, keys=(), shape=Shape(self.names[at], nothing, nothing))
        view = replace(space.definition_of_view(), ttl_us=ttl_of(table))
        kinds = kinds_of(table)
        types = {field.name: field.dtype for field in view.features}
        if not space.release:
            # A feature whose type has changed since the rows were written has no value in them.
            types = {name: dtype for name, dtype in types.items() if fits(dtype, kinds.get(name))}
        held = [name for name in names if name in types]
        keys = tuple(entity for entity, _ in view.join_keys)
        return Bound(
            part=part_of(Selection(view, tuple(held), tuple(held), keys)),
            prefix=space.prefix,
            live=not space.release,
            keys=keys,
            shape=Shape(
                self.names[at],
                [held.index(name) if name in types else None for name in names],
                [form_of(types[name], kinds[name]) if name in types else None for name in names],
            ),
            alike=repr((keys, view.keys, table.projection.join_key_map)),
        )


class Tables:
    """A store with what reading and writing Feast views through it takes; safe to share between threads."""

    def __init__(self, store: OnlineStore) -> None:
        self.store = store

    def writable(self, feast_view: FeatureView) -> Table:
        """Return a view to write to; it begins here if the store does not hold it."""
        serving = self.store.catalog()[1].of(feast_view.name).serving
        if serving is not None and serving.release:
            return Table(feast_view, serving.definition_of_view())
        view = view_of(feast_view)
        schema = schema_hash(view)
        if serving is None or serving.schema != schema.hex():
            held = None if serving is None else serving.definition_of_view()
            if held is not None and covers(held, view):
                # A feature that was taken away, or a process that has not heard of a new one, changes no rows.
                return Table(feast_view, held)
            hold(self.store, view, schema)
        return Table(feast_view, view)

    def put(self, table: Table, rows: Columns) -> None:
        """Write rows, readable when this returns."""
        self.store.put(table.view, rows, at=time.time_ns() // 1000)

    def read(self, plan: Plan, keys: Sequence[Keys], count: int) -> list[Block]:
        """
        Return each view's answers for `count` rows of keys, all as of one moment of the store.

        Raises NotPlainError where a plain request's keys cannot all be looked up, so that Feast says what is wrong.
        """
        version, bound = plan.bound(self.store)
        while True:
            wanted = _encoded(bound, keys, count)
            asked = [key for key in wanted if key is not None]
            first, *found = self.store.backend.read([CLOCK, *asked])
            clock = Clock.from_bytes(first)
            if clock.version == version:
                break
            version, bound = plan.bound(self.store, clock.version)
        if len(asked) != len(wanted):
            if plan.types:
                raise NotPlainError
            entries = iter(found)
            found = [None if key is None else next(entries) for key in wanted]
        now = time.time_ns() // 1000
        mark = clock.read_time(now)
        blocks = []
        begin = 0
        for one in bound:
            if one.part is None:
                answers = [NOT_FOUND] * count
            else:
                answer, t = one.part.answer, now if one.live else mark
                answers = [answer(entry, t) for entry in found[begin : begin + count]]
            blocks.append(Block(one.shape, answers))
            begin += count
        return blocks


def _encoded(bound: Sequence[Bound], keys: Sequence[Keys], count: int) -> list[bytes | None]:
    """Return the keys in the store, `count` per view, None for none; of the same entities the prefix alone differs."""
    wanted: list[bytes | None] = []
    alike, tails = "", None
    for one, columns in zip(bound, keys, strict=True):
        if tails is not None and one.alike == alike:
            prefix = one.prefix
            wanted += [prefix + tail for tail in tails]
            continue
        made = one.encode(columns, count)
        wanted += made
        alike, tails = one.alike, None
        # What stands for a long key depends on the prefix too.
        present = [key for key in made if key is not None]
        if alike and len(present) == count and max(map(len, present), default=0) <= LONGEST:
            tails = [key[SPACE_BYTES:] for key in present]
    return wanted


def kinds_of(feast_view: FeatureView) -> dict[str, ValueType]:
    """Return a Feast view's features with their types; an on-demand view's stored inputs are among them."""
    fields = [*(getattr(feast_view, "schema", None) or ()), *feast_view.features]
    return {field.name: field.dtype.to_value_type() for field in fields}
