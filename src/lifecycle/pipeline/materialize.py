"""The last step: Feast's registry and the online store follow the served release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle import online

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.config import Settings
    from lifecycle.lake import Lake, Release


def materialize(
    settings: Settings, lake: Lake, release: Release, *, progress: Callable[[str], None] = lambda _: None
) -> online.Loaded:
    """
    Apply the Feast repo, make the online store answer for `release`, and return what was written.

    Readers are served throughout; a run that died is completed by the next one. Waits for the lake's lock, since
    one process materializes at a time. Raises PlatformError where the store is out of reach.
    """
    from lifecycle.feast_plugin.apply import apply, note_materialization

    with lake.lock():
        apply(settings, progress=progress)
        store = online.open_store(settings.online_place)
        connection = lake.connect(release.snapshot)
        try:
            done = online.materialize(store, connection, release, progress=progress)
        finally:
            connection.close()
        note_materialization(settings, done.at)
    return done


def holds(settings: Settings, release: Release) -> bool:
    """Whether the online store was filled from `release` last."""
    catalog = online.open_store(settings.online_place).catalog()[1]
    served = [spaces.serving for spaces in catalog.views.values() if spaces.serving is not None]
    return catalog.release == release.number and all(space.snapshot == release.snapshot for space in served)
