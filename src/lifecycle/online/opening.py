"""Opening the online store that a project names: a folder (LMDB) or a redis:// address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle.online.store import OnlineStore

if TYPE_CHECKING:
    from pathlib import Path


def open_store(place: str | Path) -> OnlineStore:
    """
    Open the store at `place`: a folder, or `redis://`, `rediss://` (TLS) or `unix://` address.

    A Redis password stands in the environment variable LIFECYCLE_REDIS_PASSWORD, not in the address.
    Raises PlatformError where it cannot be reached.
    """
    text = str(place)
    if text.startswith(("redis://", "rediss://", "unix://")):
        from lifecycle.online.redis_store import RedisBackend

        return OnlineStore(RedisBackend(text))
    from lifecycle.online.lmdb_store import open_lmdb

    return OnlineStore(open_lmdb(place))
