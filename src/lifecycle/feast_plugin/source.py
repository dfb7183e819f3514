"""
A Feast data source that reads a relation of the lake in place.

Feast sees the keys, the two times and the features of the relation; the columns that only decide between rows
(tie-break, tombstone mark) are ours and are not offered to it as features. Of a relation of events with
aggregations, Feast sees the two times and the aggregations' outputs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from feast.data_source import DataSource
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.saved_dataset import SavedDatasetStorage

from lifecycle.definitions import EVENT_ID, TIE_BREAK, AtT
from lifecycle.errors import UsageError, unknown
from lifecycle.feast_plugin.aggregations import WindowAggregation, declared, from_json, to_json
from lifecycle.feast_plugin.value_types import value_type
from lifecycle.feast_plugin.window_fields import window_fields, windows_of
from lifecycle.names import quote, relation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from feast.aggregation import Aggregation
    from feast.protos.feast.core.SavedDataset_pb2 import SavedDatasetStorage as SavedDatasetStorageProto
    from feast.repo_config import RepoConfig
    from feast.value_type import ValueType

At = Literal["release", "head"]
DELETED = "deleted"
KNOWN_AT = "known_at"
KNOWN_FROM = "known_from"


class LifecycleSource(DataSource):
    """
    Rows of `schema.table` in the lake, each with when it became true and when it was known.

    Without aggregations the rows are states of a key. With them they are versions of events, with `known_from`
    and `known_until` unless each is known at its event time for good, and the features are the aggregations'.

    relation: such as features.consumer_identity. timestamp_field, created_timestamp_column: event time and
    known time; "" as known time says that each row is known at its event time. None means `known_at`, or
    `known_from` where there are aggregations.
    tie_break, deleted: None means the conventional columns (sequence, event_id, content_hash; deleted), where
    the relation has them. at_t: "exclude" for a source whose rows describe the scored event itself, so that
    a row at exactly the observation time does not count.
    at: read the served release, or the lake's head (for what no release holds, such as saved data sets).
    aggregations: Feast's `Aggregation` or `WindowAggregation`. money: the currency column by column of money (None:
    a whole number that is no money); sums and the like over two currencies are an error. history_cap: take only
    the newest so many events of a key, in frames and online alike. event_id: the column, or columns, that are equal
    in all versions of one event and in no other's, by which a pushed event is known again; None means `event_id`,
    where the relation has it, () that pushed events have no id.
    Raises UsageError for an aggregation that makes no sense.
    """

    def __init__(
        self,
        *,
        relation: str,
        name: str | None = None,
        timestamp_field: str = "event_timestamp",
        created_timestamp_column: str | None = None,
        tie_break: tuple[str, ...] | None = None,
        deleted: str | None = None,
        at_t: AtT = "include",
        at: At = "release",
        aggregations: Sequence[Aggregation | WindowAggregation] = (),
        money: Mapping[str, str | None] | None = None,
        history_cap: int | None = None,
        event_id: str | tuple[str, ...] | None = None,
        field_mapping: dict[str, str] | None = None,
        description: str = "",
        tags: dict[str, str] | None = None,
        owner: str = "",
    ) -> None:
        if created_timestamp_column is None:
            created_timestamp_column = KNOWN_FROM if aggregations else KNOWN_AT
        super().__init__(
            name=name or relation,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=field_mapping,
            description=description,
            tags=tags,
            owner=owner,
        )
        for kind, value, possible in (("at_t", at_t, ("include", "exclude")), ("at", at, ("release", "head"))):
            if value not in possible:
                raise unknown(kind, value, possible)
        self.relation = relation
        self.tie_break = tie_break if tie_break is None else tuple(tie_break)
        self.deleted = deleted
        self.at_t = at_t
        self.at = at
        self.aggregations = declared(aggregations)
        self.money = dict(money or {})
        self.history_cap = history_cap
        if history_cap is not None and (history_cap < 1 or not self.aggregations):
            raise UsageError(
                f"source {self.name!r}: history_cap={history_cap} caps a key's events: at least 1, and "
                "there must be aggregations."
            )
        if self.aggregations and self.created_timestamp_column:
            self._refuse_other_known_time()
        self.event_id = (event_id,) if isinstance(event_id, str) else event_id
        self.windows = windows_of(self)

    @property
    def table(self) -> str:
        """What an SQL entity frame calls this source."""
        return self.relation

    def _refuse_other_known_time(self) -> None:
        # Windows take a version from `known_from` to `known_until`; any other column would be read by nobody.
        known = column_of(self, self.created_timestamp_column)
        if known != KNOWN_FROM:
            raise UsageError(
                f"source {self.name!r}: windows count versions from {KNOWN_FROM!r} on, not from {known!r}. Give "
                f"{self.relation} the columns known_from and known_until, or say with created_timestamp_column='' that "
                "each event is known at its own time."
            )

    def tie_break_in(self, columns: Mapping[str, str]) -> tuple[str, ...]:
        """Return the tie-break columns, given the relation's columns."""
        return tuple(c for c in TIE_BREAK if c in columns) if self.tie_break is None else self.tie_break

    def event_id_in(self, columns: Mapping[str, str]) -> tuple[str, ...]:
        """Return the columns that tell events apart, given the relation's columns."""
        return tuple(c for c in (EVENT_ID,) if c in columns) if self.event_id is None else self.event_id

    def deleted_in(self, columns: Mapping[str, str]) -> str | None:
        """Return the tombstone column, given the relation's columns, or None where it has none."""
        if self.deleted is None:
            return DELETED if DELETED in columns else None
        return self.deleted or None

    def hidden(self, columns: Mapping[str, str]) -> set[str]:
        """Return the columns that are no features: tie-break and tombstone mark."""
        return {*self.tie_break_in(columns), *filter(None, [self.deleted_in(columns)])}

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        """Return the columns that Feast may see with DuckDB's types, from the served release or the head."""
        from lifecycle.feast_plugin.scope import source_columns

        columns = source_columns(config, self)
        if self.aggregations:
            times = [name for name in (self.timestamp_field, self.created_timestamp_column) if name]
            outputs = {field.name: field.dtype for field in window_fields(self, columns)}
            return [*((name, columns[column_of(self, name)]) for name in times), *outputs.items()]
        return [(name, dtype) for name, dtype in columns.items() if name not in self.hidden(columns)]

    def get_table_query_string(self) -> str:
        """Return the quoted relation as SQL entity frames may write it after FROM."""
        return relation(self.relation)

    def validate(self, config: RepoConfig) -> None:
        """Raise UsageError unless the relation exists and has every column that this source names."""
        from lifecycle.feast_plugin.scope import source_columns

        columns = source_columns(config, self)
        self.validate_columns(columns)
        window_fields(self, columns)

    def validate_columns(self, columns: Mapping[str, str]) -> None:
        """Raise UsageError unless `columns` has every column that this source names, aggregations aside."""
        back = {mapped: column for column, mapped in self.field_mapping.items()}
        named = [self.timestamp_field, self.created_timestamp_column, *(self.tie_break or ()), self.deleted]
        named += self.event_id or ()
        for name in filter(None, named):
            if back.get(name, name) not in columns:
                raise unknown(f"column of {self.relation}, named by source {self.name!r},", name, columns)

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        """Return the mapper from DuckDB's types to Feast's."""
        return value_type

    def source_type(self) -> Any:
        """Return Feast's kind for sources that it does not ship."""
        return DataSourceProto.CUSTOM_SOURCE

    @staticmethod
    def from_proto(data_source: Any) -> LifecycleSource:
        """Read what `to_proto` wrote."""
        options = json.loads(data_source.custom_options.configuration)
        tie_break, event_id = options["tie_break"], options.get("event_id")
        return LifecycleSource(
            name=data_source.name,
            relation=options["relation"],
            timestamp_field=data_source.timestamp_field,
            created_timestamp_column=data_source.created_timestamp_column,
            tie_break=None if tie_break is None else tuple(tie_break),
            deleted=options["deleted"],
            at_t=options["at_t"],
            at=options["at"],
            aggregations=from_json(options.get("aggregations", ())),
            money=options.get("money"),
            history_cap=options.get("history_cap"),
            event_id=None if event_id is None else tuple(event_id),
            field_mapping=dict(data_source.field_mapping),
            description=data_source.description,
            tags=dict(data_source.tags),
            owner=data_source.owner,
        )

    def _to_proto_impl(self) -> Any:
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=f"{__name__}.{type(self).__name__}",
            field_mapping=self.field_mapping,
            custom_options=DataSourceProto.CustomSourceOptions(configuration=self._options()),
            timestamp_field=self.timestamp_field,
            created_timestamp_column=self.created_timestamp_column,
            description=self.description,
            tags=self.tags,
            owner=self.owner,
        )

    def _options(self) -> bytes:
        names = ("relation", "tie_break", "deleted", "at_t", "at")
        options = {name: getattr(self, name) for name in names}
        if self.aggregations:
            options |= {"aggregations": to_json(self.aggregations), "money": self.money}
            options |= {"history_cap": self.history_cap, "event_id": self.event_id}
        return json.dumps(options, sort_keys=True).encode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LifecycleSource) and super().__eq__(other) and self._options() == other._options()

    def __hash__(self) -> int:
        return hash((self.name, self.relation))


