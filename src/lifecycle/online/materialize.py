"""
Filling the online store from a release, set by set.

From one release to a later one only what changed is written, under the guard. A changed definition, a rollback,
rewritten history or a first filling loads a new epoch beside the served one. Nothing of a release is seen until all
of it stands: one last write moves the high-water mark to the release's time and puts new epochs in their places. A
run that died is completed by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from lifecycle.definitions import Definitions
from lifecycle.online.codec import Codec, schema_hash
from lifecycle.online.event_filling import EventFilling
from lifecycle.online.events import EventCodec
from lifecycle.online.filling import Filling, progress_key
from lifecycle.online.needed import needed, touched
from lifecycle.online.read import content_hash, definition_hash
from lifecycle.online.store import DEFINITIONS, Catalog, Space, Spaces
from lifecycle.times import from_microseconds, to_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from lifecycle.definitions import View
    from lifecycle.lake import Release
    from lifecycle.online.backend import Changes
    from lifecycle.online.store import OnlineStore


@dataclass(frozen=True)
class Loaded:
    """What a materialization wrote: the release, its time t (UTC), rows written by view."""

    release: int
    at: datetime
    rows: Mapping[str, int]

    def __str__(self) -> str:
        total = sum(self.rows.values())
        return f"release {self.release} as of {self.at:%Y-%m-%d %H:%M:%S} UTC: {total:,} rows in {len(self.rows)} views"


def materialization_time(release: Release) -> datetime:
    """Return t for a release: its greatest watermark, since no fact known later is in it; else when it was made."""
    return max(release.watermarks.values(), default=release.made_at)


def complete_until(release: Release, view: View) -> datetime:
    """Return up to when all facts of a view are in a release: the least watermark of its sources, by default of all."""
    named = [at for source, at in release.watermarks.items() if source in view.sources]
    return min(named or release.watermarks.values(), default=release.made_at)


def materialize(
    store: OnlineStore, connection: Any, release: Release, *, progress: Callable[[str], None] = lambda _: None
) -> Loaded:
    """
    Make the store answer for `release`, and return what was written.

    connection: the lake, attached at the release's snapshot. Only one process may materialize at a time (the
    pipeline's lock); readers and pushes go on. Views that are not online are left out.
    """
    at = to_microseconds(materialization_time(release))
    views = [view for view in release.definitions.views if view.online]
    _clear_dropped(store)
    rows = {view.name: _fill(store, connection, release, view=view, at=at, said=progress) for view in views}
    _publish(store, release, views, at)
    _clear_dropped(store)
    done = Loaded(release.number, from_microseconds(at), rows)
    progress(str(done))
    return done


def _fill(
    store: OnlineStore, connection: Any, release: Release, *, view: View, at: int, said: Callable[[str], None]
) -> int:
    if view.windows:
        return _fill_events(store, connection, release, view=view, at=at, said=said)
    codec = Codec(view)
    serving = store.catalog()[1].of(view.name).serving
    if serving is not None and _continues(connection, serving, release, view, at):
        if serving.release == release.number:
            return 0
        only = touched(connection, view, serving.snapshot, release.snapshot)
        wanted = needed(connection, view, at, only=only)
        before = needed(connection, view, serving.at, serving.snapshot, only)
        if not connection.execute(wanted.rewrites(before)).fetchone()[0]:
            return Filling(store, connection, codec, serving, release.number, wanted, said).update(before)
    space, wanted = _loading(store, release, view, at), needed(connection, view, at)
    return Filling(store, connection, codec, space, release.number, wanted, said).load()


def _fill_events(
    store: OnlineStore, connection: Any, release: Release, *, view: View, at: int, said: Callable[[str], None]
) -> int:
    codec = EventCodec(view)
    complete = to_microseconds(complete_until(release, view))
    serving = store.catalog()[1].of(view.name).serving
    if serving is not None and _continues(connection, serving, release, view, at):
        if serving.release == release.number:
            return 0
        filling = EventFilling(store, connection, codec, serving, release.number, at, complete, said)
        return filling.update(serving.snapshot, release.snapshot)
    space = _loading(store, release, view, at)
    return EventFilling(store, connection, codec, space, release.number, at, complete, said).load(serving)


def _continues(connection: Any, serving: Space, release: Release, view: View, at: int) -> bool:
    """Whether the served epoch goes on: same layout and definition, no way back, and its release can be compared."""
    if serving.schema != schema_hash(view).hex():
        return False
    if serving.content != content_hash(view) or (view.settled is None and not view.windows):
        return False
    if serving.release == release.number:
        # Another lake's release may bear the same number.
        return (serving.snapshot, serving.at) == (release.snapshot, at)
    if serving.release > release.number or serving.at > at:
        return False
    kept = "SELECT count(*) FROM ducklake_snapshots('lake') WHERE snapshot_id = ?"
    return bool(connection.execute(kept, [serving.snapshot]).fetchone()[0])


def _loading(store: OnlineStore, release: Release, view: View, at: int) -> Space:
    """Return the space to load: the one that a dead run left for this release, else a new one."""

    def change(catalog: Catalog) -> Catalog:
        spaces = catalog.of(view.name)
        space = Space(
            number=catalog.next,
            epoch=1 + (spaces.serving.epoch if spaces.serving is not None else 0),
            view=view.name,
            schema=schema_hash(view).hex(),
            content=content_hash(view),
            definition=definition_hash(view),
            release=release.number,
            at=at,
            snapshot=release.snapshot,
            declared=Definitions(views=(view,)).to_json(),
        )
        left = spaces.loading
        if left is not None and msgspec.structs.replace(left, number=space.number) == space:
            return catalog
        changed = catalog.with_view(view.name, Spaces(spaces.serving, spaces.previous, space))
        return changed.with_(next=catalog.next + 1, dropped=[*catalog.dropped, *_numbers(left)])

    loading = store.update(change).of(view.name).loading
    assert loading is not None  # noqa: S101 - `change` has put it there
    return loading


def _publish(store: OnlineStore, release: Release, views: Sequence[View], at: int) -> None:
    """Show the release: new epochs in their places, views that are gone dropped, the mark at the release's time."""
    by_name = {view.name: view for view in views}
    finished: Changes = [
        (progress_key(spaces.loading), None)
        for spaces in store.catalog()[1].views.values()
        if spaces.loading is not None
    ]

    def change(catalog: Catalog) -> Catalog:
        dropped = list(catalog.dropped)
        kept = {}
        for name, spaces in catalog.views.items():
            if name not in by_name:
                dropped += _numbers(spaces.serving, spaces.previous, spaces.loading)
                continue
            kept[name], gone = _placed(spaces, by_name[name], release, at)
            dropped += gone
        return Catalog(kept, catalog.next, release.number, dropped)

    definitions = release.definitions.to_json().encode()
    store.update(change, at=at, also=[*finished, (DEFINITIONS, definitions)])


def _placed(spaces: Spaces, view: View, release: Release, at: int) -> tuple[Spaces, list[int]]:
    """Return a view's spaces once the release is shown, and the numbers of those that are not needed any more."""
    serving, loaded = spaces.serving, spaces.loading
    if loaded is not None and loaded.release == release.number:
        # Readers with the former definition go on reading what they know until the next materialization.
        previous = serving if serving is not None and serving.schema != loaded.schema else None
        gone = _numbers(spaces.previous, serving if previous is None else None)
        return Spaces(loaded, previous), gone
    if serving is not None:
        serving = msgspec.structs.replace(
            serving,
            release=release.number,
            at=at,
            snapshot=release.snapshot,
            definition=definition_hash(view),
            declared=Definitions(views=(view,)).to_json(),
        )
    return Spaces(serving), _numbers(spaces.previous, loaded)


def _numbers(*spaces: Space | None) -> list[int]:
    return [space.number for space in spaces if space is not None]


def _clear_dropped(store: OnlineStore) -> None:
    dropped = store.catalog()[1].dropped
    for number in dropped:
        store.clear(number)
    if dropped:
        store.update(lambda catalog: catalog.with_(dropped=[one for one in catalog.dropped if one not in dropped]))
