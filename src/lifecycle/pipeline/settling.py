"""
Settling a release's views again, where the lake's change feed tells whose facts came or went since.

A view is settled whole the first time, after its definition or its relation was made anew, and once most of its keys
have been settled again: the records of those lie behind the others, some more with each release.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lifecycle.engine.settle import FIRST_OF_KEY, meaning, settle, settled_name
from lifecycle.lake.feed import changes, table_number
from lifecycle.names import relation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lifecycle.definitions import View
    from lifecycle.lake import Lake

# Above this share of the keys, or so many times, a view is settled whole again.
MOST_KEYS, MOST_TIMES = 0.5, 50
_RECORDS = relation("raw.settled_views")
_TOUCHED = "keys_to_settle"


@dataclass(frozen=True)
class _Record:
    """Up to which snapshot a view is settled; how many keys it had when it was settled whole, and what came since."""

    snapshot: int
    keys: int
    again: int = 0
    times: int = 0


def settle_view(connection: Any, lake: Lake, view: View) -> View:
    """
    Settle a view at the lake's head, whole or the keys that were touched since; returns it with `settled` set.

    `raw.settled_views` remembers by which definition, into which table and up to which snapshot each view is settled.
    It is written together with what was settled again, so that a release that fails loses nothing.
    """
    keys = [column for _, column in view.join_keys]
    if view.windows or not keys:
        return settle(connection, view)
    head, means, name = lake.snapshot(connection), meaning(connection, view), settled_name(view)
    table = table_number(connection, name, head)
    standing = _recorded(connection, view.name, means, table)
    touched = _touch(connection, view.relation, keys, standing.snapshot, head) if standing else None
    if standing and touched is not None and _worth_it(standing, touched):
        record = replace(standing, snapshot=head, again=standing.again + touched, times=standing.times + 1)
        if touched:
            with _transaction(connection):
                settle(connection, view, touched=f"FROM {_TOUCHED}")
                _remember(connection, view.name, means, table, record)
        return replace(view, settled=name)
    settled = settle(connection, view)
    table = table_number(connection, name, lake.snapshot(connection))
    [(count,)] = connection.execute(f"SELECT count(*) FROM {relation(name)} WHERE {FIRST_OF_KEY}").fetchall()
    with _transaction(connection):
        _remember(connection, view.name, means, table, _Record(head, count))
    return settled


def _worth_it(standing: _Record, touched: int) -> bool:
    return standing.again + touched <= MOST_KEYS * standing.keys and standing.times < MOST_TIMES


def _touch(connection: Any, name: str, keys: list[str], since: int, until: int) -> int | None:
    """Make a temporary table of the keys whose rows came or went; returns how many, None where the lake cannot tell."""
    changed = changes(connection, name, since, until)
    if changed is None:
        return None
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_TOUCHED} AS {changed.of(keys)}")
    [(count,)] = connection.execute(f"SELECT count(*) FROM {_TOUCHED}").fetchall()
    return int(count)


def _recorded(connection: Any, view: str, means: str, table: int | None) -> _Record | None:
    connection.execute(f"""
        CREATE TABLE IF NOT EXISTS {_RECORDS} (
            view VARCHAR, meaning VARCHAR, settled BIGINT, snapshot BIGINT, keys BIGINT, again BIGINT, times BIGINT)""")
    row = connection.execute(
        f"SELECT snapshot, keys, again, times FROM {_RECORDS} WHERE view = ? AND meaning = ? AND settled = ?",
        [view, means, table],
    ).fetchone()
    return _Record(*row) if row else None


def _remember(connection: Any, view: str, means: str, table: int | None, record: _Record) -> None:
    connection.execute(f"DELETE FROM {_RECORDS} WHERE view = ?", [view])
    written = [view, means, table, record.snapshot, record.keys, record.again, record.times]
    connection.execute(f"INSERT INTO {_RECORDS} VALUES (?, ?, ?, ?, ?, ?, ?)", written)


@contextmanager
def _transaction(connection: Any) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
