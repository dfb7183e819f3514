"""
LMDB: one memory-mapped file, read by many processes while one writes.

A write is synced before it returns, so a killed process (or machine) leaves the last transaction or the one
before, never half of one. Each process opens a path once, all with the same map size: a reader whose map is
smaller than the file fails. A process has room for 127 such maps, so a store that nobody holds any more is closed.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import lmdb

from lifecycle.errors import PlatformError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lifecycle.online.backend import Changes, Found

MAP_BYTES = 2**40
MAX_READERS = 1024
_DELETED_AT_ONCE = 100_000
_OPEN: WeakValueDictionary[tuple[int, str], LmdbBackend] = WeakValueDictionary()
_OPENING = threading.Lock()


class LmdbBackend:
    """An LMDB environment; get one with `open_lmdb`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._env = lmdb.open(
            str(path),
            map_size=MAP_BYTES,
            max_readers=MAX_READERS,
            max_spare_txns=16,
            metasync=True,
            sync=True,
            readahead=False,
        )

    def read(self, keys: Sequence[bytes]) -> Found:
        """Return the values of `keys` in one read transaction."""
        with self._env.begin() as transaction:
            return list(map(transaction.get, keys))

    def change(self, keys: Sequence[bytes], decide: Callable[[Found], Changes]) -> None:
        """Read, decide and write in one write transaction, synced."""
        with self._writing() as transaction:
            changes = decide([transaction.get(key) for key in keys])
            for key in [key for key, value in changes if value is None]:
                transaction.delete(key)
            transaction.cursor().putmulti([(key, value) for key, value in changes if value is not None])

    def load(self, items: list[tuple[bytes, bytes]], records: list[tuple[bytes, bytes]]) -> bool:
        """Append ascending keys behind the last one, in one synced transaction."""
        with self._writing() as transaction:
            cursor = transaction.cursor()
            open_end = not items or not cursor.last() or cursor.key() < items[0][0]
            if not open_end or cursor.putmulti(items, append=True)[1] != len(items):
                transaction.abort()
                return False
            cursor.putmulti(records)
        return True

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Return keys and values that begin with `prefix`, ascending, as of one moment."""
        with self._env.begin() as transaction:
            cursor = transaction.cursor()
            if cursor.set_range(prefix):
                for key, value in cursor:
                    if not key.startswith(prefix):
                        return
                    yield key, value

    def clear(self, space: bytes) -> None:
        """Delete a whole space, a transaction for every 100,000 keys so that no writer waits for long."""
        left = True
        while left:
            with self._writing() as transaction:
                cursor = transaction.cursor()
                left = cursor.set_range(space)
                for _ in range(_DELETED_AT_ONCE):
                    left = left and cursor.key().startswith(space)
                    if not left:
                        break
                    left = cursor.delete()

    def reader_check(self) -> int:
        """Free the places of readers that died, whose pages could not be used again; return how many."""
        return int(self._env.reader_check())

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        try:
            with self._env.begin(write=True) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise PlatformError(
                f"the online store in {self.path} could not be written: {error}. Nothing of this write was kept; "
                "look for space left on the disk, then run it again."
            ) from error

    def close(self) -> None:
        """Close the file and forget it."""
        with _OPENING:
            _OPEN.pop((os.getpid(), str(self.path)), None)
        self._env.close()


def open_lmdb(folder: str | Path) -> LmdbBackend:
    """
    Open the environment in `folder`, made if missing.

    One process gets the same object for the same folder, as long as somebody holds it.
    Raises PlatformError where the folder cannot hold one.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        path = path.resolve(strict=True)
        with _OPENING:
            # A forked child must not use its parent's environment, so the process is part of the name.
            name = (os.getpid(), str(path))
            backend = _OPEN.get(name)
            if backend is None:
                backend = _OPEN[name] = LmdbBackend(path)
                backend.reader_check()
            return backend
    except (lmdb.Error, OSError) as error:
        raise PlatformError(f"the online store in {path} cannot be opened: {error}.") from error
