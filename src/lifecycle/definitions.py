"""
What a release means by its features: frozen, compiled once, read by frames, serving and receipts.

A release carries these as JSON, so that nothing which reads a release needs Feast or dbt, and a registry
that moves on changes nothing under a pinned release.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

from lifecycle.errors import unknown

KnownTime = Literal["as_known", "feast"]
AtT = Literal["include", "exclude"]
LabelKind = Literal["exists", "absent", "state_at"]
TIE_BREAK = ("sequence", "event_id", "content_hash")
EVENT_ID = "event_id"
SOURCES_TAG = "sources"


@dataclass(frozen=True)
class Field:
    """A column: `dtype` is DuckDB's name of its type, such as BIGINT, VARCHAR or DOUBLE[]."""

    name: str
    dtype: str


@dataclass(frozen=True)
class Window:
    """
    One aggregation over a view's events in [t - window, t).

    function: a name from SEMANTICS (count, sum, mean, ...). column: None counts events.
    window_us: length in microseconds, None for all history. where: an SQL predicate over the source's
    columns. bucket: a column and the declared value this output is for. parameter: k of last_k, the share
    of approx_quantile. currency: the column that says what money `column` is in; a window that mixes two
    is an error.
    """

    name: str
    function: str
    column: str | None = None
    window_us: int | None = None
    where: str | None = None
    bucket: tuple[str, str] | None = None
    parameter: float | None = None
    currency: str | None = None


@dataclass(frozen=True)
class View:
    """
    Features of one source.

    A row view (`windows` empty) holds states: `features` are columns of `relation`.
    A window view aggregates `relation`'s events; `features` are its windows' outputs.

    join_keys: (entity column of the spine, column of the relation), in Feast's order of entities.
    ttl_us: microseconds; None or 0 never expires. at_t: whether a row at exactly t counts.
    known_at: None when the source states no known time: then each row is known at its event time.
    tie_break: columns of the relation that decide between rows equal in event and known time.
    deleted: a boolean column marking tombstones. settled: the relation prepared at release, if any.
    event_id: columns of a window view's relation that tell its events apart, equal in all versions of one event.
    """

    name: str
    relation: str
    join_keys: tuple[tuple[str, str], ...]
    event_timestamp: str
    known_at: str | None
    features: tuple[Field, ...]
    keys: tuple[Field, ...] = ()
    ttl_us: int | None = None
    at_t: AtT = "include"
    tie_break: tuple[str, ...] = ()
    deleted: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    windows: tuple[Window, ...] = ()
    history_cap: int | None = None
    online: bool = True
    settled: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    event_id: tuple[str, ...] = ()

    def feature(self, name: str) -> Field:
        """Return the feature called `name`."""
        for known in self.features:
            if known.name == name:
                return known
        raise unknown(f"feature of view {self.name!r}", name, (f.name for f in self.features))

    @property
    def sources(self) -> frozenset[str]:
        """The sources whose watermarks decide up to when the view is complete (its tag `sources`); none means all."""
        named = dict(self.tags).get(SOURCES_TAG, "").split(",")
        return frozenset(part.strip() for part in named if part.strip())

    def column_of(self, feature: str) -> str:
        """Return the relation's column behind a feature (Feast's field mapping)."""
        return dict(self.columns).get(feature, feature)


