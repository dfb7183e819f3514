"""
Versions of pushed events: told apart by their event's id and what the view's windows read of them.

The same version again is a repeat. Another one supersedes those known before it from its known time on, as intake
settles versions, and a release that has the event takes the place of what was pushed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle.engine.windows.schedule import FOREVER
from lifecycle.online.lots import AMENDING, END, EVENT, MARK, NEW, NO_PAST, RELEASED, RETRACTING, marks

if TYPE_CHECKING:
    from lifecycle.online.lots import Lot

AWAITED_US = 7 * 86_400_000_000
"""How far the watermarks of a view's sources pass a pushed event that no release has, before it is given up."""


def accepted(lot: Lot, told: Lot) -> Lot:
    """Return the pushed events that are no repeats of what a key has, each with what it says of its event."""
    own, named = marks(told), told.events != 0
    first = np.zeros(len(told), bool)
    first[np.unique(own, return_index=True)[1]] = True
    known = np.append(marks(lot.chosen(np.isin(lot.events, told.events))), lot.past[:, MARK])
    there = named & np.isin(told.events, _events(lot))
    says = np.where(told.pushed == RETRACTING, RETRACTING, np.where(there, AMENDING, NEW)).astype(np.uint8)
    fresh = np.where(named, first & ~np.isin(own, known), ~_written(told, own, lot))
    return replace(told, pushed=says).chosen(fresh)


def awaited(lot: Lot, held: Lot, complete: int) -> Lot:
    """
    Return what was pushed of `lot` and neither is in `held` nor can be awaited no longer, its ends still open.

    complete: microseconds up to which all facts are in, by the watermarks of the view's sources. An event without an id
    is in a release that is complete up to its known time. One with an id is when the release has that version of it, or
    the event itself where the push told of a new one; it is awaited until AWAITED_US after.
    """
    told = lot.chosen(lot.pushed != RELEASED)
    own, named = marks(told), told.events != 0
    there = np.isin(own, np.append(marks(held), held.past[:, MARK]))
    there |= (told.pushed == NEW) & np.isin(told.events, _events(held))
    lately = told.known_from > complete - AWAITED_US * named
    kept = lately & ~np.where(named, there, _written(told, own, held))
    return replace(told, known_until=np.full(len(told), FOREVER), past=NO_PAST).chosen(kept)


def taken(lot: Lot, told: Lot) -> Lot:
    """
    Return a key's events with pushed versions among them.

    Each is in force from its known time until the next moment at which something of its event became known, and ends
    the versions known before it. A retraction ends them too; it stays, without ever counting, until something newer is
    known of its event.
    """
    until, gone = lot.known_until.copy(), np.zeros(len(lot), bool)
    ends, lost = told.known_until.copy(), np.zeros(len(told), bool)
    ids, times = np.unique(told.events, return_counts=True)
    alone = (times == 1) & ~np.isin(ids, _events(lot)) & ~np.isin(ids, told.events[told.pushed == RETRACTING])
    for event in ids[~alone & (ids != 0)].tolist():
        old, new = np.flatnonzero(lot.events == event), np.flatnonzero(told.events == event)
        past = lot.past[lot.past[:, EVENT] == event, END]
        for one in new[np.argsort(told.known_from[new], kind="stable")].tolist():
            at = told.known_from[one]
            moments = np.concatenate([lot.known_from[old], until[old], told.known_from[new], past])
            later = moments[(moments > at) & (moments != FOREVER)]
            before = old[lot.known_from[old] <= at]
            until[before] = np.minimum(until[before], at)
            gone[before] = gone[before] | (lot.pushed[before] == RETRACTING)
            retracts = told.pushed[one] == RETRACTING
            ends[one] = at if retracts else later.min(initial=FOREVER)
            lost[one] = retracts and len(later) > 0
        gone[old] |= (until[old] <= lot.known_from[old]) & (lot.pushed[old] != RETRACTING)
    return replace(lot, known_until=until).without(gone).with_(replace(told, known_until=ends).without(lost))


def remembered(lot: Lot, past: Any) -> Lot:
    """Return a key's events with more past versions remembered, each once."""
    whole = np.concatenate([lot.past, past])
    return replace(lot, past=whole[np.sort(np.unique(whole[:, MARK], return_index=True)[1])])


def _written(told: Lot, own: Any, lot: Lot) -> Any:
    """Return which of told events the very same write has put there: a write may be tried again, or have two spaces."""
    pushed = lot.chosen(lot.pushed != RELEASED)
    return np.isin(own ^ told.known_from, marks(pushed) ^ pushed.known_from)


def _events(lot: Lot) -> Any:
    return np.append(lot.events, lot.past[:, EVENT])
