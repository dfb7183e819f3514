"""
Maturity curves: how soon after *t* a label's final answers were known.

At d days after *t* the label is judged as it would have been then: on events up to *t* + min(H, d), in the versions
known by *t* + d. The curve is the share of the rows decided by a fact, among those mature now, that were so by
then. A fact decides a positive of `exists` and `state_at`, and a negative of `absent`: the event that came.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lifecycle.engine import labels
from lifecycle.engine.session import Session
from lifecycle.engine.spines import open_spine
from lifecycle.names import relation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lifecycle.definitions import Definitions, Label

DAY_US = 86_400_000_000
MOST_POINTS = 61


def maturity_curve(
    connection: Any,
    definitions: Definitions,
    spine: Any,
    label: str,
    *,
    watermarks: Mapping[str, datetime] | None,
    points: int = MOST_POINTS,
) -> pa.Table:
    """
    Return how many of a spine's final answers were known after how many days.

    spine: as for a frame; its rows on which the label is not mature take no part. points: at most so many days
    between 0 and H + M, whole and evenly spread. Columns: `days` BIGINT, `decided` BIGINT (rows a fact decided in the
    end), `known` BIGINT (those for which it was known by then) and `share` DOUBLE (NULL where none was decided).
    """
    about = definitions.label(label)
    session = Session(connection)
    given = open_spine(session, spine)
    keys = list(dict.fromkeys(key for key, _ in about.join_keys))
    given.load(session, keys)
    labels.judge(session, about, keys, watermarks)
    wanted = "label" if about.kind != "absent" else "NOT label"
    session.run(f"DELETE FROM spine WHERE row NOT IN (SELECT row FROM label WHERE ({wanted}) IS TRUE)")
    decided = int(session.value("SELECT count(*) FROM spine"))
    last = -(-(about.horizon_us + about.maturity_us) // DAY_US)
    days = np.unique(np.linspace(0, last, min(points, last + 1)).round().astype(np.int64))
    known = [_known_by(session, about, keys, int(day) * DAY_US) if decided else 0 for day in days]
    return pa.table({
        "days": pa.array(days, pa.int64()),
        "decided": pa.array([decided] * len(days), pa.int64()),
        "known": pa.array(known, pa.int64()),
        "share": pa.array([one / decided if decided else None for one in known], pa.float64()),
    })  # fmt: skip


def backfills(
    connection: Any, definitions: Definitions, *, after_batch: int, watermarks: Mapping[str, datetime]
) -> pa.Table:
    """
    Return the facts that came in after a batch although they were known by the watermarks of then.

    They alone can change a label that was mature: the watermark said that all facts up to it were in. Columns:
    `source`, `type`, `versions` BIGINT, `earliest` and `latest` (event time, UTC), `labels` (VARCHAR[], those judged
    on the source).
    """
    session = Session(connection)
    then = pa.table(
        {
            "source": pa.array(list(watermarks), pa.string()),
            "watermark": pa.array(list(watermarks.values()), pa.timestamp("us", "UTC")),
        }
    )
    session.append("earlier", then)
    found = session.stream(f"""
        SELECT source, type, count(*) AS versions, min(event_timestamp) AS earliest, max(event_timestamp) AS latest
        FROM {relation("raw.events")} JOIN earlier USING (source)
        WHERE batch_id > {int(after_batch)} AND known_at <= watermark GROUP BY ALL ORDER BY ALL""").read_all()
    judged = [
        [one.name for one in definitions.labels if source in one.sources] for source in found["source"].to_pylist()
    ]
    return found.append_column("labels", pa.array(judged, pa.list_(pa.string())))


def label_table(definitions: Definitions, watermarks: Mapping[str, datetime]) -> pa.Table:
    """
    Return one row per label: `label`, `kind`, `horizon_days`, `maturity_days`, `sources` and `trainable_until`.

    trainable_until: the latest observation time (UTC) that is mature, NULL where none of the sources was taken in.
    """
    rows = []
    for one in definitions.labels:
        taken_in = [name for name in one.sources if name in watermarks]
        wait = timedelta(microseconds=one.horizon_us + one.maturity_us)
        until = labels.watermark_of(one, watermarks) - wait if taken_in else None
        days = one.horizon_us / DAY_US, one.maturity_us / DAY_US
        rows.append((one.name, one.kind, *days, ", ".join(one.sources), until))
    types = (pa.string(), pa.string(), pa.float64(), pa.float64(), pa.string(), pa.timestamp("us", "UTC"))
    names = ("label", "kind", "horizon_days", "maturity_days", "sources", "trainable_until")
    columns = zip(*rows, strict=True) if rows else [[] for _ in names]
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, types, strict=True)], names=names)


def _known_by(session: Session, label: Label, keys: list[str], after: int) -> int:
    """Count the session's rows whose deciding fact had happened and was known `after` microseconds past t."""
    after = min(after, label.horizon_us + label.maturity_us)
    horizon = min(label.horizon_us, after)
    kind = "exists" if label.kind == "absent" else label.kind
    then = replace(label, kind=kind, horizon_us=horizon, maturity_us=after - horizon)
    return int(session.value(f"SELECT count(*) FILTER (answer) FROM ({labels.answers(session, then, keys)})"))