@dataclass(frozen=True)
class Projection:
    """
    The features taken from one view, in order.

    alias: the view's name in full feature names. join_keys: spine column by entity column, where the
    spine's name differs from the entity's (Feast's join-key map).
    """

    view: str
    features: tuple[str, ...]
    alias: str | None = None
    join_keys: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class OnDemand:
    """
    Features that a function computes, row by row, from a row's features and from what the request brings.

    source: the text of the function's Python module, which is run as it stands, so that a release keeps its
    meaning when the file moves on. function: its name there; it takes an Arrow table of the inputs' features and
    the request's columns under their own names, and returns one Arrow array per feature. inputs: the features it
    reads. request: columns that come with the row: of the spine, or of the entity row online.
    """

    name: str
    function: str
    source: str
    inputs: tuple[Projection, ...]
    request: tuple[Field, ...]
    features: tuple[Field, ...]

    def feature(self, name: str) -> Field:
        """Return the feature called `name`."""
        for known in self.features:
            if known.name == name:
                return known
        raise unknown(f"feature of on-demand view {self.name!r}", name, (f.name for f in self.features))

    @property
    def code_hash(self) -> str:
        """SHA-256 of the module's text, in hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()


@dataclass(frozen=True)
class Service:
    """
    A named list of features that a model trains on and reads online.

    on_demand: names of on-demand views, each for all its features or, written `view:feature`, for one of them.
    """

    name: str
    projections: tuple[Projection, ...]
    on_demand: tuple[str, ...] = ()


@dataclass(frozen=True)
class Label:
    """
    What became true of a key within a horizon after t.

    relation: event versions with columns `event_timestamp`, `known_from`, `known_until` (NULL while in
    force) and the key columns. join_keys: (spine column, relation column). condition: SQL over the
    relation's columns. sources: whose watermarks decide maturity. For `state_at`, the state in force at
    t + H satisfies the condition. horizon_us and maturity_us are microseconds.
    """

    name: str
    kind: LabelKind
    relation: str
    join_keys: tuple[tuple[str, str], ...]
    horizon_us: int
    maturity_us: int
    sources: tuple[str, ...]
    condition: str = "true"


@dataclass(frozen=True)
class Definitions:
    """All that a release says about meaning. `code_version` is the engine's."""

    views: tuple[View, ...] = ()
    services: tuple[Service, ...] = ()
    labels: tuple[Label, ...] = ()
    known_time: KnownTime = "as_known"
    on_demand: tuple[OnDemand, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def view(self, name: str) -> View:
        """Return the view called `name`."""
        return _by_name("view", name, self.views)

    def service(self, name: str) -> Service:
        """Return the service called `name`."""
        return _by_name("service", name, self.services)

    def label(self, name: str) -> Label:
        """Return the label called `name`."""
        return _by_name("label", name, self.labels)

    def on_demand_view(self, name: str) -> OnDemand:
        """Return the on-demand view called `name`."""
        return _by_name("on-demand view", name, self.on_demand)

    def with_views(self, views: tuple[View, ...]) -> Definitions:
        """Return the same definitions over other views."""
        return replace(self, views=views)

    def to_json(self) -> str:
        """Write canonical JSON: sorted keys, no spaces, so equal definitions have equal bytes."""
        return self._json

    @cached_property
    def _json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> Definitions:
        """Read what `to_json` wrote."""
        given = json.loads(text)
        return cls(
            views=tuple(_view(v) for v in given["views"]),
            services=tuple(_service(s) for s in given["services"]),
            labels=tuple(Label(**_frozen(x)) for x in given["labels"]),
            known_time=given["known_time"],
            on_demand=tuple(_on_demand(one) for one in given["on_demand"]),
            extra=given["extra"],
        )


_Named = TypeVar("_Named", View, OnDemand, Service, Label)


def _by_name(kind: str, name: str, known: tuple[_Named, ...]) -> _Named:
    for one in known:
        if one.name == name:
            return one
    raise unknown(kind, name, (one.name for one in known))


def _frozen(given: dict[str, Any]) -> dict[str, Any]:
    return {key: _tuple(value) for key, value in given.items()}


def _tuple(value: Any) -> Any:
    return tuple(_tuple(one) for one in value) if isinstance(value, list) else value


def _view(given: dict[str, Any]) -> View:
    nested = {
        "features": tuple(Field(**f) for f in given["features"]),
        "keys": tuple(Field(**f) for f in given["keys"]),
        "windows": tuple(Window(**_frozen(w)) for w in given["windows"]),
    }
    return View(**(_frozen(given) | nested))


def _on_demand(given: dict[str, Any]) -> OnDemand:
    nested = {
        "inputs": tuple(Projection(**_frozen(one)) for one in given["inputs"]),
        "request": tuple(Field(**one) for one in given["request"]),
        "features": tuple(Field(**one) for one in given["features"]),
    }
    return OnDemand(**(given | nested))


def _service(given: dict[str, Any]) -> Service:
    return Service(
        name=given["name"],
        projections=tuple(Projection(**_frozen(p)) for p in given["projections"]),
        on_demand=_tuple(given["on_demand"]),
    )
