"""
Redis: the same bytes, one hash per space, for services on other machines.

A read is one round trip. Writes compare and set in Lua: a value is written only where the one it was decided
from still stands, else it is decided again, so the guard is the same code as everywhere.
"""

from __future__ import annotations

import os
import threading
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any

import hiredis
import redis

from lifecycle.errors import PlatformError
from lifecycle.online.backend import CLOCK, META, SPACE_BYTES, VERSION_BYTES
from lifecycle.online.opening import without_password
from lifecycle.online.redis_line import MOST_BYTES, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lifecycle.online.backend import Changes, Found

PASSWORD_VARIABLE = "LIFECYCLE_REDIS_PASSWORD"  # noqa: S105 - the variable's name
CA_VARIABLE = "LIFECYCLE_REDIS_CA"
_AT_ONCE = 1000
_TRIES = 100
_packed: Any = hiredis.pack_command  # its own annotation takes one-tuples alone
_MULTI, _EXEC = _packed((b"MULTI",)), _packed((b"EXEC",))
# KEYS: a space's hash, the store's own hash. ARGV: n fields, n expected values (empty: absent), n new values
# (empty: delete), the clock's version. All n are written, or none: 0 where a value or the version has changed.
_SWAP = """
local n = (#ARGV - 1) / 3
if string.sub(redis.call('HGET', KEYS[2], 'clock') or '', 1, 8) ~= ARGV[#ARGV] then return 0 end
local found = redis.call('HMGET', KEYS[1], unpack(ARGV, 1, n))
local set, gone = {}, {}
for i = 1, n do
  if (found[i] or '') ~= ARGV[n + i] then return 0 end
  local new = ARGV[2 * n + i]
  if new == '' then gone[#gone + 1] = ARGV[i]
  else set[#set + 1] = ARGV[i]; set[#set + 1] = new end
end
if #set > 0 then redis.call('HSET', KEYS[1], unpack(set)) end
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
return 1
"""


