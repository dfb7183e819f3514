"""SQL of explanations: every row of a key with the one reason why it counts or does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle.definitions import TIE_BREAK
from lifecycle.engine.keys import matched, same_keys
from lifecycle.engine.selection import select
from lifecycle.engine.session import fact_time, require
from lifecycle.engine.settle import facts
from lifecycle.errors import UsageError
from lifecycle.names import literal, quote, relation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lifecycle.definitions import Definitions, KnownTime, Label, Window
    from lifecycle.engine.selection import Selection
    from lifecycle.engine.session import Session

RAW = "raw.events"
EVENT_ID, CONTENT = "event_id", "content_hash"
RESERVED = frozenset(("row", "why", "fact", "raw_type", "raw_payload", "x_event", "x_known"))


def key_types(session: Session, definitions: Definitions, feature: str) -> dict[str, str]:
    """Return DuckDB's type of each entity column behind a feature or label."""
    if ":" not in feature and feature not in {one.name for one in definitions.views}:
        label = definitions.label(feature)
        have = session.columns(label.relation)
        return {entity: have[column] for entity, column in label.join_keys}
    [selection] = select(definitions, [feature]).selections
    have = session.columns(selection.view.relation)
    pairs = zip(selection.spine_keys, selection.view.join_keys, strict=True)
    return {entity: have[column] for entity, (_, column) in pairs}


def view_rows(session: Session, selection: Selection, spine_keys: Sequence[str], mode: KnownTime) -> str:
    """Return SQL of (row, why, the relation's columns ...) for one feature of a view, at each row of `spine`."""
    view = selection.view
    have = session.columns(view.relation)
    pairs = [(key, column) for key, (_, column) in zip(selection.spine_keys, view.join_keys, strict=True)]
    keys = matched(session, f"view {view.name!r}", pairs, have, spine_keys)
    if view.windows:
        [feature] = selection.features
        window = next(one for one in view.windows if one.name == feature)
        return _Window(session, selection, have, window, as_known=mode == "as_known").query(keys)
    return _State(session, selection, have, as_known=mode == "as_known").query(keys)


def label_rows(session: Session, label: Label, spine_keys: Sequence[str]) -> str:
    """Return SQL of (row, why, the relation's columns ...) for a label, at each row of `spine`."""
    have = session.columns(label.relation)
    keys = matched(session, f"label {label.name!r}", label.join_keys, have, spine_keys)
    return _Label(session, label, have).query(keys)


class _Candidates:
    """
    A relation's rows under the spine's keys, each with the columns that decide it.

    Columns of the relation travel as one struct, `fact`, so that none can clash with `row`, `t`, `e` (event
    time), `known`, `until` (microseconds) and what `deciding` adds, all evaluated over the relation alone.
    """

    def __init__(self, session: Session, name: str, have: dict[str, str], keys: Sequence[str]) -> None:
        clash = [one for one in have if one.lower() in RESERVED]
        if clash:
            raise UsageError(f"{name} has a column {clash[0]!r}, a name that explanations need. Rename it.")
        self.session, self.name, self.have, self.keys = session, name, have, keys
        self.raw = _raw_columns(session) if EVENT_ID in have else {}

    def time(self, column: str) -> str:
        """Return SQL of a time column in microseconds."""
        return f"epoch_us({fact_time(quote(column), self.have[column])})"

    def candidates(self, keys: str, deciding: Mapping[str, str]) -> str:
        """Return SQL of (row, t, fact, *deciding), t in microseconds; `deciding` is SQL over the relation by name."""
        listed = ", ".join(f"{sql} AS {name}" for name, sql in deciding.items())
        ids = "".join(f", {quote(key)} AS k{i}" for i, key in enumerate(self.keys))
        carried = ", ".join(f"r.{name}" for name in deciding)
        on = same_keys(len(self.keys), "s", "r") + "true"
        return f"""
            SELECT s.row, epoch_us(s.t) AS t, r.fact, {carried}
            FROM (SELECT row, t{keys} FROM spine) AS s
            JOIN (SELECT fact, {listed}{ids} FROM {relation(self.name)} AS fact) AS r ON {on}"""

    def ended(self) -> str:
        """Return SQL of why a version that ended did: its event was withdrawn at that moment, or superseded."""
        if not self.raw:
            return "'superseded'"
        return f"""CASE WHEN EXISTS (
            SELECT 1 FROM {relation(RAW)} AS w
            WHERE w.event_id = c.fact.{EVENT_ID} AND w.retracted AND epoch_us(w.known_from) = c.until
        ) THEN 'retracted' ELSE 'superseded' END"""

    def finish(self, classified: str, judged: str = "t") -> str:
        """Return SQL of the classified rows (row, t, fact, e, known, why), and of versions in raw.events alone."""
        if not self.raw:
            return f"""
                SELECT * EXCLUDE (x_event, x_known)
                FROM (SELECT row, why, unnest(fact), e AS x_event, known AS x_known FROM ({classified}))
                ORDER BY {self._order()}"""
        raw, here = relation(RAW), relation(self.name)
        moved = f"EXISTS (SELECT 1 FROM {here} AS o WHERE o.event_id = w.event_id{self._content('o')})"
        return f"""
            WITH classified AS MATERIALIZED ({classified}),
            asked AS (SELECT DISTINCT row, {judged} AS judged, fact.{EVENT_ID} AS event_id FROM classified),
            elsewhere AS (
                SELECT a.row, w, CASE
                    WHEN epoch_us(w.known_from) > a.judged THEN 'not_yet_known'
                    WHEN w.retracted THEN 'retraction'
                    WHEN w.known_until <= w.known_from THEN 'never_in_force'
                    WHEN {moved} THEN 'other_key' ELSE 'not_in_relation' END AS why
                FROM asked AS a JOIN {raw} AS w ON w.event_id = a.event_id
                WHERE NOT EXISTS (
                    SELECT 1 FROM classified AS k
                    WHERE k.row = a.row AND k.fact.event_id = w.event_id{self._content("k.fact")})
            )
            SELECT * EXCLUDE (x_event, x_known) FROM (
                SELECT row, why, unnest(fact), NULL::VARCHAR AS raw_type, NULL::VARCHAR AS raw_payload,
                    e AS x_event, known AS x_known FROM classified
                UNION ALL BY NAME
                SELECT row, why, {self._shared()}w.type AS raw_type, w.payload AS raw_payload,
                    epoch_us(w.event_timestamp) AS x_event, epoch_us(w.known_from) AS x_known FROM elsewhere
            )
            ORDER BY {self._order()}"""

    def _order(self) -> str:
        ties = [f"{name} NULLS FIRST" for name in TIE_BREAK if name in self.have]
        return ", ".join(["row", "x_event NULLS FIRST", "x_known NULLS FIRST", *ties, "why"])

    def _content(self, left: str) -> str:
        return f" AND {left}.{CONTENT} = w.{CONTENT}" if CONTENT in self.have else ""

    def _shared(self) -> str:
        """Return SQL of raw.events' columns that the relation has too, with the same type."""
        shared = [one for one, dtype in self.raw.items() if self.have.get(one) == dtype]
        return "".join(f"w.{quote(one)} AS {quote(one)}, " for one in shared)


