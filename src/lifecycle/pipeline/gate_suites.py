"""
What the gate expects of which table.

The platform states what holds of `raw.*`. A project states what holds of its marts in YAML files in the folder
`expectations` of its dbt project, in Great Expectations' own words:

    core.charges:                     # a table, or a pattern such as features.*
      key: [charge_id]                # unique and never NULL; shown in sample rows
      expectations:
        - type: expect_column_values_to_not_be_null
          columns: [consumer_id, amount]          # one expectation for each
        - type: expect_column_values_to_be_between
          column: amount
          min_value: 0
        - type: unexpected_rows_expectation       # any SQL: each row it returns is a failure
          unexpected_rows_query: SELECT * FROM {batch} WHERE refunded > amount
          severity: warning                       # reported; `critical`, the default, stops the release

Everything but `type`, `columns` and `severity` is handed to the expectation as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import yaml

from lifecycle.errors import GateError, UsageError, unknown
from lifecycle.names import quote_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from lifecycle.config import Settings

FOLDER = "expectations"
SEVERITIES = ("critical", "warning", "info")
ROWS = "unexpected_rows_expectation"


@dataclass(frozen=True)
class Check:
    """One expectation: Great Expectations' name of its type, its arguments, and what a failure means."""

    type: str
    arguments: Mapping[str, Any]
    severity: str = "critical"


@dataclass(frozen=True)
class Suite:
    """What is expected of one table; `key` names a row in messages, `origin` where this was declared."""

    table: str
    key: tuple[str, ...]
    checks: tuple[Check, ...]
    origin: str


def suites_for(settings: Settings, tables: Iterable[str]) -> list[Suite]:
    """
    Return one suite per table that the platform or the project declares, patterns resolved, in table order.

    tables: every `schema.table` that the lake has. Raises UsageError for a malformed file, GateError for a
    suite whose table the lake lacks.
    """
    known = sorted(tables)
    found: dict[str, Suite] = {}
    for suite in (*_parse(RAW, "lifecycle"), *_declared(settings.dbt_project / FOLDER)):
        matching = [table for table in known if fnmatchcase(table, suite.table)]
        if not matching:
            raise GateError(
                f"{suite.origin} expects something of {unknown('table', suite.table, known)} Nothing is released. "
                "Run `lifecycle build` without --select, or correct the name."
            )
        for table in matching:
            before = found.get(table, Suite(table, (), (), suite.origin))
            if before.key and suite.key:
                raise UsageError(f"{suite.origin} and {before.origin} both give a key for {table}; keep one.")
            found[table] = Suite(table, before.key or suite.key, before.checks + suite.checks, suite.origin)
    return [found[table] for table in sorted(found)]


def _declared(folder: Path) -> list[Suite]:
    suites: list[Suite] = []
    for path in sorted(folder.glob("*.yml")):
        try:
            given = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is not valid YAML: {error}") from error
        suites += _parse(given or {}, str(path))
    return suites


def _parse(given: Any, origin: str) -> list[Suite]:
    suites = []
    for table, body in _mapping(given, origin, "tables").items():
        where = f"{origin}, {table}"
        for name in _mapping(body, where, "`key` and `expectations`"):
            if name not in {"key", "expectations"}:
                raise UsageError(f"{where}: {unknown('entry of a suite', name, ('key', 'expectations'))}")
        key = tuple(_texts(body.get("key", []), where, "key"))
        checks = list(_key_checks(key))
        for entry in body.get("expectations") or []:
            checks += _checks(_mapping(entry, where, "an expectation's type and arguments"), where)
        suites.append(Suite(table, key, tuple(checks), where))
    return suites


def _key_checks(key: tuple[str, ...]) -> Iterable[Check]:
    for column in key:
        yield Check("expect_column_values_to_not_be_null", {"column": column})
    if key:
        names = quote_all(key)
        query = f"SELECT {names}, count(*) AS rows FROM {{batch}} GROUP BY {names} HAVING count(*) > 1"
        yield Check(ROWS, {"unexpected_rows_query": query, "description": f"unique by {', '.join(key)}"})


