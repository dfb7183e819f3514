"""
Feast's online store over ours: packed rows behind a guard, read at one moment, in LMDB or Redis.

A view that a release was materialized into is read as that release means it, at the lesser of the clock and the
store's high-water mark. Any other view is kept as Feast writes it and read at the clock's time, so that its ttl
holds. `get_online_features` answers itself; whatever is out of the ordinary goes through Feast's own preparation,
and only the reading is ours.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from feast import FeatureService, utils
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.repo_config import FeastConfigBaseModel

from lifecycle import config as project_config
from lifecycle.errors import UnsupportedError, UsageError
from lifecycle.feast_plugin.online_response import LifecycleOnlineResponse
from lifecycle.feast_plugin.online_tables import NotPlainError, Plan, Tables
from lifecycle.feast_plugin.online_writes import columns_of_batch, columns_of_rows
from lifecycle.online import open_store
from lifecycle.online.opening import ADDRESSES
from lifecycle.times import from_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    import pyarrow as pa
    from feast import Entity, FeatureView
    from feast.infra.infra_object import InfraObject
    from feast.infra.registry.base_registry import BaseRegistry
    from feast.online_response import OnlineResponse
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.repo_config import RepoConfig

    from lifecycle.feast_plugin.online_tables import Keys
    from lifecycle.feast_plugin.online_writes import Written

FOLDER = "data/online"
_PLANS = 256


class LifecycleOnlineStoreConfig(FeastConfigBaseModel):
    """
    Where the store is.

    In order: `place`, exactly; `path`, a folder (from the Feast repo) or a redis:// address, in which each Feast
    project has a store of its own; the [online] of the lifecycle.toml that `project` names or that lies at or above
    the Feast repo; the folder data/online in the Feast repo (without a repo, in the working folder). A Redis
    password stands in LIFECYCLE_REDIS_PASSWORD.
    """

    type: Literal["lifecycle.feast_plugin.online_store.LifecycleOnlineStore"] = (
        "lifecycle.feast_plugin.online_store.LifecycleOnlineStore"
    )
    place: str = ""
    path: str = ""
    project: str = ""


class LifecycleOnlineStore(OnlineStore):
    """Feast's interface; see the module's docstring for what a read means."""

    def __init__(self) -> None:
        self._tables: dict[tuple[Any, ...], Tables] = {}
        self._plans: dict[int, tuple[Any, Plan]] = {}

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Reads and writes are there in both forms."""
        return SupportedAsyncMethods(read=True, write=True)

    def tables(self, config: RepoConfig) -> Tables:
        """Return the opened store of a Feast configuration."""
        given = config.online_store
        # A forked worker opens the store anew: LMDB must not be used across a fork.
        asked = (os.getpid(), config.project, config.repo_path, given.place, given.path, given.project)
        if asked not in self._tables:
            self._tables[asked] = Tables(open_store(*place_of(config)))
        return self._tables[asked]

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: Written, progress: Callable[[int], Any] | None
    ) -> None:
        """
        Write rows under the guard: of one key, the row with the greater (event time, created time) is kept.

        A row without a created time is known from this write on. Naive times are UTC.
        """
        if not data:
            return
        tables = self.tables(config)
        held = tables.writable(table)
        tables.put(held, columns_of_rows(held, data))
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self, config: RepoConfig, table: FeatureView, data: Written, progress: Callable[[int], Any] | None
    ) -> None:
        """Write as `online_write_batch` does, in a thread: a write waits for the disk."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def takes_arrow(self, config: RepoConfig, table: FeatureView) -> bool:
        """Whether `online_write_arrow` can write a view: it keeps nothing as Feast's protobuf bytes."""
        return self.tables(config).writable(table).plain

    def online_write_arrow(self, config: RepoConfig, table: FeatureView, rows: pa.Table) -> None:
        """
        Write rows of an Arrow table in the view's own column names, round Feast's protobuf values.

        A row without a created time is known from this write on, none later. Windows that the store evaluates
        itself are left alone: their values at one moment would add nothing.
        """
        tables = self.tables(config)
        held = tables.writable(table)
        if held.view.windows:
            return
        source = table.batch_source
        now = time.time_ns() // 1000
        for batch in rows.combine_chunks().to_batches():
            columns = columns_of_batch(held, batch, source.timestamp_field, source.created_timestamp_column, now)
            tables.put(held, columns)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        """Return each key's event time (UTC) and values; neither where there is no row in force within the ttl."""
        names = list(requested_features or [field.name for field in table.features])
        plan = Plan.of_view(table, names)
        [block] = self.tables(config).read(plan, [plan.entity_keys(entity_keys)], len(entity_keys))
        rows = zip(*(vector.values for vector in block.vectors()), strict=True)
        return [
            (from_microseconds(answer.event), dict(zip(names, row, strict=True)))
            if answer.status == "PRESENT" and answer.event is not None
            else (None, None)
            for answer, row in zip(block.answers, rows, strict=True)
        ]

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        """Read as `online_read` does; over a network in a thread."""
        if _is_far(config):
            return await asyncio.to_thread(self.online_read, config, table, entity_keys, requested_features)
        return self.online_read(config, table, entity_keys, requested_features)

    def get_online_features(  # noqa: PLR0917 - Feast's signature
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """
        Return features of all views as of one moment, in one round trip.

        What is asked for plainly is answered here. On-demand views, renamed entities, protobuf keys and faults go
        through Feast's own preparation, so that values and errors are Feast's.
        """
        plan = None
        if not include_feature_view_version_metadata and not _tracked():
            plan = self._plan(registry, project, features, full_feature_names)
        keys = plan.columns(entity_rows) if plan is not None else None
        if plan is not None and keys is not None:
            count = len(next(iter(keys.values())))
            try:
                blocks = self.tables(config).read(plan, plan.rows(keys), count)
            except NotPlainError:
                pass
            else:
                named = {name: (values, plan.types[name]) for name, values in keys.items()}
                return LifecycleOnlineResponse(named, blocks)
        return super().get_online_features(
            config, features, entity_rows, registry, project, full_feature_names, include_feature_view_version_metadata
        )

    async def get_online_features_async(  # noqa: PLR0917 - Feast's signature
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """Return what `get_online_features` returns; a memory-mapped store is read here, Redis in a thread."""
        asked = (config, features, entity_rows, registry, project, full_feature_names)
        if _is_far(config):
            return await asyncio.to_thread(self.get_online_features, *asked, include_feature_view_version_metadata)
        return self.get_online_features(*asked, include_feature_view_version_metadata)

    def _read_features_per_fv(  # noqa: PLR0917 - Feast's signature
        self,
        config: RepoConfig,
        grouped_refs: list[Any],
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        """Answer all views of a request that Feast prepared, in one round trip, with their statuses."""
        plan = Plan(grouped_refs, full_feature_names)
        keys = [
            _feast_keys(table, join_key_values, entity_name_to_join_key_map, plan, at)
            for at, (table, _) in enumerate(grouped_refs)
        ]
        count = max(map(len, join_key_values.values()), default=0)
        for (table, _), block in zip(grouped_refs, self.tables(config).read(plan, keys, count), strict=True):
            online_features_response.metadata.feature_names.val.extend(block.names)
            online_features_response.results.extend(block.vectors())
            name = table.projection.name_alias or table.projection.name
            known = {one.name for one in online_features_response.metadata.feature_view_metadata}
            if include_feature_view_version_metadata and name not in known:
                about = online_features_response.metadata.feature_view_metadata.add()
                about.name = name
                about.version = getattr(table, "current_version_number", 0) or 0

    def _plan(
        self,
        registry: BaseRegistry,
        project: str,
        features: list[str] | FeatureService,
        full: bool,
    ) -> Plan | None:
        """Return how to answer a plain request, None where Feast's own way is needed."""
        if isinstance(features, FeatureService) and getattr(features, "precompute_online", False):
            return None
        # Feast's own resolution, which it caches as long as the registry stands.
        context = utils._get_cached_request_context(registry, project, features, full)  # noqa: SLF001
        known = self._plans.get(id(context))
        if known is not None:
            return known[1]
        plan = Plan.of_request(context, full)
        if plan is not None:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[id(context)] = (context, plan)
        return plan

    def update(  # noqa: PLR0917 - Feast's signature
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],  # noqa: ARG002 - a view begins with its first row
        entities_to_delete: Sequence[Entity],  # noqa: ARG002
        entities_to_keep: Sequence[Entity],  # noqa: ARG002
        partial: bool,  # noqa: ARG002
    ) -> None:
        """Drop the rows of views that are gone."""
        if tables_to_delete:
            self.tables(config).store.forget([table.name for table in tables_to_delete])

    def plan(self, config: RepoConfig, desired_registry_proto: Any) -> list[InfraObject]:  # noqa: ARG002
        """Return nothing: a view needs no table made beforehand."""
        return []

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:  # noqa: ARG002
        """Drop all rows of these views."""
        self.tables(config).store.forget([table.name for table in tables])

    def retrieve_online_documents(self, *_: Any, **__: Any) -> Any:
        """Refuse: vectors are not searched here."""
        raise UnsupportedError(
            "the online store finds rows by key; it does not search vectors or text. Keep embeddings in one of Feast's "
            "vector stores (pgvector, Milvus, Qdrant, ...) under a project of their own."
        )

    def retrieve_online_documents_v2(self, *_: Any, **__: Any) -> Any:
        """Refuse: vectors are not searched here."""
        return self.retrieve_online_documents()

    async def close(self) -> None:
        """Forget the opened stores; others in this process may go on using them."""
        self._tables.clear()


def place_of(config: RepoConfig) -> tuple[str, str]:
    """Return the store's place and name; see LifecycleOnlineStoreConfig."""
    given = config.online_store
    repo = Path(config.repo_path or ".").resolve()
    if given.place:
        return given.place, "lifecycle"
    if given.path.startswith(ADDRESSES):
        return given.path, config.project
    if not given.path and (config.repo_path or given.project):
        try:
            root = project_config.find_root(repo / (given.project or "."))
            return project_config.load(root).online_place, "lifecycle"
        except UsageError:
            if given.project:
                raise
    return str(repo / (given.path or FOLDER) / config.project), config.project


def _is_far(config: RepoConfig) -> bool:
    return place_of(config)[0].startswith(ADDRESSES)


def _tracked() -> bool:
    metrics = sys.modules.get("feast.metrics")
    return metrics is not None and bool(metrics._config.online_features)  # noqa: SLF001 - as Feast asks itself


def _feast_keys(table: Any, join_key_values: dict[str, Any], names: dict[str, str], plan: Plan, at: int) -> Keys:
    """Return one view's key columns of a request that Feast prepared; raises Feast's own error where one is missing."""
    values = utils._get_table_entity_values(table, names, join_key_values)  # noqa: SLF001
    if not values or not all(values.values()):
        utils._get_unique_entities(table, join_key_values, names)  # noqa: SLF001
    return plan.feast_keys(at, values)
