"""Opening the online store that a project names: a folder (LMDB) or a redis:// address."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from lifecycle.online.store import OnlineStore

if TYPE_CHECKING:
    from pathlib import Path


ADDRESSES = ("redis://", "rediss://", "unix://")


def without_password(place: str) -> str:
    """Return a place as it may be shown: an address loses what stands before its host."""
    if not place.startswith(ADDRESSES):
        return place
    parts = urlsplit(place)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def open_store(place: str | Path, name: str = "lifecycle") -> OnlineStore:
    """
    Open the store at `place`: a folder, or `redis://`, `rediss://` (TLS) or `unix://` address.

    name: tells stores in one Redis database apart.

    A Redis password stands in the environment variable LIFECYCLE_REDIS_PASSWORD, not in the address.
    Raises PlatformError where it cannot be reached.
    """
    text = str(place)
    if text.startswith(ADDRESSES):
        from lifecycle.online.redis_store import RedisBackend

        return OnlineStore(RedisBackend(text, name))
    from lifecycle.online.lmdb_store import open_lmdb

    return OnlineStore(open_lmdb(place))