class _State(_Candidates):
    """Rows of a row view: the winner is used, unless it is a tombstone or expired."""

    def __init__(self, session: Session, selection: Selection, have: dict[str, str], *, as_known: bool) -> None:
        self.view, self.as_known = selection.view, as_known
        self.of = facts(session.cursor, selection.view)
        super().__init__(session, selection.view.relation, have, self.of.keys)

    def query(self, keys: str) -> str:
        view = self.view
        ties = {f"g{i}": quote(name) for i, name in enumerate(view.tie_break)}
        deciding = {"e": f"epoch_us({self.of.event})", "known": f"epoch_us({self.of.known})", **ties}
        deciding["deleted"] = f"{quote(view.deleted)} IS TRUE" if view.deleted else "false"
        early = "e > t" if view.at_t == "include" else "e >= t"
        unknown = " OR known > t" if self.as_known else ""
        order = ", ".join(["counts DESC", "e DESC", "known DESC", *(f"{name} DESC NULLS LAST" for name in ties)])
        expired = f"win.e < t - {int(view.ttl_us)}" if view.ttl_us else "false"
        classified = f"""
            SELECT row, t, fact, e, known, CASE
                WHEN e IS NULL THEN 'no_event_time'
                WHEN e > t THEN 'after_t'
                WHEN {early} THEN 'at_t'
                WHEN NOT counts THEN 'not_yet_known'
                WHEN place = 1 AND deleted THEN 'tombstone'
                WHEN place = 1 AND {expired} THEN 'expired'
                WHEN place = 1 THEN 'used'
                WHEN win.deleted THEN 'hidden_by_tombstone'
                WHEN {expired} THEN 'hidden_by_expired'
                WHEN e < win.e THEN 'older'
                WHEN known < win.known THEN 'superseded'
                ELSE 'loses_tie' END AS why
            FROM (
                SELECT *, row_number() OVER ranked AS place,
                    first_value({{'e': e, 'known': known, 'deleted': deleted}}) OVER ranked AS win
                FROM (SELECT *, NOT coalesce({early}{unknown}, true) AS counts FROM ({self.candidates(keys, deciding)}))
                WINDOW ranked AS (PARTITION BY row ORDER BY {order})
            )"""
        return self.finish(classified)


