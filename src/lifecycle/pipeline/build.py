"""
Building the marts: dbt, run in this process against the lake's head.

Nothing of a build is visible to readers until a release pins the lake's snapshot.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from lifecycle.errors import BuildError, PlatformError
from lifecycle.lake.connection import QUERY_ERRORS
from lifecycle.names import relation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lifecycle.config import Settings
    from lifecycle.lake.connection import Lake
    from lifecycle.pipeline.one_transaction import OneTransaction

RAW = ("events", "batches")
SHOWN = 5  # failed nodes told in full; the log has the rest
WRITING = ("build", "run")  # dbt's commands whose nodes share a transaction
_BUILT = relation("raw.built")
_CODE_SUFFIXES = {".sql", ".yml", ".yaml", ".csv"}
_GENERATED = {"target", "logs", "dbt_packages"}


def build(
    settings: Settings,
    lake: Lake,
    *,
    full_refresh: bool = False,
    select: str | Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """
    Build and test every mart from `raw.events`; `select` narrows it in dbt's own selection syntax.

    When the dbt project is not the one the tables were built with, everything is built anew, so that a lake's
    tables are always a function of its facts and of one version of the code. Raises BuildError with dbt's own
    words, and PlatformError when nothing was taken in yet.
    """
    with lake.lock():
        _require_raw(lake)
        code = _code_hash(settings.dbt_project)
        known = _built_with(lake) == code
        chosen = [select] if isinstance(select, str) else list(select or ())
        if not known:
            _record(lake, "")
        arguments = ["--exclude-resource-type", "unit_test"]
        arguments += ["--full-refresh"] if full_refresh or not known else []
        # Only tests of tables that this selection builds or reads: others may not stand yet.
        arguments += ["--select", *chosen, "--indirect-selection", "buildable"] if chosen else []
        run_dbt(settings, lake, "build", *arguments, progress=progress)
        if not known and not chosen:
            _record(lake, code)


def run_dbt(
    settings: Settings, lake: Lake, command: str, *arguments: str, progress: Callable[[str], None] = lambda _: None
) -> Any:
    """Run one dbt command (build, test, docs generate, ...) on the lake; returns dbt's own result."""
    from dbt.cli.main import dbtRunner

    from lifecycle.pipeline.dbt_events import shown_events_only
    from lifecycle.pipeline.one_transaction import one_transaction

    generated = settings.lake.home / "dbt"
    project = str(settings.dbt_project)
    places = ["--project-dir", project, "--profiles-dir", project]
    places += ["--target-path", str(generated / "target"), "--log-path", str(generated / "logs")]
    quiet = ["--log-level", "none", "--log-level-file", "info", "--no-version-check"]

    def listen(event: Any) -> None:
        if event.info.name == "LogModelResult":
            progress(event.data.node_info.node_relation.relation_name.replace('"', "").removeprefix("lake."))

    shared = command in WRITING
    session = one_transaction() if shared else nullcontext()
    variables = _variables(settings, lake) | {"LIFECYCLE_DBT_ONE_TRANSACTION": str(shared).lower()}
    with _environment(variables), _quiet(), shown_events_only():
        try:
            with session as held:
                outcome = dbtRunner(callbacks=[listen]).invoke([*quiet, *command.split(), *places, *arguments])
                if held is not None and not _errors(outcome):
                    _commit(held)
        finally:
            _close()
    if not outcome.success:
        raise BuildError(_explain(outcome, generated / "logs" / "dbt.log"))
    return outcome.result


def _commit(held: OneTransaction) -> None:
    try:
        held.commit()
    except QUERY_ERRORS as error:
        raise BuildError(
            f"the models were built, and could not be committed: {error}\nNothing of them is in the lake, and the last "
            "release still serves. Did something write the lake meanwhile without its lock, or is its disk full? "
            "Mend that and build again."
        ) from error


