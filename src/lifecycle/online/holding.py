"""
Views that no release fills: how the store begins to hold one, and carries its rows over when its features change.

All rows of a space have one layout. A view whose features change gets a new space, filled from the old one beside
it, which then takes its place. Copying merges under the guard, so it may be repeated: what is written to the old
space until the new one takes its place comes over the second time.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa

from lifecycle.definitions import Definitions
from lifecycle.online.backend import SPACE_BYTES
from lifecycle.online.codec import BIAS, ROW, Codec, Columns
from lifecycle.online.keys import LONGEST
from lifecycle.online.kinds import arrow_type
from lifecycle.online.rows import Guard, split
from lifecycle.online.store import NEVER, Space, Spaces

if TYPE_CHECKING:
    from lifecycle.definitions import View
    from lifecycle.online.store import Catalog, OnlineStore

_AT_ONCE = 5000
WIDER = {("INTEGER", "BIGINT"), ("FLOAT", "DOUBLE")}  # every value of the first is one of the second


def hold(store: OnlineStore, view: View, schema: bytes) -> None:
    """
    Begin to keep `view` for writes alone, unless the store holds it with this schema, or a release of it, already.

    Rows of another schema are carried over, and readers are served throughout: a feature that they lack, or have of
    another type, is NULL in them until they are written again. Rows under other key columns go, and so do those
    under a key of more than 480 bytes, which the store knows by its hash alone.
    """
    gone: list[int] = []

    def begin(catalog: Catalog) -> Catalog:
        changed, gone[:] = _begun(catalog, view, schema)
        return changed

    while True:
        spaces = store.update(begin).of(view.name)
        old, new = spaces.serving, spaces.loading
        if old is None or new is None or old.release or old.schema == schema.hex():
            break
        _copy(store, old, new, view)
        taken = store.update(partial(_taken, old=old, new=new)).of(view.name).serving
        if taken == new:
            _copy(store, old, new, view)
            gone.append(old.number)
            break
    for number in gone:
        store.clear(number)
    if gone:
        store.update(lambda catalog: catalog.with_(dropped=[one for one in catalog.dropped if one not in gone]))


def covers(held: View, view: View) -> bool:
    """Whether rows of `view` can be kept as rows of `held`: the same keys, and each of its features among those."""
    same = (held.keys, held.join_keys, held.windows) == (view.keys, view.join_keys, view.windows)
    return same and set(view.features) <= set(held.features)


def _begun(catalog: Catalog, view: View, schema: bytes) -> tuple[Catalog, list[int]]:
    """
    Return the catalog with a space for the view, and which spaces go.

    The space is served at once, or, where the one served now has rows to carry over, loaded beside it.
    """
    spaces = catalog.of(view.name)
    old, left = spaces.serving, spaces.loading
    if old is not None and (old.release or old.schema == schema.hex()):
        return catalog, []
    declared = Definitions(views=(view,)).to_json()
    epoch = 1 if old is None else old.epoch + 1
    new = Space(catalog.next, epoch, view.name, schema.hex(), "", "", 0, 0, 0, declared)
    carried = old is not None and _same_keys(old.definition_of_view(), view)
    if carried and left is not None and left.schema == new.schema and not left.release:
        return catalog, []  # another process fills it, or died doing so: both may copy
    made = Spaces(old, None, new) if carried else Spaces(new)
    gone = [one.number for one in (left, None if carried else old) if one is not None]
    return (
        catalog.with_view(view.name, made).with_(next=catalog.next + 1, dropped=[*catalog.dropped, *gone]),
        gone,
    )


def _same_keys(one: View, other: View) -> bool:
    return (one.keys, one.join_keys) == (other.keys, other.join_keys)


def _taken(catalog: Catalog, old: Space, new: Space) -> Catalog:
    """Return the catalog with the filled space in the old one's place, unless another process has changed either."""
    spaces = catalog.of(new.view)
    if (spaces.serving, spaces.loading) != (old, new):
        return catalog
    return catalog.with_view(new.view, Spaces(new)).with_(dropped=[*catalog.dropped, old.number])


def _copy(store: OnlineStore, old: Space, new: Space, view: View) -> None:
    """Merge the rows of one space into another, as rows of `view`."""
    before, after = Codec(old.definition_of_view()), Codec(view)
    found = store.backend.scan(old.prefix)
    while some := list(islice(found, _AT_ONCE)):
        entries = _converted([(key, entry) for key, entry in some if len(key) <= LONGEST], before, after, new)
        if entries:
            store.merge(entries, exclude=after.exclude, records=[])


def _converted(found: list[tuple[bytes, bytes]], before: Codec, after: Codec, new: Space) -> dict[bytes, bytes]:
    """Return entries, by their keys in the new space, of entries in the old one's layout."""
    rows = [(key, row) for key, entry in found for row in split(entry)]
    if not rows:
        return {}
    values = zip(*(before.unpack(row, 0) for _, row in rows), strict=True)
    had = {field.name: (field.dtype, list(column)) for field, column in zip(before.view.features, values, strict=True)}
    features = []
    for field in after.view.features:
        dtype, column = had.get(field.name, ("", []))
        same = dtype == field.dtype or (dtype, field.dtype) in WIDER
        features.append(pa.array(column if same else [None] * len(rows), arrow_type(field.dtype)))
    times = [ROW.unpack_from(row)[1:3] for _, row in rows]
    # The same row written again, now with all features, has the same times: the one carried over lies a microsecond
    # before it.
    event = pa.array([one - BIAS for one, _ in times], pa.int64())
    known = pa.array([one - BIAS - 1 for _, one in times], pa.int64())
    micros = pa.timestamp("us", "UTC")
    columns = Columns(keys=(), features=features, event=event.cast(micros), known=known.cast(micros))
    packed = after.pack(columns, prefix=b"", epoch=new.epoch, release=0)
    by_key: dict[bytes, list[bytes]] = {}
    for (key, _), entry in zip(rows, packed.values, strict=True):
        by_key.setdefault(new.prefix + key[SPACE_BYTES:], []).append(entry)
    guard = Guard(NEVER, after.exclude)
    return {
        key: some[0] if len(some) == 1 else guard.settle(some[0], [row for one in some for row in split(one)])
        for key, some in by_key.items()
    }
