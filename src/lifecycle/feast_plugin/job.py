"""The result of a Feast retrieval: evaluated when read, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata

from lifecycle.feast_plugin.write import save

if TYPE_CHECKING:
    from collections.abc import Callable

    from feast import OnDemandFeatureView, RepoConfig
    from feast.saved_dataset import SavedDatasetStorage

_NULLABLE = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}


class LifecycleRetrievalJob(RetrievalJob):
    """Runs `evaluate` at the first read and keeps its table."""

    def __init__(
        self,
        config: RepoConfig,
        evaluate: Callable[[], pa.Table],
        *,
        full_feature_names: bool = False,
        on_demand_feature_views: list[OnDemandFeatureView] | None = None,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._config = config
        self._evaluate = evaluate
        self._table: pa.Table | None = None
        self._full_feature_names = full_feature_names
        self._on_demand_feature_views = on_demand_feature_views or []
        self._metadata = metadata

    def to_df(self, validation_reference: Any = None, timeout: int | None = None) -> pd.DataFrame:
        """
        Return the result, on-demand features included, as pandas with Feast's dtypes.

        A whole-number column with misses is a nullable integer, where Feast would make it a float.
        """
        return to_pandas(self.to_arrow(validation_reference=validation_reference, timeout=timeout))

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return to_pandas(self._to_arrow_internal(timeout))

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002 - Feast's signature
        if self._table is None:
            self._table = self._evaluate()
        return self._table

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result, on-demand features included, as a saved data set."""
        save(self._config, storage, self.to_arrow(timeout=timeout), overwrite=allow_overwrite)

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The on-demand views that Feast applies to the result."""
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """Features, keys and time range of a historical retrieval."""
        return self._metadata


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return pandas in which integers with misses stay whole."""
    table = table.replace_schema_metadata()  # a pandas index stored by the caller must not come back as one
    misses = {field.name for field in table.schema if table[field.name].null_count}
    frame = table.to_pandas()
    for position, field in enumerate(table.schema):
        if field.name in misses and field.type in _NULLABLE:
            whole = table.column(position).to_pandas(types_mapper=_NULLABLE.get)
            frame[field.name] = whole.to_numpy() if whole.dtype == object else whole.array
    return frame