class RedisBackend:
    """
    A Redis database. `url`: redis://, rediss:// (TLS) or unix://. `name` goes before the hashes' names.

    The password comes from LIFECYCLE_REDIS_PASSWORD, a private authority's certificates from LIFECYCLE_REDIS_CA.
    What a returned call wrote survives a crash as far as the server's own persistence says (`appendfsync`).
    """

    def __init__(self, url: str, name: str = "lifecycle") -> None:
        options: dict[str, Any] = {}
        if os.environ.get(PASSWORD_VARIABLE):
            options["password"] = os.environ[PASSWORD_VARIABLE]
        if url.startswith("rediss://") and os.environ.get(CA_VARIABLE):
            options["ssl_ca_certs"] = os.environ[CA_VARIABLE]
        self._place = without_password(url)
        self._name = name.encode() + b":"
        self._hashes = {META: self._name + b"store"}
        self._redis: Any = redis.Redis.from_url(url, **options)
        self._swap = self._redis.register_script(_SWAP)
        self._thread = threading.local()
        try:
            self._redis.ping()
        except redis.RedisError as error:
            raise PlatformError(
                f"Redis at {self._place} does not answer: {error}. Start it, or correct the address "
                f"(the password stands in {PASSWORD_VARIABLE})."
            ) from error

    def read(self, keys: Sequence[bytes]) -> Found:
        """Return the values of `keys` as of one moment, in one transaction: a script's call takes longer by a third."""
        runs = _by_space(keys)
        commands = [_packed((b"HMGET", self._hash(space), *fields)) for space, fields in runs]
        request = b"".join([_MULTI, *commands, _EXEC])
        if len(request) <= MOST_BYTES:
            try:
                *_, found = self._ask(request, len(runs) + 2)
                return list(chain.from_iterable(found))
            except (OSError, redis.RedisError, hiredis.HiredisError, TypeError):
                # The connection is gone, or an error stands in the place of values (which is no list). The client's
                # own way opens a new connection, and says what is wrong where that does not help.
                pass
        return self._read_many(keys, together=True)

    def _ask(self, request: bytes, answers: int) -> list[Any]:
        process: int
        line: Line | None
        process, line = getattr(self._thread, "held", (0, None))
        if line is None or process != os.getpid():
            line = Line(self._redis.connection_pool)
            self._thread.held = (os.getpid(), line)
        try:
            return line.ask(request, answers)
        except BaseException:
            del self._thread.held
            raise

    def change(self, keys: Sequence[bytes], decide: Callable[[Found], Changes]) -> None:
        """Read, decide, compare and set, 1,000 values a call; decide again where another writer came between."""
        for _ in range(_TRIES):
            before = dict(zip([*keys, CLOCK], self._read_many([*keys, CLOCK]), strict=True))
            if self._write(decide([before[key] for key in keys]), before):
                return
        raise PlatformError("other writers of the online store in Redis kept coming between. Try again.")

    def load(self, items: list[tuple[bytes, bytes]], records: list[tuple[bytes, bytes]]) -> bool:
        """Write new keys; shut where one of them is there already."""
        return self._write([*items, *records], {CLOCK: self.read([CLOCK])[0]})

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Return keys and values that begin with `prefix`; the server looks through the whole space."""
        space, rest = prefix[:SPACE_BYTES], prefix[SPACE_BYTES:]
        pattern = b"".join(b"\\" + bytes([one]) if one in b"*?[]\\^-" else bytes([one]) for one in rest) + b"*"
        for field, value in self._redis.hscan_iter(self._hash(space), match=pattern, count=_AT_ONCE):
            yield space + field, value

    def clear(self, space: bytes) -> None:
        """Delete a whole space; the server frees its memory in the background."""
        self._redis.unlink(self._hash(space))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _read_many(self, keys: Sequence[bytes], *, together: bool = False) -> Found:
        pipeline = self._redis.pipeline(transaction=together)
        for space, fields in _by_space(keys):
            for start in range(0, len(fields), _AT_ONCE):
                pipeline.hmget(self._hash(space), fields[start : start + _AT_ONCE])
        return [value for values in self._answers(pipeline) for value in values]

    def _write(self, changes: Changes, before: dict[bytes, bytes | None]) -> bool:
        """Write changes in order, unless one of the values is not as in `before` (absent, where that names none)."""
        version = (before[CLOCK] or b"")[:VERSION_BYTES]
        blind = [key for key, _ in changes if key.startswith(META) and key not in before]
        before = before | dict(zip(blind, self._read_many(blind), strict=True))
        pipeline = self._redis.pipeline(transaction=False)
        for space, run in groupby(changes, lambda change: change[0][:SPACE_BYTES]):
            names = [self._hash(space), self._hash(META)]
            while part := list(islice(run, _AT_ONCE)):
                fields = [key[SPACE_BYTES:] for key, _ in part]
                expected = [before.get(key) or b"" for key, _ in part]
                new = [value or b"" for _, value in part]
                self._swap(names, [*fields, *expected, *new, version], client=pipeline)
        return all(self._answers(pipeline))

    def _answers(self, pipeline: Any) -> list[Any]:
        try:
            return list(pipeline.execute())
        except redis.RedisError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> PlatformError:
        return PlatformError(f"Redis at {self._place} failed: {error}.")

    def _hash(self, space: bytes) -> bytes:
        name = self._hashes.get(space)
        if name is None:
            name = self._hashes[space] = self._name + str(int.from_bytes(space, "big")).encode()
        return name


def _by_space(keys: Sequence[bytes]) -> list[tuple[bytes, list[bytes]]]:
    """Return runs of keys of one space, each without the space's bytes."""
    runs: list[tuple[bytes, list[bytes]]] = []
    for key in keys:
        space = key[:SPACE_BYTES]
        if not runs or runs[-1][0] != space:
            runs.append((space, []))
        runs[-1][1].append(key[SPACE_BYTES:])
    return runs
