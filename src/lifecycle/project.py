"""
The public Python API: one project, its releases, and the three ways to read them.

Every read names a release or takes the served one, and sees exactly that release.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import config
from lifecycle.lake import Lake, Ledger
from lifecycle.lake.connection import select
from lifecycle.lake.ledger import last_midnight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    import sqlalchemy as sa

    from lifecycle.analytics import Scores
    from lifecycle.config import Settings
    from lifecycle.definitions import KnownTime
    from lifecycle.engine import Audit, Difference, Explanation, Frame, Receipt
    from lifecycle.lake import Release
    from lifecycle.online import OnlineStore, Row
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
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Frame:
        """
        Return one row per spine row, in its order, with each feature as it was known at that row's time.

        spine: keys and `event_timestamp` as pandas, Polars, Arrow, a Parquet path or a SELECT over the release;
        naive times are UTC. None with `start` and `end` takes every moment between them at which a state changed;
        `lifecycle.every_row` and `lifecycle.monthly` write other spines.
        features: a service's name, or names written `view:feature` or `view`.
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
            start=start,
            end=end,
        )

    def audit(
        self,
        spine: Any,
        features: str | Sequence[str],
        label: str | None = None,
        *,
        release: int | None = None,
        mistakes: Sequence[str] | None = None,
        full_feature_names: bool = False,
    ) -> Audit:
        """
        Compare a frame with the one that naive retrieval would have made: what changes, and what that tells the label.

        mistakes: of `event_time` (known times are ignored), `closed` (the scored event counts) and `today` (states are
        today's objects); None makes all three. The rest is as for `training_frame`.
        """
        from lifecycle.engine import audit
        from lifecycle.engine.audit import MISTAKES

        chosen = self.release(release)
        connection = self.lake.connect(chosen.snapshot)
        try:
            return audit(
                connection,
                chosen.definitions,
                spine,
                features=features,
                label=label,
                watermarks=chosen.watermarks,
                mistakes=MISTAKES if mistakes is None else mistakes,
                full_feature_names=full_feature_names,
            )
        finally:
            connection.close()

    def explain(
        self,
        keys: Mapping[str, Any],
        feature: str,
        at: datetime,
        *,
        known_time: KnownTime | None = None,
        release: int | None = None,
    ) -> Explanation:
        """
        Return a feature's value at `at` with the rows that made it, and those that did not with the reason.

        keys: entity columns with their values, such as {"consumer_id": "cus_1"}. feature: `view:feature`, or a
        label's name. at: naive times are UTC. Raises UsageError for unknown names and a missing key.
        """
        from lifecycle.engine import explain

        chosen = self.release(release)
        connection = self.lake.connect(chosen.snapshot)
        try:
            return explain(
                connection,
                chosen.definitions,
                keys,
                feature,
                at,
                known_time=known_time,
                watermarks=chosen.watermarks,
            )
        finally:
            connection.close()

    def labels(self, *, release: int | None = None) -> pa.Table:
        """
        Return a release's labels with the latest time that each can be trained on.

        Columns: label, kind, horizon_days, maturity_days, sources, trainable_until (NULL where the release has taken
        in none of the sources).
        """
        from lifecycle.engine import label_table

        chosen = self.release(release)
        return label_table(chosen.definitions, chosen.watermarks)

    def backfills(self, release: int | None = None) -> pa.Table:
        """
        Return the old facts that a release brought: known by the watermarks of the one before, but not taken in then.

        They alone can change a label that was mature. Columns: source, type, versions, earliest, latest, labels; see
        `lifecycle.engine.maturity`. The first release brings none.
        """
        from lifecycle.engine import backfills

        chosen = self.release(release)
        before = [one for one in self.releases() if one.number < chosen.number]
        after, watermarks = (before[-1].high_water, before[-1].watermarks) if before else (chosen.high_water, {})
        connection = self.lake.connect(chosen.snapshot)
        try:
            return backfills(connection, chosen.definitions, after_batch=after, watermarks=watermarks)
        finally:
            connection.close()

    def maturity_curve(self, spine: Any, label: str, *, release: int | None = None) -> pa.Table:
        """
        Return the share of a label's final answers that were known after so many days.

        spine: as for `training_frame`. Columns: days, decided, known, share; see `lifecycle.engine.maturity`.
        """
        from lifecycle.engine import maturity_curve

        chosen = self.release(release)
        connection = self.lake.connect(chosen.snapshot)
        try:
            return maturity_curve(connection, chosen.definitions, spine, label, watermarks=chosen.watermarks)
        finally:
            connection.close()

    def rebuild_frame(self, receipt: str | Path | Receipt, *, spine: Any = None) -> Frame:
        """
        Compute a frame again from its receipt, on the release that it names: the same bytes as Parquet.

        receipt: a receipt, its JSON file, or the frame's Parquet file. spine: needed when the receipt's spine was a
        table in memory. Raises DataError that lists precisely what is gone.
        """
        from lifecycle.engine import Receipt, read_receipt, rebuild

        about = receipt if isinstance(receipt, Receipt) else read_receipt(receipt)
        chosen = self.release(about["release"])
        watermarks = None if about["release"] is None else chosen.watermarks
        return rebuild(self.lake.connect(chosen.snapshot), about, spine=spine, watermarks=watermarks)

    def diff_frames(self, a: Frame | str | Path, b: Frame | str | Path) -> Difference:
        """
        Attribute each changed cell between two frames to definitions, late data, spine or label.

        a, b: frames, or their Parquet files. Where definitions and release both changed, the frame between them is
        made to tell the two apart; between releases of the same events, all that changed is the definitions' doing,
        models among them. Frames of another lake are compared by their receipts alone; see `lifecycle.engine.diff`.
        """
        from lifecycle.engine import Frame, diff, halfway, read_receipt

        first, second = (one.receipt if isinstance(one, Frame) else read_receipt(one) for one in (a, b))
        before, after = self._release_of(first), self._release_of(second)
        if before is None or after is None or before.number == after.number:
            return diff(a, b)
        middle = None
        if first["definitions_hash"] != second["definitions_hash"]:
            middle = halfway(self.lake.connect(after.snapshot), first, second)
        return diff(a, b, middle=middle, same_facts=before.high_water == after.high_water)

    def _release_of(self, receipt: Receipt) -> Release | None:
        """Return the release that a receipt names, None where this lake's ledger has no such one."""
        from lifecycle.engine.receipts import write_times

        for release in self.releases():
            if release.number == receipt["release"] and write_times(release.watermarks) == receipt["watermarks"]:
                return release
        return None

    def online_features(
        self,
        features: str | Sequence[str],
        keys: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        t: datetime | None = None,
        *,
        full_feature_names: bool = False,
    ) -> list[Row]:
        """
        Return, per key, features as the online store holds them at one time, each with event time, age and status.

        features: as for `training_frame`; the definitions are those of the release the store was filled from.
        keys: one mapping of entity column to value, such as {"consumer_id": "cus_1"}, or a list of them; a view
        whose key is not given is NOT_FOUND. t: the read time, by default the lesser of the clock and the time up
        to which the store is filled. Raises UsageError for unknown names, for keys of no view asked for, and
        where the store is empty.
        """
        from lifecycle.online import read

        rows = [keys] if hasattr(keys, "keys") else list(keys)
        store = self.online_store
        return read(store, store.definitions(), features, rows, t, full_feature_names=full_feature_names)  # type: ignore[arg-type]

    @cached_property
    def online_store(self) -> OnlineStore:
        """Return the online store of lifecycle.toml's [online]; raises PlatformError where it is out of reach."""
        from lifecycle.online import open_store

        return open_store(self.settings.online_place)

    def customer_value(
        self, at: date | None = None, *, model: str = "bg_nbd", weeks: int = 52, release: int | None = None
    ) -> Scores:
        """
        Score every customer at the midnight (UTC) at which `at` begins, from the purchases known by then.

        at: by default the last midnight up to which the release's facts are in. model: `bg_nbd` or `pareto_nbd`.
        weeks: how far ahead. See `lifecycle.analytics.score` for the table. Raises UsageError for a time past the
        release's facts, DataError where no model fits.
        """
        from lifecycle.analytics import score
        from lifecycle.engine.purchases import purchases_known

        chosen = self.release(release)
        day = last_midnight(chosen.watermarks, at)
        connection = self.lake.connect(chosen.snapshot)
        try:
            known = purchases_known(connection, self.settings.value, datetime.combine(day, time.min, tzinfo=UTC))
        finally:
            connection.close()
        return score(known, at=day, model=model, weeks=weeks, key=self.settings.value["key"])

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
        return Project(replace(self.settings, lake=lake, online=""))
