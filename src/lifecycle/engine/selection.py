"""What was asked for: views and features by name, and the columns they make."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lifecycle.engine.on_demand import Computed
from lifecycle.errors import UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lifecycle.definitions import Definitions, OnDemand, Projection, Service, View


@dataclass(frozen=True)
class Selection:
    """
    Features of one view.

    names: their output columns. spine_keys: the spine's column for each of the view's join keys, in its order.
    """

    view: View
    features: tuple[str, ...]
    names: tuple[str, ...]
    spine_keys: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """
    What was asked for, and the service if one was named.

    names: the columns of stored and window features, in the order asked for. A selection may have further ones,
    which only on-demand features read. columns: all output columns in the order asked for, on-demand ones besides.
    """

    selections: tuple[Selection, ...]
    names: tuple[str, ...]
    service: Service | None = None
    on_demand: tuple[Computed, ...] = ()
    columns: tuple[str, ...] = ()


def select(definitions: Definitions, features: str | Sequence[str], *, full_feature_names: bool = False) -> Wanted:
    """
    Resolve a service's name, or names written `view:feature` or `view` (all its features).

    Raises UsageError for unknown names, and when two features would share an output column.
    """
    service = None
    names_of_services = {one.name for one in definitions.services}
    if isinstance(features, str) and (features in names_of_services or ":" not in features):
        views = {one.name for one in definitions.views} | {one.name for one in definitions.on_demand}
        if features not in names_of_services and features in views:
            return select(definitions, [features], full_feature_names=full_feature_names)
        service = definitions.service(features)
        selections = [_project(definitions, one, full_feature_names) for one in service.projections]
        computed = _taken(definitions, service.on_demand, full_feature_names)
        order = [name for selection in selections for name in selection.names]
        order += [name for made in computed for name in made.names]
    else:
        asked = [features] if isinstance(features, str) else list(features)
        selections, computed, order = _listed(definitions, asked, full_feature_names)
    _refuse_repeated(selections, computed, full_feature_names)
    on_demand = {name for one in computed for name in one.names}
    hidden, computed = _with_inputs(definitions, selections, computed)
    names = tuple(name for name in order if name not in on_demand)
    return Wanted((*selections, *hidden), names, service, tuple(computed), tuple(order))


def spine_columns(selections: Iterable[Selection]) -> list[str]:
    """Return the spine's key columns that the selections need, each once, in order."""
    return list(dict.fromkeys(key for one in selections for key in one.spine_keys))


def _listed(
    definitions: Definitions, asked: list[str], full: bool
) -> tuple[list[Selection], list[Computed], list[str]]:
    on_demand = {one.name: one for one in definitions.on_demand}
    by_view: dict[str, list[str]] = {}
    order: list[tuple[str, str]] = []
    for name in asked:
        view_name, _, feature = name.partition(":")
        view = on_demand.get(view_name) or definitions.view(view_name)
        taken = [view.feature(feature).name] if feature else [one.name for one in view.features]
        by_view.setdefault(view_name, []).extend(one for one in taken if one not in by_view.get(view_name, []))
        order += [(view_name, one) for one in taken if (view_name, one) not in order]
    stored = {name: tuple(taken) for name, taken in by_view.items() if name not in on_demand}
    selections = [_of_view(definitions.view(name), taken, full) for name, taken in stored.items()]
    computed = [_computed(on_demand[name], taken, full) for name, taken in by_view.items() if name in on_demand]
    return selections, computed, [_name(view, feature, full) for view, feature in order]


def _taken(definitions: Definitions, names: Iterable[str], full: bool) -> list[Computed]:
    """Return what a service takes of on-demand views: by name all features of one, by `view:feature` one of them."""
    by_view: dict[str, list[str]] = {}
    for name in names:
        view_name, _, feature = name.partition(":")
        view = definitions.on_demand_view(view_name)
        by_view.setdefault(view_name, []).extend([view.feature(feature).name] if feature else _all(view))
    return [_computed(definitions.on_demand_view(name), taken, full) for name, taken in by_view.items()]


def _all(view: OnDemand) -> list[str]:
    return [one.name for one in view.features]


def _computed(view: OnDemand, features: Sequence[str], full: bool) -> Computed:
    return Computed(view, tuple(features), tuple(_name(view.name, one, full) for one in features))


def _with_inputs(
    definitions: Definitions, selections: Sequence[Selection], computed: Sequence[Computed]
) -> tuple[list[Selection], list[Computed]]:
    """Return further selections of what on-demand views read and nobody asked for, and where each input is."""
    place = {
        (one.view.name, one.spine_keys, feature): name
        for one in selections
        for feature, name in zip(one.features, one.names, strict=True)
    }
    hidden: dict[tuple[str, tuple[str, ...]], Selection] = {}
    located = []
    for one in computed:
        inputs = [(field.name, field.name, field.dtype) for field in one.view.request]
        for projection in one.view.inputs:
            read = _project(definitions, projection, full=False)
            for feature in read.features:
                at = (read.view.name, read.spine_keys, feature)
                if at not in place:
                    place[at] = f"{read.view.name}:{','.join(read.spine_keys)}:{feature}"
                    before = hidden.get(at[:2], replace(read, features=(), names=()))
                    hidden[at[:2]] = replace(
                        before, features=(*before.features, feature), names=(*before.names, place[at])
                    )
                inputs.append((feature, place[at], read.view.feature(feature).dtype))
        located.append(replace(one, inputs=tuple(inputs)))
    return list(hidden.values()), located


def _project(definitions: Definitions, projection: Projection, full: bool) -> Selection:
    view = definitions.view(projection.view)
    for feature in projection.features:
        view.feature(feature)
    made = _of_view(view, projection.features, full, projection.alias)
    mapped = dict(projection.join_keys)
    for entity in mapped:
        if entity not in dict(view.join_keys):
            raise unknown(f"entity column of view {view.name!r}", entity, dict(view.join_keys))
    return replace(made, spine_keys=tuple(mapped.get(key, key) for key in made.spine_keys))


def _of_view(view: View, features: tuple[str, ...], full: bool, alias: str | None = None) -> Selection:
    names = tuple(_name(alias or view.name, feature, full) for feature in features)
    return Selection(view, features, names, tuple(entity for entity, _ in view.join_keys))


def _name(view: str, feature: str, full: bool) -> str:
    return f"{view}__{feature}" if full else feature


def _refuse_repeated(selections: list[Selection], computed: list[Computed], full: bool) -> None:
    every: list[Selection | Computed] = [*selections, *computed]
    counted = Counter(name for one in every for name in one.names)
    for name, times in counted.items():
        if times > 1:
            views = ", ".join(one.view.name for one in every if name in one.names)
            remedy = "give one of them an alias" if full else "ask for full feature names (view__feature)"
            raise UsageError(f"several features would be called {name!r} (views {views}): {remedy}.")
