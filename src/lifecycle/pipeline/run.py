"""
The pipeline is a tuple of steps, run in order under the lake's lock.

A failed step leaves the last release serving, and running again from the start is always right: taking a
file in again changes nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lifecycle.errors import LifecycleError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lifecycle.config import Settings
    from lifecycle.lake import Lake, Ledger, Release


@dataclass
class Run:
    """One pass through the pipeline; steps put what they made into the fields below `progress`."""

    settings: Settings
    lake: Lake
    ledger: Ledger
    source: str | None = None
    paths: Sequence[Path] = ()
    full_refresh: bool = False
    progress: Callable[[str, str], None] = lambda _step, _text: None
    batches: list[Any] = field(default_factory=list)
    gate: Any = None
    release: Release | None = None
    materialized: Any = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A step's name, what it does to a run, and whether this run needs it."""

    name: str
    do: Callable[[Run, Callable[[str], None]], None]
    needed: Callable[[Run], bool]


def _ingest(run: Run, say: Callable[[str], None]) -> None:
    from lifecycle.pipeline.intake import ingest

    run.batches = ingest(run.settings, run.lake, run.source or "", run.paths, progress=say)


def _build(run: Run, say: Callable[[str], None]) -> None:
    from lifecycle.pipeline.build import build

    build(run.settings, run.lake, full_refresh=run.full_refresh, progress=say)


def _check(run: Run, say: Callable[[str], None]) -> None:
    from lifecycle.pipeline.gate import check

    run.gate = check(run.settings, run.lake, progress=say)


def _release(run: Run, say: Callable[[str], None]) -> None:
    from lifecycle.pipeline.release import make_release

    run.release = make_release(run.settings, run.lake, run.ledger, progress=say)


def _materialize(run: Run, say: Callable[[str], None]) -> None:
    from lifecycle.pipeline.materialize import materialize

    run.materialized = materialize(run.settings, run.lake, _made(run), progress=say)


def _is_new(run: Run) -> bool:
    """Whether the lake holds facts, or the project code, that the newest release was not made from."""
    from lifecycle.pipeline.release import code_hash, high_water

    releases = run.ledger.all()
    if not releases or run.full_refresh or releases[-1].code_hash != code_hash(run.settings):
        return True
    connection = run.lake.connect()
    try:
        return high_water(connection) != releases[-1].high_water
    finally:
        connection.close()


def _made(run: Run) -> Release:
    return run.release or run.ledger.get()


def _is_stale(run: Run) -> bool:
    from lifecycle.pipeline.materialize import holds

    return not holds(run.settings, _made(run))


STEPS: tuple[Step, ...] = (
    Step("ingest", _ingest, lambda run: run.source is not None),
    Step("build", _build, _is_new),
    Step("check", _check, _is_new),
    Step("release", _release, _is_new),
    Step("materialize", _materialize, _is_stale),
)


def run_pipeline(run: Run) -> Run:
    """Run the steps that are needed; an error is raised with the step's name and what still serves added."""
    with run.lake.lock():
        for step in STEPS:
            try:
                if not step.needed(run):
                    run.progress(step.name, "nothing new")
                    continue
                begun = time.monotonic()
                step.do(run, lambda text, name=step.name: run.progress(name, text))  # type: ignore[misc]
            except LifecycleError as error:
                error.add_note(_state(run, step))
                raise
            run.seconds[step.name] = time.monotonic() - begun
    return run


def _state(run: Run, step: Step) -> str:
    served = run.ledger.serving()
    serving = f"release {served} still serves" if served else "there is no release yet"
    return f"Stopped in step {step.name!r}; {serving}. Mend the cause and run the same command again from the start."
