"""
The offline store: Feast's contract, answered by the platform's own engine.

It reads relations of the lake (`LifecycleSource`) and Parquet files (Feast's `FileSource`). Rows keep their
order, integers with misses stay whole, late rows do not leak where a project says `known_time: as_known`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from feast import OnDemandFeatureView
from feast.infra.offline_stores.offline_store import OfflineStore
from feast.repo_config import FeastConfigBaseModel
from pydantic import Field

from lifecycle.feast_plugin.history import Request, historical_job
from lifecycle.feast_plugin.job import LifecycleRetrievalJob
from lifecycle.feast_plugin.pull import Pull, pull_all, pull_latest
from lifecycle.feast_plugin.scope import open_scope
from lifecycle.feast_plugin.write import append_rows, write_logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa
    from feast import FeatureView, RepoConfig
    from feast.data_source import DataSource
    from feast.feature_logging import LoggingConfig, LoggingSource
    from feast.infra.offline_stores.offline_store import RetrievalJob
    from feast.infra.registry.base_registry import BaseRegistry

    from lifecycle.feast_plugin.scope import Scope


# Parquet as pandas and Polars write it names lists and text in ways that Feast's own type map misses or misreads.
_SPELLING = re.compile(r"list<element:|large_string")


class LifecycleOfflineStoreConfig(FeastConfigBaseModel):
    """
    The `offline_store` section of feature_store.yaml.

    project: folder of lifecycle.toml, from the Feast repo; None looks in the repo and above it.
    known_time: "as_known" lets a row count from when it was known; "feast" goes by event time alone.
    release: number of the release to read; None reads the served one, or the head where there is none.
    lake: settings of the lake instead of lifecycle.toml's; `home` is taken from the Feast repo.
    """

    type: Literal["lifecycle.feast_plugin.offline_store.LifecycleOfflineStore"] = (
        "lifecycle.feast_plugin.offline_store.LifecycleOfflineStore"
    )
    project: str | None = None
    known_time: Literal["as_known", "feast"] = "feast"
    release: int | None = Field(default=None, ge=1)
    lake: dict[str, Any] | None = None


class LifecycleOfflineStore(OfflineStore):
    """Feast's offline store over the lake; methods are called by keyword, as Feast does."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(  # noqa: PLR0917 - Feast's signature
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> RetrievalJob:
        """
        Return one row per entity row, in its order, with each feature as of that row's time.

        entity_df: pandas; a SELECT over the lake; or None, which gives one row for each moment between
        `start_date` and `end_date` at which a key's state changed. `filter_by_created_timestamp`, where given,
        wins over the configured `known_time`.
        """
        by_created = kwargs.get("filter_by_created_timestamp")
        known_time = config.offline_store.known_time
        if by_created is not None:
            known_time = "as_known" if by_created else "feast"
        request = Request(
            config=config,
            feature_views=[view for view in feature_views if not isinstance(view, OnDemandFeatureView)],
            feature_refs=feature_refs,
            on_demand=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            known_time=known_time,
            full_feature_names=full_feature_names,
            start=kwargs.get("start_date"),
            end=kwargs.get("end_date"),
        )
        return historical_job(request, entity_df)

    @staticmethod
    def pull_latest_from_table_or_query(  # noqa: PLR0917 - Feast's signature
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """
        Return the newest row of each key as of `end_date`, if it became visible since `start_date`.

        A key whose newest row is a tombstone comes with NULLs, so that an online store overwrites it.
        """
        pull = Pull(
            source=data_source,
            keys=tuple(join_key_columns),
            features=tuple(feature_name_columns),
            timestamp=timestamp_field,
            known_at=created_timestamp_column or None,
            start=start_date,
            end=end_date,
            known_time=config.offline_store.known_time,
        )
        return _pull_job(config, pull_latest, pull)

    @staticmethod
    def pull_all_from_table_or_query(  # noqa: PLR0917 - Feast's signature
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """
        Return every row between `start_date` and `end_date`; either may be None.

        Feast's default materialization reads this and keeps the greatest (event time, known time) of a key; the
        tie-break is heeded where feature_store.yaml says `materialization: {pull_latest_features: true}`.
        """
        pull = Pull(
            source=data_source,
            keys=tuple(join_key_columns),
            features=tuple(feature_name_columns),
            timestamp=timestamp_field,
            known_at=created_timestamp_column or None,
            start=start_date,
            end=end_date,
            known_time=config.offline_store.known_time,
        )
        return _pull_job(config, pull_all, pull)

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """Return the source's columns and types, in a spelling from which Feast can infer a schema."""
        columns = data_source.get_table_column_names_and_types(config)
        return [(name, _SPELLING.sub(_spelled, dtype)) for name, dtype in columns]

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Append rows to the view's source; see `lifecycle.feast_plugin.write.append_rows`."""
        source = feature_view.batch_source
        append_rows(config, source, table, dict(source.get_table_column_names_and_types(config)))
        if progress:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Add logs of served features to the destination's folder of Parquet files."""
        write_logs(config, data, logging_config, source.get_schema(registry))


def _spelled(found: re.Match[str]) -> str:
    return "list<item:" if found.group() == "list<element:" else "string"


def _pull_job(config: RepoConfig, function: Callable[[Scope, Pull], pa.Table], pull: Pull) -> LifecycleRetrievalJob:
    def evaluate() -> pa.Table:
        with open_scope(config, [pull.source]) as scope:
            return function(scope, pull)

    return LifecycleRetrievalJob(config, evaluate)
