"""
Where a Feast call reads: one connection in which every source of the call is `lake.schema.table`.

Most calls read one release of the lake, and that is all. Where a call also reads Parquet files or the lake's
head, an in-memory catalog named `lake` takes their place, with a view for each relation, so that the engine
and a user's SQL see the same names in both cases.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import config as project_config
from lifecycle.config import LakeSettings
from lifecycle.errors import UsageError, unknown
from lifecycle.feast_plugin.files import create_relation
from lifecycle.feast_plugin.source import LifecycleSource
from lifecycle.lake import Lake, Ledger
from lifecycle.names import quote, relation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from feast.data_source import DataSource
    from feast.repo_config import RepoConfig

    from lifecycle.lake import Release

_COLUMNS = """
    SELECT column_name, data_type FROM information_schema.columns
    WHERE table_catalog = 'lake' AND table_schema = ? AND table_name = ? ORDER BY ordinal_position
"""
_TABLES = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = ?"


class Scope:
    """A connection with the release it reads (None: the head, or no lake) and the sources' relations."""

    def __init__(self, connection: Any, release: Release | None, files: dict[str, str]) -> None:
        self.connection = connection
        self.release = release
        self._files = files

    def relation(self, source: DataSource) -> str:
        """Return the source's `schema.table`."""
        return source.relation if isinstance(source, LifecycleSource) else self._files[source.name]

    def columns(self, source: DataSource) -> dict[str, str]:
        """Return the relation's columns with DuckDB's types, in order; raises UsageError if there is none."""
        name = self.relation(source)
        found = columns_of(self.connection, name)
        if not found:
            raise unknown("relation", name, relations_of(self.connection))
        return found


def source_columns(config: RepoConfig, source: LifecycleSource) -> dict[str, str]:
    """Return the columns of a source's relation with DuckDB's types, in order; raises UsageError if there is none."""
    lake = Lake(lake_settings(config))
    release = _release(config, lake)
    if release is None or source.at == "head":
        with open_scope(config, [source]) as scope:
            return scope.columns(source)
    catalog = _catalog(lake.settings, release.snapshot, release.made_at)
    if source.relation not in catalog:
        raise unknown("relation", source.relation, catalog)
    return catalog[source.relation]


@lru_cache(maxsize=4)
def _catalog(settings: LakeSettings, snapshot: int, made_at: datetime) -> dict[str, dict[str, str]]:  # noqa: ARG001
    """Return the columns of every relation of a release; `made_at` tells a lake from one made anew in its place."""
    # Feast asks for one source at a time, dozens of times an apply; a release's columns never change.
    connection = Lake(settings).connect(snapshot)
    try:
        return {name: columns_of(connection, name) for name in relations_of(connection)}
    finally:
        connection.close()


def columns_of(connection: Any, name: str) -> dict[str, str]:
    """Return the columns of `lake.schema.table` with DuckDB's types, in order; empty where there is none."""
    relation(name)  # refuses what is no relation's name
    return dict(connection.execute(_COLUMNS, name.split(".")).fetchall())


def relations_of(connection: Any, catalog: str = "lake") -> list[str]:
    """Return every `schema.table` of an attached catalog, sorted."""
    return sorted(f"{schema}.{table}" for schema, table in connection.execute(_TABLES, [catalog]).fetchall())


def lake_settings(config: RepoConfig) -> LakeSettings:
    """
    Return where the lake is that this Feast configuration reads.

    In order: the offline store's `lake`; the lifecycle.toml that its `project` names, or that lies at or above
    the Feast repo; a folder `.lifecycle` in the Feast repo.
    """
    store = config.offline_store
    repo = Path(config.repo_path or ".").resolve()
    if getattr(store, "lake", None):
        return LakeSettings(**(store.lake | {"home": repo / store.lake["home"]}))
    start = repo / (getattr(store, "project", None) or ".")
    try:
        root = project_config.find_root(start)
    except UsageError:
        if getattr(store, "project", None):
            raise
        return LakeSettings(home=repo / ".lifecycle")
    return project_config.load(root).lake


@contextmanager
def open_scope(config: RepoConfig, sources: Sequence[DataSource]) -> Iterator[Scope]:
    """Open a connection that sees every source; raises UsageError for a kind of source it cannot read."""
    lake = Lake(lake_settings(config))
    release = _release(config, lake)
    files = {source.name: source for source in sources if not isinstance(source, LifecycleSource)}
    heads = {source.relation for source in sources if isinstance(source, LifecycleSource) and source.at == "head"}
    snapshot = release.snapshot if release else None
    one_catalog = not files and (release is None or not heads)
    connection = lake.connect(snapshot) if one_catalog else lake.engine_connection()
    try:
        names = {name: f"files.file_{number}" for number, name in enumerate(sorted(files))}
        if not one_catalog:
            connection.execute("ATTACH ':memory:' AS lake")
            _mirror(connection, lake, snapshot, heads)
            for name, source in files.items():
                create_relation(connection, names[name], config, source)
        connection.execute("USE lake")
        yield Scope(connection, release, names)
    finally:
        connection.close()


def _release(config: RepoConfig, lake: Lake) -> Release | None:
    ledger = Ledger(lake)
    wanted = getattr(config.offline_store, "release", None)
    if wanted is None and ledger.serving() is None:
        return None
    return ledger.get(wanted)


def _mirror(connection: Any, lake: Lake, snapshot: int | None, heads: set[str]) -> None:
    """Create a view in `lake` for every relation of the release, and of the head for those that ask for it."""
    if not lake.exists:
        return
    connection.execute(lake.attach_statement(snapshot, alias="release"))
    relations = dict.fromkeys(relations_of(connection, "release"), "release")
    if heads:
        connection.execute(lake.attach_statement(alias="head"))
        relations |= dict.fromkeys(heads & set(relations_of(connection, "head")), "head")
    for name, catalog in relations.items():
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{quote(name.split('.', maxsplit=1)[0])}")
        connection.execute(f"CREATE VIEW {relation(name)} AS FROM {relation(name, catalog)}")
