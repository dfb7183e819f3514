"""What was asked for: views and features by name, and the columns they make."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lifecycle.errors import UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lifecycle.definitions import Definitions, Projection, Service, View


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
    """All selections, the output columns in the order asked for, and the service if one was named."""

    selections: tuple[Selection, ...]
    names: tuple[str, ...]
    service: Service | None = None


def select(definitions: Definitions, features: str | Sequence[str], *, full_feature_names: bool = False) -> Wanted:
    """
    Resolve a service's name, or names written `view:feature` or `view` (all its features).

    Raises UsageError for unknown names, and when two features would share an output column.
    """
    service = None
    names_of_services = {one.name for one in definitions.services}
    if isinstance(features, str) and (features in names_of_services or ":" not in features):
        if features not in names_of_services and features in {one.name for one in definitions.views}:
            return select(definitions, [features], full_feature_names=full_feature_names)
        service = definitions.service(features)
        selections = [_project(definitions, one, full_feature_names) for one in service.projections]
        order = [name for one in selections for name in one.names]
    else:
        asked = [features] if isinstance(features, str) else list(features)
        selections, order = _listed(definitions, asked, full_feature_names)
    _refuse_repeated(selections, full_feature_names)
    return Wanted(tuple(selections), tuple(order), service)


def spine_columns(selections: Iterable[Selection]) -> list[str]:
    """Return the spine's key columns that the selections need, each once, in order."""
    return list(dict.fromkeys(key for one in selections for key in one.spine_keys))


def _listed(definitions: Definitions, asked: list[str], full: bool) -> tuple[list[Selection], list[str]]:
    by_view: dict[str, list[str]] = {}
    order: list[tuple[str, str]] = []
    for name in asked:
        view_name, _, feature = name.partition(":")
        view = definitions.view(view_name)
        taken = [view.feature(feature).name] if feature else [one.name for one in view.features]
        by_view.setdefault(view_name, []).extend(one for one in taken if one not in by_view.get(view_name, []))
        order += [(view_name, one) for one in taken if (view_name, one) not in order]
    selections = [_of_view(definitions.view(name), tuple(taken), full) for name, taken in by_view.items()]
    return selections, [_name(view, feature, full) for view, feature in order]


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


def _refuse_repeated(selections: list[Selection], full: bool) -> None:
    counted = Counter(name for one in selections for name in one.names)
    for name, times in counted.items():
        if times > 1:
            views = ", ".join(one.view.name for one in selections if name in one.names)
            remedy = "give one of them an alias" if full else "ask for full feature names (view__feature)"
            raise UsageError(f"several features would be called {name!r} (views {views}): {remedy}.")
