"""Turning Feast's declarations into the definitions that a release carries."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, get_args

from feast.feature_view import DUMMY_ENTITY_NAME

from lifecycle.definitions import Definitions, Field, Label, LabelKind, OnDemand, Projection, Service, View
from lifecycle.errors import UsageError, unknown
from lifecycle.feast_plugin.on_demand import compiled, input_types
from lifecycle.feast_plugin.repo import load_repo_config, on_path, parse
from lifecycle.feast_plugin.scope import columns_of, relations_of
from lifecycle.feast_plugin.source import LifecycleSource, column_of
from lifecycle.feast_plugin.window_fields import check_filters, window_fields
from lifecycle.times import MICROSECOND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView

    from lifecycle.config import Settings


def compile_repo(settings: Settings, connection: Any) -> Definitions:
    """
    Compile the project's Feast repo and labels against the relations that `connection` sees.

    Views, services and on-demand views are sorted by name, so equal repos give equal definitions. A view
    without a schema takes every column of its relation but keys, times, tie-break and tombstone mark.
    Raises UsageError when a source names a relation or column that is not there.
    """
    contents = parse(settings)
    entities = {entity.name: entity for entity in contents.entities}
    by_name = {view.name: view for view in contents.feature_views}
    views = tuple(_compile_view(by_name[name], entities, connection) for name in sorted(by_name))
    on_demand = sorted(contents.on_demand_feature_views, key=lambda one: one.name)
    features = {view.name: tuple(feature.name for feature in view.features) for view in views}
    computed = {one.name: tuple(feature.name for feature in one.features) for one in on_demand}
    services = sorted(contents.feature_services, key=lambda one: one.name)
    return Definitions(
        views=views,
        services=tuple(_compile_service(one, features, computed) for one in services),
        labels=load_labels(settings),
        known_time=load_repo_config(settings).offline_store.known_time,
        on_demand=tuple(_compile_on_demand(one, {view.name: view for view in views}) for one in on_demand),
    )


def load_labels(settings: Settings) -> tuple[Label, ...]:
    """Return `LABELS` of the module that lifecycle.toml names, sorted by name."""
    with on_path(settings.root):
        sys.modules.pop(settings.labels, None)  # an edited module is read again
        try:
            labels = importlib.import_module(settings.labels).LABELS
        except (ModuleNotFoundError, AttributeError) as error:
            raise UsageError(
                f"[labels] module = {settings.labels!r} in lifecycle.toml has no LABELS: {error}. "
                "Write a module with LABELS = () in it, or name the one that has them."
            ) from error
    twice = [name for name, times in Counter(label.name for label in labels).items() if times > 1]
    if twice:
        raise UsageError(f"LABELS of {settings.labels!r} has {', '.join(twice)} more than once. Rename all but one.")
    for label in labels:
        _refuse_senseless(label)
    return tuple(sorted(labels, key=lambda label: str(label.name)))


def _refuse_senseless(label: Label) -> None:
    if label.kind not in get_args(LabelKind):
        raise unknown(f"kind of label {label.name!r}", label.kind, get_args(LabelKind))
    if label.horizon_us < 0 or label.maturity_us < 0:
        raise UsageError(
            f"label {label.name!r} has horizon_us={label.horizon_us} and maturity_us={label.maturity_us}, and would be "
            "judged before its time. Both are microseconds, 0 or more."
        )


def view_of(
    feature_view: FeatureView,
    relation: str,
    columns: Mapping[str, str],
    join_keys: tuple[str, ...],
    features: tuple[str, ...],
) -> View:
    """
    Return our View of a Feast view.

    columns: the relation's columns with DuckDB's types. join_keys, features: Feast's names, before the
    source's field mapping is undone. Raises UsageError when the relation lacks one of the columns.
    """
    source = feature_view.batch_source
    ours = isinstance(source, LifecycleSource)

    def column(name: str) -> str:
        found = column_of(source, name)
        if found not in columns:
            raise unknown(f"column of {relation}, wanted by view {feature_view.name!r},", found, columns)
        return found

    if ours and source.aggregations:
        return _window_view(feature_view, relation, columns, join_keys, features)
    known_at = source.created_timestamp_column
    mapped = {name: column(name) for name in features}
    return View(
        name=feature_view.name,
        relation=relation,
        join_keys=tuple((key, column(key)) for key in join_keys),
        event_timestamp=column(source.timestamp_field),
        known_at=column(known_at) if known_at else None,
        features=tuple(Field(name, columns[mapped[name]]) for name in features),
        keys=tuple(Field(column(key), columns[column(key)]) for key in join_keys),
        ttl_us=feature_view.ttl // MICROSECOND if feature_view.ttl else None,
        at_t=source.at_t if ours else "include",
        tie_break=source.tie_break_in(columns) if ours else (),
        deleted=source.deleted_in(columns) if ours else None,
        columns=tuple((name, mapped[name]) for name in features if mapped[name] != name),
        online=feature_view.online,
        tags=tuple(sorted(feature_view.tags.items())),
    )


def _window_view(
    feature_view: FeatureView,
    relation: str,
    columns: Mapping[str, str],
    join_keys: tuple[str, ...],
    features: tuple[str, ...],
) -> View:
    source = feature_view.batch_source
    source.validate_columns(columns)
    possible = {field.name: field for field in window_fields(source, columns)}
    for name in features:
        if name not in possible:
            raise unknown(f"feature of source {source.name!r}, wanted by view {feature_view.name!r},", name, possible)
    if feature_view.ttl:
        raise UsageError(f"view {feature_view.name!r} has a ttl, which windows do not need: take shorter windows.")
    keys = {key: column_of(source, key) for key in join_keys}
    for column in keys.values():
        if column not in columns:
            raise unknown(f"column of {relation}, a key of view {feature_view.name!r},", column, columns)
    return View(
        name=feature_view.name,
        relation=relation,
        join_keys=tuple(keys.items()),
        event_timestamp=column_of(source, source.timestamp_field),
        known_at=column_of(source, source.created_timestamp_column) if source.created_timestamp_column else None,
        features=tuple(possible[name] for name in features),
        keys=tuple(Field(column, columns[column]) for column in keys.values()),
        at_t="exclude",
        tie_break=source.tie_break_in(columns),
        windows=tuple(window for window in source.windows if window.name in set(features)),
        history_cap=source.history_cap,
        event_id=source.event_id_in(columns),
        online=feature_view.online,
        tags=tuple(sorted(feature_view.tags.items())),
    )


def _compile_view(feature_view: FeatureView, entities: Mapping[str, Entity], connection: Any) -> View:
    source = feature_view.batch_source
    if not isinstance(source, LifecycleSource):
        raise UsageError(
            f"view {feature_view.name!r} reads {type(source).__name__} {getattr(source, 'name', '')!r}; a release "
            "holds relations of the lake only. Declare a LifecycleSource over a dbt model."
        )
    columns = columns_of(connection, source.relation)
    if not columns:
        raise unknown(f"relation, wanted by view {feature_view.name!r},", source.relation, relations_of(connection))
    keys = _join_keys(feature_view, entities)
    declared = [field.name for field in feature_view.schema if field.name not in keys]
    if source.aggregations:
        check_filters(connection, source)
    return view_of(feature_view, source.relation, columns, keys, tuple(declared or _inferred(source, columns, keys)))


def _join_keys(feature_view: FeatureView, entities: Mapping[str, Entity]) -> tuple[str, ...]:
    """Return a view's join keys; raises UsageError for an entity that no file declares: it would be no key at all."""
    named = [name for name in feature_view.entities if name != DUMMY_ENTITY_NAME]
    for name in named:
        if name not in entities:
            raise unknown(f"entity of view {feature_view.name!r}", name, entities)
    return tuple(entities[name].join_key for name in named)