class SavedDatasetLifecycleStorage(SavedDatasetStorage):
    """Keeps a saved data set as a relation of the lake, outside of any release."""

    _proto_attr_name = "custom_storage"

    def __init__(self, relation: str) -> None:
        self.relation = relation

    @staticmethod
    def from_proto(storage_proto: Any) -> SavedDatasetLifecycleStorage:
        """Read what `to_proto` wrote."""
        options = json.loads(storage_proto.custom_storage.configuration)
        return SavedDatasetLifecycleStorage(relation=options["relation"])

    def to_proto(self) -> SavedDatasetStorageProto:
        """Write the storage with its class, which Feast needs to read it back."""
        options = json.dumps({"relation": self.relation}).encode()
        return self._custom_storage_proto(DataSourceProto.CustomSourceOptions(configuration=options))

    def to_data_source(self) -> LifecycleSource:
        """Return a source over the saved rows; they have no known time."""
        return LifecycleSource(relation=self.relation, created_timestamp_column="", at="head")

    @staticmethod
    def from_data_source(data_source: DataSource) -> SavedDatasetLifecycleStorage:
        """Return the storage behind a source."""
        if not isinstance(data_source, LifecycleSource):
            raise UsageError(f"{type(data_source).__name__} {data_source.name!r} is no relation of the lake.")
        return SavedDatasetLifecycleStorage(relation=data_source.relation)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SavedDatasetLifecycleStorage) and self.relation == other.relation

    def __hash__(self) -> int:
        return hash(self.relation)


def column_of(source: DataSource, name: str) -> str:
    """Return the source's own column behind a name that Feast uses (its field mapping, backwards)."""
    for column, mapped in source.field_mapping.items():
        if mapped == name:
            return str(column)
    return name


def quoted_column(source: DataSource, name: str) -> str:
    """Return `column_of` as SQL."""
    return quote(column_of(source, name))
