"""
The public Python API: one project, its releases, and the three ways to read them.

Every read names a release or takes the served one, and sees exactly that release.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import config
from lifecycle.lake import Lake, Ledger
from lifecycle.lake.connection import select

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    import sqlalchemy as sa

    from lifecycle.config import Settings
    from lifecycle.definitions import KnownTime
    from lifecycle.engine import Frame, Receipt
    from lifecycle.feast_plugin.materialize import OnlineValue
    from lifecycle.lake import Release
    from lifecycle.pipeline.run import Run


def open_project(path: str | Path | None = None, *, home: str | Path | None = None) -> Project:
    """
    Open the project at or above `path` (default: the working folder, or LIFECYCLE_PROJECT).

    home: where generated things are, instead of what lifecycle.toml and LIFECYCLE_HOME say.
    Raises UsageError when there is no lifecycle.toml.
    """
    return Project(config.load(path, home=home))


class Project:
    """A project's releases, read as training frames, online values and SQL."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lake = Lake(settings.lake)
        self.ledger = Ledger(self.lake)

    def releases(self) -> list[Release]:
        """Return every release, oldest first."""
        return self.ledger.all()

    def release(self, number: int | None = None) -> Release:
        """Return release `number`, or the served one."""
        return self.ledger.get(number)

    def run(
        self,
        source: str | None = None,
        paths: Sequence[str | Path] = (),
        *,
        full_refresh: bool = False,
        progress: Callable[[str, str], None] = lambda _step, _text: None,
    ) -> Run:
        """
        Take files in, build, check, release and materialize; see `lifecycle.pipeline.run`.

        source: a `[sources.NAME]` of lifecycle.toml; None takes nothing in. progress: called with step and text.
        """
        from lifecycle.pipeline.run import Run, run_pipeline

        files = [Path(path) for path in paths]
        run = Run(self.settings, self.lake, self.ledger, source, files, full_refresh, progress)
        return run_pipeline(run)

    def training_frame(
        self,
        spine: Any,
        features: str | Sequence[str],
        label: str | None = None,
        *,
        release: int | None = None,
        known_time: KnownTime | None = None,
        full_feature_names: bool = False,
        keep_immature: bool = False,
    ) -> Frame:
        """
        Return one row per spine row, in its order, with each feature as it was known at that row's time.

        spine: keys and `event_timestamp` as pandas, Polars, Arrow, a Parquet path or a SELECT over the release;
        naive times are UTC. features: a service's name, or names written `view:feature` or `view`.
        label: rows whose label is not mature yet are left out and counted in the receipt, unless `keep_immature`.
        known_time: "as_known" (each fact counts from when it was known) or "feast" (event time only); the
        default is the project's. Raises UsageError for unknown names, SpineError for a spine without keys or times.
        """
        from lifecycle.engine import training_frame

        chosen = self.release(release)
        return training_frame(
            self.lake.connect(chosen.snapshot),
            chosen.definitions,
            spine,
            features=features,
            label=label,
            known_time=known_time,
            full_feature_names=full_feature_names,
            keep_immature=keep_immature,
            watermarks=chosen.watermarks,
            release=chosen.number,
        )

    def rebuild_frame(self, receipt: str | Path | Receipt, *, spine: Any = None) -> Frame:
        """
        Compute a frame again from its receipt, on the release that it names: the same bytes as Parquet.

        receipt: a receipt, its JSON file, or the frame's Parquet file. spine: needed when the receipt's spine was a
        table in memory. Raises DataError that lists precisely what is gone.
        """
        from lifecycle.engine import Receipt, read_receipt, rebuild

        about = receipt if isinstance(receipt, Receipt) else read_receipt(receipt)
        return rebuild(self.lake.connect(self.release(about["release"]).snapshot), about, spine=spine)

    def online_features(
        self, service: str, keys: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> list[dict[str, OnlineValue]]:
        """
        Return, per key, the service's features as the online store holds them, each with event time and age.

        keys: one mapping of entity column to value, such as {"consumer_id": "cus_1"}, or a list of them.
        """
        from lifecycle.feast_plugin.materialize import online

        rows = [keys] if hasattr(keys, "keys") else list(keys)
        return online(self.settings, service, [dict(row) for row in rows])  # type: ignore[arg-type]

    def sql(self, query: str, *, release: int | None = None) -> pa.Table:
        """Run one SELECT on a release and return an Arrow table; tables are named `schema.table`."""
        connection = self.lake.connect(self.release(release).snapshot)
        try:
            connection.execute("USE lake")
            return select(connection, query)
        finally:
            connection.close()

    def engine(self, *, release: int | None = None) -> sa.Engine:
        """Return a SQLAlchemy engine on a release, read-only: for pandas.read_sql, reflection and notebooks."""
        import sqlalchemy

        from lifecycle.lake import dialect

        url = dialect.url(self.settings, release=self.release(release).number)
        return sqlalchemy.create_engine(url)

    def sandbox(self) -> Project:
        """
        Return a project on a fork of this lake, in which a new feature can be built without a release here.

        The fork shares this lake's files and copies its catalog, so it costs no data; what is built in it is
        seen only in it. A fork replaces the one before.
        """
        from lifecycle.lake.fork import fork

        lake = fork(self.lake, self.settings.lake.home / "sandbox")
        return Project(replace(self.settings, lake=lake))
