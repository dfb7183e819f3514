"""
What dbt says while it runs, without what nobody would see.

dbt makes a message of each of a build's thousands of debug events (one a statement, and more) and then asks its loggers
whether they want it. None of ours does, and making them takes half a second of an empty build.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dbt_common.events.base_types import EventLevel
from dbt_common.events.event_manager import EventManager
from dbt_common.events.event_manager_client import ctx_set_event_manager, get_event_manager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_common.events.base_types import BaseEvent


class _Shown(EventManager):
    def fire_event(self, e: BaseEvent, level: EventLevel | None = None, *further: Any, **named: Any) -> None:
        if (level or e.level_tag()) != EventLevel.DEBUG:
            super().fire_event(e, level, *further, **named)


@contextmanager
def shown_events_only() -> Iterator[None]:
    """Drop dbt's debug events before messages are made of them."""
    before = get_event_manager()
    ctx_set_event_manager(_Shown())
    try:
        yield
    finally:
        ctx_set_event_manager(before)
