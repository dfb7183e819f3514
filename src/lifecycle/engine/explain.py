"""
Explanations: the rows that made a value at *t*, and why every other row of its key did not.

A candidate is any row of the value's relation under the spine row's key. Each gets one outcome, the first that
applies in the order of `OUTCOMES`; those that are `used` give the value back, by the rules of docs/semantics.md.

A relation of event versions leaves out retractions, versions that were never in force, and those that moved to
another key. They are looked up in `raw.events` by the `event_id` of the candidates, where the relation has one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.engine import explain_sql
from lifecycle.engine.explain_sql import EVENT_ID
from lifecycle.engine.frames import training_frame
from lifecycle.engine.selection import select
from lifecycle.engine.session import Session
from lifecycle.engine.spines import open_spine
from lifecycle.errors import UsageError
from lifecycle.times import iso, to_utc

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lifecycle.definitions import Definitions, KnownTime, Label

ROW, WHY = "row", "why"
USED = "used"
VERSIONS = ("event_timestamp", "known_from", "known_until")
OUTCOMES = {
    USED: "it made the value",
    "no_event_time": "it has no event time, so it never counts",
    "after_t": "it happened after t",
    "at_t": "it happened at t: it is what is being scored",
    "before_t": "it happened at or before t, before the label's horizon begins",
    "after_horizon": "it happened after the label's horizon",
    "not_yet_known": "it was not known yet",
    "retracted": "its event was withdrawn by then",
    "superseded": "another version of its event, or of its state at that time, counts instead",
    "tombstone": "it is the newest row and says that there is no state",
    "expired": "it is the newest row and older than the view's ttl",
    "hidden_by_tombstone": "a newer row says that there is no state",
    "hidden_by_expired": "a newer row counts, though it is older than the view's ttl",
    "older": "a row that happened later counts instead",
    "loses_tie": "another row of the same times ranks higher in the tie-break",
    "beyond_cap": "the view's cap on history was reached by newer events",
    "outside_window": "it happened before the window begins",
    "condition": "it does not satisfy the condition",
    "null_value": "its value is NULL, which is not aggregated",
    "beyond_k": "the newest k events come after it",
    "retraction": "it is the version that withdrew its event",
    "never_in_force": "it was superseded before it was known",
    "other_key": "this version of its event belongs to another key",
    "not_in_relation": "the relation's model leaves this version out",
}


@dataclass(frozen=True)
class Explanation:
    """
    One value and the rows behind it.

    value: the feature's or label's value. status: a label's, else None. rows: an Arrow table of the relation's
    columns after `why` (an outcome), oldest first; rows found in raw.events have their own `type` and `payload` too.
    known_time: as_known or feast. at: the observation time, UTC. deciding: the columns of `rows` that matter most.
    """

    feature: str
    keys: dict[str, Any]
    at: datetime
    known_time: str
    value: Any
    status: str | None
    rows: pa.Table
    deciding: tuple[str, ...]

    @property
    def used(self) -> pa.Table:
        """The rows that made the value."""
        return self.rows.filter(pc.equal(self.rows[WHY], USED))

    @property
    def left_out(self) -> pa.Table:
        """The rows of the key that did not, with their reason in `why`."""
        return self.rows.filter(pc.not_equal(self.rows[WHY], USED))

    def counts(self) -> dict[str, int]:
        """Return how many rows have each outcome, in the order of OUTCOMES."""
        counted = Counter(self.rows[WHY].to_pylist())
        return {one: counted[one] for one in OUTCOMES if one in counted}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: what the command line prints as JSON."""
        head = {"feature": self.feature, "keys": self.keys, "at": iso(self.at), "known_time": self.known_time}
        label = {} if self.status is None else {"status": self.status}
        return head | {"value": self.value} | label | {"counts": self.counts(), "rows": self.rows.to_pylist()}