def _checks(entry: dict[str, Any], where: str) -> list[Check]:
    rest = dict(entry)
    kind, severity = rest.pop("type", None), rest.pop("severity", "critical")
    if not isinstance(kind, str):
        raise UsageError(f"{where}: an expectation has no `type`: {entry}.")
    if severity not in SEVERITIES:
        raise UsageError(f"{where}, {kind}: {unknown('severity', str(severity), SEVERITIES)}")
    if "columns" not in rest:
        return [Check(kind, rest, severity)]
    columns = _texts(rest.pop("columns"), f"{where}, {kind}", "columns")
    return [Check(kind, {"column": column, **rest}, severity) for column in columns]


def _mapping(given: Any, where: str, what: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise UsageError(f"{where}: expected a mapping of {what}, found {given!r}.")
    return given


def _texts(given: Any, where: str, what: str) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise UsageError(f"{where}: `{what}` is a list of column names, found {given!r}.")
    return given


def _rows(description: str, query: str) -> dict[str, Any]:
    return {"type": ROWS, "unexpected_rows_query": query, "description": description}


# `event_timestamp <= known_at` is left out on purpose: sources stamp whole seconds with clocks of their own, and
# a scheduled fact is known before it happens. Every engine waits for the greater of the two.
RAW: dict[str, Any] = {
    "raw.events": {
        "key": [],
        "expectations": [
            {
                "type": "expect_column_values_to_not_be_null",
                "columns": [
                    "source",
                    "event_id",
                    "content_hash",
                    "retracted",
                    "type",
                    "event_timestamp",
                    "known_at",
                    "batch_id",
                    "payload",
                    "known_from",
                    "settled_batch",
                ],
            },
            _rows(
                "a version stands once",
                "SELECT source, event_id, revision, CASE WHEN revision IS NULL THEN content_hash END AS content, "
                "count(*) AS rows FROM {batch} GROUP BY ALL HAVING count(*) > 1",
            ),
            _rows(
                "no version ends before it begins, or begins before it is known",
                "SELECT source, event_id, content_hash, known_at, known_from, known_until FROM {batch} "
                "WHERE known_until < known_from OR known_from < known_at",
            ),
            _rows(
                "exactly one version of an event is in force without end",
                "SELECT source, event_id, count(*) AS versions FROM {batch} GROUP BY source, event_id "
                "HAVING count(*) <> count(known_until) + 1",
            ),
            _rows(
                "at any time at most one version of an event is in force",
                "SELECT * FROM (SELECT source, event_id, content_hash, known_from, known_until, lead(known_from) "
                "OVER (PARTITION BY source, event_id ORDER BY known_from, known_until NULLS LAST) AS next_from "
                "FROM {batch} SEMI JOIN (SELECT source, event_id FROM {batch} GROUP BY ALL HAVING count(*) > 1) "
                "USING (source, event_id) WHERE known_until IS DISTINCT FROM known_from) AS versions "
                "WHERE known_until IS NULL AND next_from IS NOT NULL OR known_until > next_from",
            ),
            _rows(
                "payloads are JSON",
                "SELECT source, event_id, left(payload, 80) AS payload FROM {batch} WHERE NOT json_valid(payload)",
            ),
        ],
    },
    "raw.batches": {
        "key": ["batch_id"],
        "expectations": [
            {
                "type": "expect_column_values_to_not_be_null",
                "columns": ["source", "file", "file_hash", "landed", "accepted", "repeated", "rejected"],
            },
            _rows(
                "landed = accepted + repeated + rejected",
                "SELECT batch_id, file, landed, accepted, repeated, rejected FROM {batch} "
                "WHERE landed <> accepted + repeated + rejected OR least(accepted, repeated, rejected) < 0",
            ),
            _rows(
                "every accepted record is in raw.events, every rejected one in raw.quarantine",
                "SELECT batch_id, file, accepted, coalesce(events.found, 0) AS events, rejected, "
                "coalesce(quarantine.found, 0) AS quarantined FROM {batch} AS batches "
                "FULL JOIN (SELECT batch_id, count(*) AS found FROM raw.events GROUP BY ALL) AS events "
                "USING (batch_id) "
                "FULL JOIN (SELECT batch_id, count(*) AS found FROM raw.quarantine GROUP BY ALL) AS quarantine "
                "USING (batch_id) "
                "WHERE accepted IS DISTINCT FROM coalesce(events.found, 0) "
                "OR rejected IS DISTINCT FROM coalesce(quarantine.found, 0)",
            ),
        ],
    },
    "raw.quarantine": {
        "expectations": [
            {
                "type": "expect_column_values_to_not_be_null",
                "columns": ["batch_id", "source", "file", "place", "reason", "record"],
            },
        ],
    },
}
