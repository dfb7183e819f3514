"""
One session and one transaction on the lake for a whole dbt build.

dbt gives each model a session and a transaction of its own. On a lake each of those asks the catalog anew for
snapshots, statistics and files, and commits; over the small changes of a day that costs more than the models do.
Here all nodes share one cursor; what they write is seen by the nodes after them, and by others once the build has
committed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dbt.adapters.duckdb import environments
from dbt.adapters.duckdb.environments.local import LocalEnvironment
from dbt_common.exceptions import DbtRuntimeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNDONE = "left out: an error before it has undone this build"
_OWN = {"BEGIN", "COMMIT"}  # dbt's around each model


class OneTransaction:
    """The transaction of one dbt run."""

    def __init__(self) -> None:
        self._handle: _Handle | None = None

    def handle(self, begin: Callable[[], Any]) -> _Handle:
        """Return the handle that all nodes share; the first call begins the transaction on a cursor of `begin`."""
        if self._handle is None:
            cursor = begin()
            cursor.execute("BEGIN")
            self._handle = _Handle(cursor)
        return self._handle

    def commit(self) -> None:
        """Make what the nodes wrote visible."""
        if self._handle is not None:
            self._handle.commit()


class _Handle:
    """What dbt takes for a node's connection: it never closes, commits or rolls back the build's transaction."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.undone = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def cursor(self) -> _Handle:
        return self

    def execute(self, sql: str, bindings: Any = None) -> Any:
        """Run a statement; an error undoes the build, for a model may have stopped between two statements."""
        if sql in _OWN:
            return self
        if self.undone:
            raise DbtRuntimeError(UNDONE)
        try:
            return self._cursor.execute(sql, bindings)
        except Exception:
            self.undone = True
            self._cursor.rollback()
            raise

    def commit(self) -> None:
        """Commit the build."""
        self._cursor.commit()

    def rollback(self) -> None:
        """Do nothing: dbt calls this at the end of every node that wrote nothing."""

    def close(self) -> None:
        """Do nothing: the environment closes the session."""


@contextmanager
def one_transaction() -> Iterator[OneTransaction]:
    """Let all nodes that dbt runs share a transaction, which is undone unless the caller commits it."""
    held = OneTransaction()

    class Environment(LocalEnvironment):
        def handle(self) -> _Handle:
            with self.lock:
                return held.handle(lambda: super(Environment, self).handle().cursor())

    given = environments.create
    environments.create = Environment
    try:
        yield held
    finally:
        environments.create = given