class _Window(_Candidates):
    """Events of a window view, in the kernel's order."""

    def __init__(
        self, session: Session, selection: Selection, have: dict[str, str], window: Window, *, as_known: bool
    ) -> None:
        self.view, self.window = selection.view, window
        keys = [column for _, column in self.view.join_keys]
        super().__init__(session, self.view.relation, have, keys)
        self.versioned = "known_from" in have
        self.as_known = as_known and self.versioned

    def query(self, keys: str) -> str:
        view, window = self.view, self.window
        ties = {f"g{i}": quote(name) for i, name in enumerate(view.tie_break) if name in self.have}
        deciding = {
            "e": self.time(view.event_timestamp),
            "known": self.time("known_from") if self.versioned else "NULL::BIGINT",
            "until": self.time("known_until") if self.versioned else "NULL::BIGINT",
            "met": self._condition(),
            "filled": f"{quote(window.column)} IS NOT NULL" if window.column is not None else "true",
            **ties,
        }
        newest = "e DESC, known DESC NULLS LAST" + "".join(f", {name} DESC NULLS LAST" for name in ties)
        classified = f"""
            SELECT row, t, fact, e, known,
                CASE WHEN why = 'used' AND nth > {self._k()} THEN 'beyond_k' ELSE why END AS why
            FROM (
                SELECT *, row_number() OVER (PARTITION BY row, why ORDER BY {newest}) AS nth
                FROM (SELECT *, {self._why()} AS why FROM ({self._counted(keys, deciding, newest)}) AS c)
            )"""
        return self.finish(classified)

    def _counted(self, keys: str, deciding: Mapping[str, str], newest: str) -> str:
        """Return SQL of the candidates with `capped`: more than the cap's number of newer events count."""
        source = self.candidates(keys, deciding)
        if self.view.history_cap is None:
            return f"SELECT *, false AS capped FROM ({source})"
        in_force = "until IS NULL"
        if self.as_known:
            in_force = "(known IS NULL OR known <= t) AND (until IS NULL OR t < until)"
        return f"""
            SELECT *, row_number() OVER (PARTITION BY row, counts ORDER BY {newest}) > {int(self.view.history_cap)}
                AS capped
            FROM (SELECT *, e < t AND {in_force} AS counts FROM ({source}))"""

    def _why(self) -> str:
        begin = f"WHEN e < t - {int(self.window.window_us)} THEN 'outside_window'" if self.window.window_us else ""
        early = "WHEN known > t THEN 'not_yet_known'" if self.as_known else ""
        ended = "until <= t" if self.as_known else "until IS NOT NULL"
        nothing = "" if self.window.function == "last_k" else "WHEN NOT filled THEN 'null_value'"
        return f"""CASE
            WHEN e IS NULL THEN 'no_event_time' WHEN e > t THEN 'after_t' WHEN e = t THEN 'at_t'
            {early} WHEN {ended} THEN {self.ended()} WHEN capped THEN 'beyond_cap' {begin}
            WHEN NOT met THEN 'condition' {nothing} ELSE 'used' END"""

    def _condition(self) -> str:
        parts = [f"({self.window.where})"] if self.window.where else []
        if self.window.bucket is not None:
            column, value = self.window.bucket
            parts.append(f"CAST({quote(column)} AS VARCHAR) = {literal(value)}")
        return f"coalesce({' AND '.join(parts)}, false)" if parts else "true"

    def _k(self) -> int:
        return int(self.window.parameter or 0) if self.window.function == "last_k" else (1 << 62)


class _Label(_Candidates):
    """Versions of a label's events, judged at t + H + M."""

    def __init__(self, session: Session, label: Label, have: dict[str, str]) -> None:
        self.label = label
        keys = [column for _, column in label.join_keys]
        required = (*keys, "event_timestamp", "known_from", "known_until")
        require(required, have, label.relation, f"label {label.name!r}")
        super().__init__(session, label.relation, have, keys)

    def query(self, keys: str) -> str:
        label = self.label
        ties = {f"g{i}": quote(name) for i, name in enumerate(TIE_BREAK) if name in self.have}
        deciding = {
            "e": self.time("event_timestamp"),
            "known": self.time("known_from"),
            "until": self.time("known_until"),
            "met": f"({label.condition}) IS TRUE",
            **ties,
        }
        judged = f"t + {int(label.horizon_us + label.maturity_us)}"
        order = "e DESC, known DESC" + "".join(f", {name} DESC NULLS LAST" for name in ties)
        last = label.kind == "state_at"
        begin = "" if last else "WHEN e <= t THEN 'before_t'"
        # The state at t + H counts whether or not it satisfies the condition, which then decides the value.
        chosen = "WHEN nth > 1 THEN 'older'" if last else "WHEN NOT met THEN 'condition'"
        classified = f"""
            SELECT row, t, fact, e, known, CASE WHEN why = 'used' THEN CASE {chosen} ELSE 'used' END ELSE why END AS why
            FROM (
                SELECT *, row_number() OVER (PARTITION BY row, why ORDER BY {order}) AS nth
                FROM (SELECT *, CASE
                    WHEN e IS NULL THEN 'no_event_time' {begin}
                    WHEN e > t + {int(label.horizon_us)} THEN 'after_horizon'
                    WHEN known > {judged} THEN 'not_yet_known'
                    WHEN until <= {judged} THEN {self.ended()} ELSE 'used' END AS why
                FROM ({self.candidates(keys, deciding)}) AS c)
            )"""
        return self.finish(classified, judged)


def _raw_columns(session: Session) -> dict[str, Any]:
    """Return the columns of raw.events with their types; empty where this lake has none."""
    try:
        return session.columns(RAW)
    except UsageError:
        return {}