def _inferred(source: LifecycleSource, columns: Mapping[str, str], keys: tuple[str, ...]) -> list[str]:
    """Return the features as Feast's own inference finds them when the view states no schema."""
    if source.aggregations:
        return [window.name for window in source.windows]
    times = {column_of(source, source.timestamp_field), column_of(source, source.created_timestamp_column)}
    left_out = source.hidden(columns) | times | {column_of(source, key) for key in keys}
    return [
        source.field_mapping.get(column, column)
        for column in columns
        if column not in left_out and not column.startswith("__") and not column.endswith("__")
    ]


def _compile_service(
    service: FeatureService, features: Mapping[str, tuple[str, ...]], on_demand: Mapping[str, tuple[str, ...]]
) -> Service:
    projections = []
    computed = []
    for projection in service.feature_view_projections:
        if projection.name in on_demand:
            taken = tuple(field.name for field in projection.features) or on_demand[projection.name]
            whole = set(taken) == set(on_demand[projection.name])
            computed += [projection.name] if whole else [f"{projection.name}:{one}" for one in taken]
            continue
        if projection.name not in features:
            raise unknown(f"view of service {service.name!r}", projection.name, [*features, *on_demand])
        wanted = tuple(field.name for field in projection.features) or tuple(projection.desired_features)
        for name in wanted:
            if name not in features[projection.name]:
                who = f"feature of view {projection.name!r}, wanted by service {service.name!r},"
                raise unknown(who, name, features[projection.name])
        projections.append(
            Projection(
                view=projection.name,
                features=wanted or features[projection.name],
                alias=projection.name_alias,
                join_keys=tuple(sorted(projection.join_key_map.items())),
            )
        )
    return Service(name=service.name, projections=tuple(projections), on_demand=tuple(computed))


def _compile_on_demand(view: OnDemandFeatureView, views: Mapping[str, View]) -> OnDemand:
    made = compiled(view)
    for (name, feature), dtype in input_types(view).items():
        if name not in views:
            raise unknown(f"view, read by on-demand view {view.name!r},", name, views)
        if views[name].feature(feature).dtype != dtype:
            raise UsageError(
                f"on-demand view {view.name!r} reads {name}:{feature} as {dtype}, and it is "
                f"{views[name].feature(feature).dtype}. Declare that type."
            )
    return made
