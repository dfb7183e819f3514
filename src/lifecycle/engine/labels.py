"""
Labels: what became true of a key within a horizon *H* after *t*, judged on what was known by *t* + *H* + *M*.

`exists` and `absent` look for an event in (t, t + H]. A version of such an event answers for the observation
times from max(e - H, known_from - H - M) up to, not including, min(e, known_until - H - M): an interval of *t*.
So an event exists for *t* when *t* lies in any interval of its key, which one ASOF join on the intervals'
starts decides, carrying the greatest end so far. Late and amended versions need nothing of their own.

`state_at` takes the state in force at t + H: the greatest (event time, known time, tie-break) at or before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifecycle.definitions import TIE_BREAK
from lifecycle.engine.keys import matched, same_keys
from lifecycle.engine.session import fact_time, require
from lifecycle.errors import UsageError
from lifecycle.names import quote, quote_all, relation
from lifecycle.times import from_microseconds, iso, to_microseconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from lifecycle.definitions import Label
    from lifecycle.engine.session import Session

MATURE, IMMATURE, NO_KEY = "mature", "immature", "no_key"


@dataclass(frozen=True)
class Judged:
    """
    Counts of a label over a spine: rows by status, and the positives among the mature ones.

    trainable_until: the latest observation time that can be mature: the label's watermark less H + M. earliest,
    latest: the first and last mature observation, None without one. These times are ISO 8601, UTC.

    The session's table `label` holds (row, label BOOLEAN, status VARCHAR), one row per spine row.
    """

    name: str
    mature: int
    immature: int
    no_key: int
    positive: int
    trainable_until: str
    earliest: str | None
    latest: str | None


def watermark_of(label: Label, watermarks: Mapping[str, datetime] | None) -> datetime:
    """
    Return the earliest watermark of the label's sources that the release has taken in.

    A label may name every source that could bring its events; those a lake never took in hold no facts and
    are left out. Raises UsageError when none is left.
    """
    taken_in = watermarks or {}
    have = [taken_in[one] for one in label.sources if one in taken_in]
    if not have:
        known = ", ".join(sorted(taken_in)) or "none"
        raise UsageError(
            f"label {label.name!r} is judged by the watermarks of {', '.join(label.sources)}, none of which this "
            f"release has taken in. It has: {known}."
        )
    return min(have)


def judge(
    session: Session, label: Label, spine_keys: Sequence[str], watermarks: Mapping[str, datetime] | None
) -> Judged:
    """Make the session's table `label` from its table `spine` and return the counts."""
    until = to_microseconds(watermark_of(label, watermarks))
    last = until - label.horizon_us - label.maturity_us
    source = _Versions(session, label, spine_keys)
    mature = f"epoch_us(s.t) <= {last}"
    missing = " OR ".join(f"s.k{i} IS NULL" for i in range(len(source.columns))) or "false"
    status = f"CASE WHEN {missing} THEN '{NO_KEY}' WHEN {mature} THEN '{MATURE}' ELSE '{IMMATURE}' END"
    session.run(f"""
        CREATE TEMP TABLE label AS
        SELECT row, CASE WHEN status = '{MATURE}' THEN answer END AS label, status
        FROM (SELECT s.row, {status} AS status, a.answer
              FROM ({source.spine}) AS s JOIN ({source.answer()}) AS a USING (row))""")
    counts = session.rows("SELECT status, count(*), count(*) FILTER (label) FROM label GROUP BY status")
    by_status = {status: (rows, positive) for status, rows, positive in counts}
    mature, immature, no_key = (by_status.get(one, (0, 0))[0] for one in (MATURE, IMMATURE, NO_KEY))
    [(first, final)] = session.rows(
        f"SELECT epoch_us(min(t)), epoch_us(max(t)) FROM spine JOIN label USING (row) WHERE status = '{MATURE}'"
    )
    positive = by_status.get(MATURE, (0, 0))[1]
    times = (None if one is None else iso(from_microseconds(one)) for one in (first, final))
    return Judged(label.name, mature, immature, no_key, positive, iso(from_microseconds(last)), *times)


def answers(session: Session, label: Label, spine_keys: Sequence[str]) -> str:
    """Return SQL of (row, answer) for the rows of the session's table `spine`, whether or not they are mature."""
    return _Versions(session, label, spine_keys).answer()


