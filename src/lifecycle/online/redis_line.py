"""
A thread's own line to a Redis server: requests that are packed already, their answers looked for before sleeping.

A near server answers sooner than a sleeping thread is woken, and the client library's way through a request takes
as long as the server does. The library opens the connection (address, password, TLS); the bytes go past it.
"""

from __future__ import annotations

import select
import ssl
import time
from contextlib import suppress
from typing import Any

import hiredis

MOST_BYTES = 65_536
"""What any socket takes at once: a line does not wait for room to send."""
_LOOK_SECONDS = 60e-6
_AT_ONCE = 65_536
_MORE = object()


class Line:
    """One connection of a redis-py pool. Not to be shared between threads; an error leaves it of no further use."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._connection = connection = pool.get_connection()
        self._socket = connection._sock  # noqa: SLF001 - the library has no public name for it
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        # What TLS has read and not decrypted yet, no poll can tell; such a socket is left to wait by itself.
        self._waits = isinstance(self._socket, ssl.SSLSocket)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._timeout_ms = None if connection.socket_timeout is None else connection.socket_timeout * 1000
        if not self._waits:
            self._socket.settimeout(0)

    def ask(self, request: bytes, answers: int) -> list[Any]:
        """Send commands packed one after another; return their answers. Raises OSError and hiredis.HiredisError."""
        self._socket.sendall(request)
        until = time.perf_counter() + _LOOK_SECONDS
        found: list[Any] = []
        while len(found) < answers:
            answer = self._reader.gets()
            if answer is _MORE:
                self._receive(until)
            elif isinstance(answer, hiredis.HiredisError):
                raise answer
            elif not isinstance(answer, hiredis.PushNotification):
                found.append(answer)
        return found

    def _receive(self, until: float) -> None:
        while True:
            try:
                data = self._socket.recv(_AT_ONCE)
                break
            except BlockingIOError:
                if time.perf_counter() >= until and not self._poll.poll(self._timeout_ms):
                    raise TimeoutError("no answer in time") from None
        if not data:
            raise ConnectionError("the server has closed the connection")
        self._reader.feed(data)

    def close(self) -> None:
        """Give the connection back, shut: the pool opens it anew when it is wanted."""
        self._connection.disconnect()
        self._pool.release(self._connection)

    def __del__(self) -> None:
        """Give back the line of a thread that has ended."""
        with suppress(Exception):  # it may never have been opened, and at the process's end nobody is there to take it
            self.close()