def explain(
    connection: Any,
    definitions: Definitions,
    keys: Mapping[str, Any],
    feature: str,
    at: datetime,
    *,
    known_time: KnownTime | None = None,
    watermarks: Mapping[str, datetime] | None = None,
) -> Explanation:
    """
    Explain one value.

    keys: the entity columns with their values, such as {"consumer_id": "cus_1"}; text is read as the key's own
    type. feature: `view:feature`, or a label's name. at: naive times are UTC. Raises UsageError for unknown
    names and for a key that is missing.
    """
    wanted = _keys_of(definitions, feature)
    missing = [name for name in wanted if name not in keys]
    if missing:
        raise UsageError(f"{feature} is keyed by {', '.join(wanted)}; name {', '.join(missing)} too.")
    moment = to_utc(at)
    types = explain_sql.key_types(Session(connection), definitions, feature)
    columns = {name: _key(connection, keys[name], types[name]) for name in wanted}
    spine = pa.table({**columns, "event_timestamp": pa.array([moment], pa.timestamp("us", "UTC"))})
    values, rows = explain_rows(connection, definitions, spine, feature, known_time=known_time, watermarks=watermarks)
    mode = known_time or definitions.known_time
    status = values["status"][0].as_py() if "status" in values.column_names else None
    rows = rows.drop_columns([ROW])
    deciding = tuple(one for one in _deciding(definitions, feature) if one is not None and one in rows.column_names)
    given = {name: keys[name] for name in wanted}
    return Explanation(feature, given, moment, mode, values["value"][0].as_py(), status, rows, deciding)


def explain_rows(
    connection: Any,
    definitions: Definitions,
    spine: Any,
    feature: str,
    *,
    known_time: KnownTime | None = None,
    watermarks: Mapping[str, datetime] | None = None,
) -> tuple[pa.Table, pa.Table]:
    """
    Explain a value at every row of a spine (as a frame takes it).

    Returns (values, rows). values: `value`, one per spine row in its order, and for a label `status`. rows:
    `row` (BIGINT, the spine's row from 0), `why`, then the relation's columns, sorted by row and time.
    """
    label = _label(definitions, feature)
    mode = known_time or definitions.known_time
    asked: dict[str, Any] = {"known_time": mode, "watermarks": watermarks}
    if label is None:
        frame = training_frame(connection, definitions, spine, features=[feature], **asked).table
        made = {"value": frame.columns[-1]}
    else:
        frame = training_frame(
            connection, definitions, spine, features=[], label=feature, keep_immature=True, **asked
        ).table
        made = {"value": frame.columns[-2], "status": frame.columns[-1]}
    session = Session(connection)
    # The rows as the frame had them: a stream is read once, and a query may come in another order the next time.
    given = open_spine(session, frame.select(frame.column_names[: -len(made)]))
    spine_keys = list(_keys_of(definitions, feature))
    given.load(session, spine_keys)
    if label is not None:
        query = explain_sql.label_rows(session, label, spine_keys)
    else:
        [selection] = select(definitions, [feature]).selections
        query = explain_sql.view_rows(session, selection, spine_keys, mode)
    return pa.table(made), session.stream(query).read_all()


def _keys_of(definitions: Definitions, feature: str) -> tuple[str, ...]:
    label = _label(definitions, feature)
    if label is not None:
        return tuple(dict.fromkeys(key for key, _ in label.join_keys))
    wanted = select(definitions, [feature])
    if wanted.on_demand:
        read = [f"{of.view}:{name}" for one in wanted.on_demand for of in one.view.inputs for name in of.features]
        raise UsageError(f"{feature} is computed on demand from {', '.join(read)}: explain those.")
    if len(wanted.names) != 1:
        raise UsageError(f"{feature!r} names {len(wanted.names)} features; explain one, written view:feature.")
    return tuple(dict.fromkeys(wanted.selections[0].spine_keys))


def _deciding(definitions: Definitions, feature: str) -> list[str | None]:
    """Return the columns that a reader wants first: times, the value's own columns, the event."""
    if _label(definitions, feature) is not None:
        return [WHY, *VERSIONS, EVENT_ID]
    [selection] = select(definitions, [feature]).selections
    view, [name] = selection.view, selection.features
    windows = [one for one in view.windows if one.name == name]
    if not windows:
        return [WHY, view.event_timestamp, view.known_at, view.column_of(name), view.deleted, EVENT_ID]
    bucket = windows[0].bucket
    values = [windows[0].column, bucket[0] if bucket else None]
    return [WHY, *dict.fromkeys([view.event_timestamp, *VERSIONS, *values, EVENT_ID])]


def _label(definitions: Definitions, feature: str) -> Label | None:
    if ":" in feature or feature in {one.name for one in definitions.views}:
        return None
    return definitions.label(feature)


def _key(connection: Any, value: Any, dtype: str) -> pa.Array:
    """Return a key as Arrow; text from a command line is read as the relation's type."""
    if not isinstance(value, str) or dtype == "VARCHAR":
        return pa.array([value])
    found = connection.execute(f"SELECT TRY_CAST(? AS {dtype}) AS k", [value]).to_arrow_table()["k"]
    if found.null_count:
        raise UsageError(f"{value!r} is no {dtype}, which the key is.")
    return found.combine_chunks()