def _errors(outcome: Any) -> bool:
    """Tell whether a node could not run, which undoes a build; a data test that fails does not."""
    return outcome.exception is not None or any(one.status == "error" for one in outcome.result.results)


def _explain(outcome: Any, log: Path) -> str:
    if outcome.exception is not None:
        return f"dbt could not run: {str(outcome.exception).strip()}\nIts log is {log}."
    from lifecycle.pipeline.one_transaction import UNDONE

    wrong = [one for one in outcome.result.results if one.status in {"error", "fail", "runtime error"}]
    failed = [one for one in wrong if UNDONE not in (one.message or "")]
    words = [_words(one) for one in failed[:SHOWN]]
    words += [f"- and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
    left = sum(one.status == "skipped" for one in outcome.result.results) + len(wrong) - len(failed)
    return (
        f"dbt: {len(failed)} of {len(outcome.result.results)} nodes failed and {left} were left out for it.\n"
        + "\n".join(words)
        + f"\nThe last release still serves. Mend the model or the data and build again; dbt's log is {log}."
    )


def _words(result: Any) -> str:
    node = result.node
    compiled = f"\n  compiled: {node.compiled_path}" if getattr(node, "compiled_path", None) else ""
    message = (result.message or "").strip().replace("\n", "\n  ")
    return f"- {node.resource_type} {node.name} ({node.original_file_path}): {message}{compiled}"


def _variables(settings: Settings, lake: Lake) -> dict[str, str]:
    """Return what profiles.yml reads."""
    given = settings.lake
    variables = {
        "LIFECYCLE_DBT_LAKE": lake.address,
        "LIFECYCLE_DBT_SPILL": given.spill_path,
        "LIFECYCLE_DBT_THREADS": str(given.threads),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
    }
    return variables | ({"LIFECYCLE_DBT_MEMORY_LIMIT": given.memory_limit} if given.memory_limit else {})


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _quiet() -> Iterator[None]:
    # dbt raises DeprecationWarning and ResourceWarning of its own making; they are not this caller's to mend.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _close() -> None:
    """Close dbt-duckdb's connection, which it keeps open for the process's whole life."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    if DuckDBConnectionManager._ENV is not None:  # noqa: SLF001 (its public calls only raise or forget it)
        DuckDBConnectionManager._ENV.close()  # noqa: SLF001
        DuckDBConnectionManager.close_all_connections()


def _require_raw(lake: Lake) -> None:
    connection = lake.connect()
    try:
        found = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_catalog = 'lake' AND table_schema = 'raw'"
        ).fetchall()
    finally:
        connection.close()
    missing = [name for name in RAW if (name,) not in found]
    if missing:
        raise PlatformError(
            f"the lake has no raw.{missing[0]}: nothing was taken in yet, so there is nothing to build from. "
            "Take data in first: `lifecycle ingest --source NAME FILE...`."
        )


def _code_hash(project: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(project.rglob("*")):
        inside = path.relative_to(project)
        if path.suffix in _CODE_SUFFIXES and path.is_file() and not _GENERATED & set(inside.parts):
            digest.update(inside.as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _built_with(lake: Lake) -> str | None:
    """Return the hash of the dbt project that made the lake's tables; "" while one is being changed."""
    connection = lake.connect(write=True)
    try:
        connection.execute(f"CREATE TABLE IF NOT EXISTS {_BUILT} (code_hash VARCHAR NOT NULL)")
        row = connection.execute(f"SELECT code_hash FROM {_BUILT}").fetchone()
        return str(row[0]) if row else None
    finally:
        connection.close()


def _record(lake: Lake, code: str) -> None:
    connection = lake.connect(write=True)
    try:
        connection.execute("BEGIN")
        connection.execute(f"DELETE FROM {_BUILT}")
        connection.execute(f"INSERT INTO {_BUILT} VALUES (?)", [code])
        connection.execute("COMMIT")
    finally:
        connection.close()
