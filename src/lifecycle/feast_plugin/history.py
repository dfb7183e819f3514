"""Historical features: Feast's views and entity frame turned into the engine's definitions and spine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.offline_stores.offline_store import RetrievalMetadata
from feast.utils import _strip_version_from_ref, compute_non_entity_date_range

from lifecycle.definitions import Definitions, Projection, Service, View
from lifecycle.engine import training_frame
from lifecycle.engine.grids import between_dates
from lifecycle.engine.selection import Selection
from lifecycle.engine.spines import time_column
from lifecycle.errors import SpineError
from lifecycle.feast_plugin.compile import view_of
from lifecycle.feast_plugin.job import LifecycleRetrievalJob
from lifecycle.feast_plugin.on_demand import compiled, is_ours
from lifecycle.feast_plugin.scope import Scope, open_scope
from lifecycle.feast_plugin.source import LifecycleSource
from lifecycle.lake.connection import select
from lifecycle.times import to_utc

if TYPE_CHECKING:
    from datetime import datetime

    from feast import FeatureView, OnDemandFeatureView, RepoConfig

    from lifecycle.definitions import KnownTime

_SERVICE = "feast"
_TIME = "event_timestamp"


@dataclass(frozen=True)
class Request:
    """One call of get_historical_features."""

    config: RepoConfig
    feature_views: list[FeatureView]
    feature_refs: list[str]
    on_demand: list[OnDemandFeatureView]
    known_time: KnownTime
    full_feature_names: bool
    start: datetime | None
    end: datetime | None


@dataclass(frozen=True)
class Spine:
    """The entity frame as an Arrow table, and which of its columns is the observation time."""

    table: pa.Table
    time: str


def historical_job(request: Request, entity_df: pd.DataFrame | str | None) -> LifecycleRetrievalJob:
    """Return a job; the entity frame is read at once, the features when the job is."""
    spine = _spine(request, entity_df)

    def evaluate() -> pa.Table:
        with open_scope(request.config, _sources(request)) as scope:
            return _frame(request, scope, spine)

    times = pc.min_max(spine.table[spine.time])
    return LifecycleRetrievalJob(
        request.config,
        evaluate,
        full_feature_names=request.full_feature_names,
        on_demand_feature_views=[one for one in request.on_demand if not is_ours(one)],
        metadata=RetrievalMetadata(
            features=request.feature_refs,
            keys=[name for name in spine.table.column_names if name != spine.time],
            min_event_timestamp=_utc(times["min"]),
            max_event_timestamp=_utc(times["max"]),
        ),
    )


def _frame(request: Request, scope: Scope, spine: Spine) -> pa.Table:
    views = tuple(_view(request, view, scope) for view in request.feature_views)
    projections = tuple(_projection(request, view) for view in request.feature_views)
    release = scope.release
    computed = tuple(compiled(view) for view in request.on_demand if is_ours(view))
    service = Service(_SERVICE, projections, tuple(view.name for view in computed))
    frame = training_frame(
        scope.connection,
        Definitions(views=views, services=(service,), known_time=request.known_time, on_demand=computed),
        spine.table,
        features=_SERVICE,
        known_time=request.known_time,
        full_feature_names=request.full_feature_names,
        watermarks=release.watermarks if release else {},
        release=release.number if release else None,
    )
    return frame.table.select([*spine.table.column_names, *_output_names(request)])


def _view(request: Request, feature_view: FeatureView, scope: Scope) -> View:
    """Compile one view, with the records that the release prepared for it where they fit."""
    source = feature_view.batch_source
    view = view_of(
        feature_view,
        scope.relation(source),
        scope.columns(source),
        tuple(key for key in feature_view.join_keys if key != DUMMY_ENTITY_ID),
        tuple(_features(request, feature_view)),
    )
    view = replace(view, name=feature_view.projection.name_to_use())
    if scope.release is None or not isinstance(source, LifecycleSource) or source.at != "release":
        return view
    for known in scope.release.definitions.views:
        same = replace(
            known, name=view.name, features=view.features, columns=view.columns, tags=view.tags, settled=None
        )
        columns = {known.column_of(field.name) for field in known.features}
        if same == replace(view, settled=None) and {view.column_of(field.name) for field in view.features} <= columns:
            return replace(view, settled=known.settled)
    return view


def _projection(request: Request, feature_view: FeatureView) -> Projection:
    given = feature_view.projection
    return Projection(
        view=given.name_to_use(),
        features=tuple(_features(request, feature_view)),
        alias=given.name_alias or feature_view.name,
        join_keys=tuple(sorted(given.join_key_map.items())),
    )


def _features(request: Request, feature_view: FeatureView) -> list[str]:
    """Return the features asked of a view, in order, each once."""
    prefix = f"{feature_view.projection.name_to_use()}:"
    return list(dict.fromkeys(ref.removeprefix(prefix) for ref in request.feature_refs if ref.startswith(prefix)))


def _output_names(request: Request) -> list[str]:
    """Return the features' columns in the order in which they were asked for."""
    views = {view.projection.name_to_use() for view in request.feature_views}
    views |= {view.name for view in request.on_demand if is_ours(view)}
    names = []
    for ref in request.feature_refs:
        view, feature = ref.split(":", 1)
        if view in views:
            plain = _strip_version_from_ref(ref).replace(":", "__")
            names.append(plain if request.full_feature_names else feature)
    return list(dict.fromkeys(names))


def _sources(request: Request) -> list[object]:
    return [view.batch_source for view in request.feature_views]


def _spine(request: Request, entity_df: pd.DataFrame | str | None) -> Spine:
    if isinstance(entity_df, pd.DataFrame):
        return _from_pandas(entity_df)
    with open_scope(request.config, _sources(request)) as scope:
        if entity_df is None:
            return Spine(_changes(request, scope), _TIME)
        if isinstance(entity_df, str):
            table = select(scope.connection, entity_df)
            return Spine(table, time_column(table.schema))
    raise SpineError(f"entity_df is {type(entity_df).__name__}; give pandas, an SQL SELECT, or None with dates.")


def _from_pandas(frame: pd.DataFrame) -> Spine:
    try:
        if _TIME in frame and not pd.api.types.is_datetime64_any_dtype(frame[_TIME]):
            # Text and Python times, as Feast's own stores take them.
            frame = frame.assign(**{_TIME: pd.to_datetime(frame[_TIME], utc=True, format="ISO8601")})
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    except (ValueError, pa.ArrowTypeError) as error:
        raise SpineError(
            f"a column of the entity frame cannot be read: {error}. Convert it, or leave it out."
        ) from error
    return Spine(table, time_column(table.schema))


def _changes(request: Request, scope: Scope) -> pa.Table:
    """Return (event_timestamp, keys) for each moment of the range at which a state of some view changed."""
    start, end = compute_non_entity_date_range(request.feature_views, start_date=request.start, end_date=request.end)
    selections = []
    for feature_view in request.feature_views:
        view = _view(request, feature_view, scope)
        renamed = feature_view.projection.join_key_map
        selections.append(Selection(view, (), (), tuple(renamed.get(key, key) for key, _ in view.join_keys)))
    query = between_dates(scope.connection, selections, request.known_time, to_utc(start), to_utc(end))
    return scope.connection.execute(query).to_arrow_table()


def _utc(value: pa.Scalar) -> datetime | None:
    return to_utc(pd.Timestamp(value.as_py()).to_pydatetime(warn=False)) if value.is_valid else None
