"""Taking files in: read, convert, stage, land. One file is one batch; a failing file leaves nothing behind."""

from __future__ import annotations

import importlib
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.config import secret_key
from lifecycle.errors import UsageError
from lifecycle.pipeline.intake import files, relations
from lifecycle.pipeline.intake.adapter import Context, Source
from lifecycle.pipeline.intake.privacy import Vault, key_check, tokeniser
from lifecycle.pipeline.intake.staging import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lifecycle.config import Settings
    from lifecycle.lake import Lake
    from lifecycle.pipeline.intake.relations import Batch

SAY_EVERY = 250_000


def _silent(_: str) -> None:
    """Say nothing."""


def ingest(
    settings: Settings,
    lake: Lake,
    source: str,
    paths: Sequence[Path],
    *,
    progress: Callable[[str], None] = _silent,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Batch]:
    """
    Take files in, each as one batch in one transaction; return the batches in order.

    source: a table `[sources.NAME]` of lifecycle.toml. Taking the same file in again changes no event.
    Raises UsageError for an unknown source, wrong options or another key than the lake's; IntakeError when a file
    is refused: files before it are in, nothing of it and of those after it is.
    """
    options = settings.source(source)
    adapter = load_adapter(settings.root, source, options)
    if not paths:
        raise UsageError("no file was named. Name the files to take in, in the order they were made.")
    key = secret_key()
    context = Context(options, tokeniser(key))
    batches = []
    with lake.lock():
        connection = lake.connect(write=True)
        try:
            relations.refuse_other_key(connection, key_check(key))
            for path in paths:
                progress(f"reading {Path(path).name}")
                with tempfile.TemporaryDirectory(prefix="intake-", dir=lake.settings.spill_path) as folder:
                    stage = Stage(Path(folder), Vault(key), clock(), delay(options))
                    _read(Path(path), adapter, context, stage, progress)
                    staged = stage.staged(source, Path(path).name, files.file_hash(Path(path)))
                    batch = relations.land(connection, staged, key_check(key))
                progress(str(batch))
                batches.append(batch)
        finally:
            connection.close()
    return batches


def _read(path: Path, adapter: Source, context: Context, stage: Stage, progress: Callable[[str], None]) -> None:
    files.refuse_no_file(path)
    said = 0
    with stage:
        for chunk in files.chunks(path, adapter, dict(context.options)):
            stage.add(chunk, adapter.convert(chunk.table, context))
            if stage.landed - said >= SAY_EVERY:
                said = stage.landed
                progress(f"{path.name}: {stage.landed:,} records read")
    stage.refuse_if_nothing_fits(path)


def load_adapter(root: Path, name: str, options: dict[str, Any]) -> Source:
    """Import the adapter that `[sources.NAME]` names; UsageError when there is none or its options cannot work."""
    dotted = options.get("adapter")
    where = f"[sources.{name}] adapter = {dotted!r}"
    if not isinstance(dotted, str) or dotted.count(":") != 1:
        raise UsageError(
            f'{where}: write it as "package.module:NAME", such as "transformations.sources.events:SOURCE".'
        )
    module, _, attribute = dotted.partition(":")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        adapter = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{where} cannot be imported from {root}: {error}.") from error
    if not isinstance(adapter, Source):
        raise UsageError(f"{where} is no lifecycle.pipeline.intake.adapter.Source.")
    delay(options)
    adapter.check(options)
    return adapter


def delay(options: dict[str, Any]) -> int:
    """Return the source's declared delay in microseconds."""
    seconds = options.get("delay_seconds", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
        raise UsageError(f"delay_seconds is {seconds!r}; it must be a number of seconds, 0 or more.")
    return int(seconds * 1_000_000)