class _Versions:
    """The label's event versions, and the SQL that asks them."""

    def __init__(self, session: Session, label: Label, spine_keys: Sequence[str]) -> None:
        self.session, self.label = session, label
        self.columns = [column for _, column in label.join_keys]
        have = session.columns(label.relation)
        required = (*self.columns, "event_timestamp", "known_from", "known_until")
        require(required, have, label.relation, f"label {label.name!r}")
        self.ties = [one for one in TIE_BREAK if one in have]
        keys = matched(session, f"label {label.name!r}", label.join_keys, have, spine_keys)
        self.spine = f"SELECT row, t{keys} FROM spine"
        self.on = same_keys(len(self.columns), "s", "r")
        self.at = {
            name: f"epoch_us({fact_time(quote(name), have[name])})"
            for name in ("event_timestamp", "known_from", "known_until")
        }
        self.present = " AND ".join(
            [f"{quote(one)} IS NOT NULL" for one in self.columns] + [f"{self.at['event_timestamp']} IS NOT NULL"]
        )

    def answer(self) -> str:
        """Return SQL of (row, answer)."""
        if self.label.kind == "state_at":
            return self.state()
        return self.event(positive=self.label.kind == "exists")

    def event(self, *, positive: bool) -> str:
        """Return SQL of (row, answer): whether an event in (t, t + H] is in force at t + H + M, or none is."""
        horizon, wait = self.label.horizon_us, self.label.horizon_us + self.label.maturity_us
        at = self.at
        keys = [f"{quote(one)} AS k{i}" for i, one in enumerate(self.columns)]
        by = f"PARTITION BY {quote_all(f'k{i}' for i in range(len(self.columns)))} " if self.columns else ""
        start = f"greatest({at['event_timestamp']} - {horizon}, {at['known_from']} - {wait})"
        end = f"least({at['event_timestamp']}, coalesce({at['known_until']} - {wait}, {at['event_timestamp']}))"
        intervals = f"""
            SELECT {"".join(f"k{i}, " for i in range(len(self.columns)))}start,
                max("end") OVER ({by}ORDER BY start RANGE UNBOUNDED PRECEDING) AS until
            FROM (SELECT {", ".join([*keys, f"{start} AS start", f'{end} AS "end"'])}
                  FROM {relation(self.label.relation)} WHERE {self.present} AND ({self.label.condition}))
            WHERE start < "end" """
        exists = "coalesce(r.until > epoch_us(s.t), false)"
        return f"""
            SELECT s.row, {exists if positive else f"NOT {exists}"} AS answer
            FROM ({self.spine}) AS s ASOF LEFT JOIN ({intervals}) AS r ON {self.on}epoch_us(s.t) >= r.start"""

    def state(self) -> str:
        """Return SQL of (row, answer): whether the state in force at t + H satisfies the condition; none does not."""
        self._states()
        keys = "".join(f", s.k{i}" for i in range(len(self.columns)))
        due, judged = self.label.horizon_us, self.label.horizon_us + self.label.maturity_us
        moment = f"epoch_us(s.t) + {judged}"
        in_force = f"coalesce(r.known_from <= {moment}, true) AND coalesce({moment} < r.known_until, true)"
        order = ", ".join(f"r.{one} DESC NULLS LAST" for one in ("e", "known_from", *self.ties))
        best = f"QUALIFY row_number() OVER (PARTITION BY s.row ORDER BY {order}) = 1"
        # The newest state by event time answers when one of its versions is in force; the few rows for which
        # none is look through all earlier states of their key.
        self.session.run(f"""
            CREATE OR REPLACE TEMP TABLE label_newest AS
            SELECT s.row, s.t{keys}, r.e
            FROM ({self.spine}) AS s ASOF LEFT JOIN label_states AS r ON {self.on}epoch_us(s.t) + {due} >= r.e""")
        self.session.run(f"""
            CREATE OR REPLACE TEMP TABLE label_first AS
            SELECT s.row, r.holds FROM label_newest AS s JOIN label_states AS r ON {self.on}s.e = r.e AND {in_force}
            {best}""")
        self.session.run(f"""
            CREATE OR REPLACE TEMP TABLE label_rest AS
            SELECT s.row, r.holds
            FROM (SELECT * FROM label_newest ANTI JOIN label_first USING (row) WHERE e IS NOT NULL) AS s
            JOIN label_states AS r ON {self.on}r.e < s.e AND {in_force} {best}""")
        return """
            SELECT s.row, coalesce(a.holds, false) AS answer FROM spine AS s
            LEFT JOIN (SELECT * FROM label_first UNION ALL SELECT * FROM label_rest) AS a USING (row)"""

    def _states(self) -> None:
        keys = [f"{quote(one)} AS k{i}" for i, one in enumerate(self.columns)]
        listed = [
            *keys,
            f"{self.at['event_timestamp']} AS e",
            f"{self.at['known_from']} AS known_from",
            f"{self.at['known_until']} AS known_until",
            *map(quote, self.ties),
            f"({self.label.condition}) IS TRUE AS holds",
        ]
        self.session.run(f"""
            CREATE OR REPLACE TEMP TABLE label_states AS
            SELECT {", ".join(listed)} FROM {relation(self.label.relation)} WHERE {self.present}""")
