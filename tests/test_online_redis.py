"""Reading from Redis past the client library: what a connection can meet, on a real server."""

from __future__ import annotations

import multiprocessing
import threading
import time

import pytest
import redis

from lifecycle.errors import PlatformError
from lifecycle.online import redis_line, redis_store
from lifecycle.online.backend import CLOCK
from tests.online_cases import PASSWORD, redis_server

SPACE = (7).to_bytes(4, "big")
KEYS = [CLOCK, SPACE + b"a", SPACE + b"none", CLOCK, SPACE + b"b"]
VALUES = [b"now", b"1", None, b"now", bytes(range(256)) * 2000]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        if address is None:
            pytest.skip("redis-server is not installed (Debian: redis-server)")
        yield address


@pytest.fixture
def server(url):
    client = redis.Redis.from_url(url, password=PASSWORD)
    client.flushall()
    client.hset("lifecycle:store", "clock", b"now")
    client.hset("lifecycle:7", mapping={"a": VALUES[1], "b": VALUES[4]})
    yield client
    client.close()


@pytest.fixture
def backend(url, server, monkeypatch):  # noqa: ARG001 - the server's content comes first
    monkeypatch.setenv(redis_store.PASSWORD_VARIABLE, PASSWORD)
    store = redis_store.RedisBackend(url)
    yield store
    store.close()


def test_values_come_in_the_order_asked_for(backend):
    assert backend.read(KEYS) == VALUES
    assert backend.read([CLOCK]) == [b"now"]
    assert backend.read([]) == []


def test_more_than_a_socket_takes_at_once_is_read_too(backend):
    many = [SPACE + b"%0400d" % number for number in range(300)] + [SPACE + b"a"]
    assert sum(map(len, many)) > redis_line.MOST_BYTES
    assert backend.read(many) == [None] * 300 + [b"1"]


def test_a_connection_that_the_server_closed_is_opened_anew(backend, server):
    assert backend.read(KEYS) == VALUES
    for client in server.client_list():
        if client["id"] != str(server.client_id()):
            server.client_kill_filter(_id=client["id"])
    assert backend.read(KEYS) == VALUES
    assert backend.read(KEYS) == VALUES


def test_a_server_that_answers_late_is_waited_for(backend, server):
    assert backend.read(KEYS) == VALUES
    server.client_pause(200)
    began = time.perf_counter()
    assert backend.read(KEYS) == VALUES
    assert time.perf_counter() - began > 0.1


def test_an_error_in_the_place_of_values_is_told(backend, server):
    server.delete("lifecycle:7")
    server.set("lifecycle:7", "text, and no hash")
    with pytest.raises(PlatformError, match="WRONGTYPE"):
        backend.read(KEYS)
    server.delete("lifecycle:7")
    assert backend.read(KEYS) == [b"now", None, None, b"now", None]


def test_a_password_that_is_taken_back_is_told(backend, server):
    assert backend.read(KEYS) == VALUES
    server.config_set("requirepass", "another")
    try:
        for client in server.client_list():
            if client["id"] != str(server.client_id()):
                server.client_kill_filter(_id=client["id"])
        with pytest.raises(PlatformError, match=r"failed|password"):
            backend.read(KEYS)
    finally:
        server.config_set("requirepass", PASSWORD)
    assert backend.read(KEYS) == VALUES


def test_each_thread_has_its_own_line_and_gives_it_back(backend, server):
    def connections():
        return len(server.client_list())

    assert backend.read(KEYS) == VALUES
    before, found = connections(), []

    def read():
        found.extend(backend.read(KEYS) == VALUES for _ in range(50))

    for _ in range(3):
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [True] * 600
    time.sleep(0.1)
    assert connections() <= before + 1


def test_a_forked_process_opens_its_own_line(backend):
    def read(answers):
        answers.put(backend.read(KEYS) == VALUES)

    assert backend.read(KEYS) == VALUES
    forking = multiprocessing.get_context("fork")
    answers = forking.SimpleQueue()
    child = forking.Process(target=read, args=(answers,))
    child.start()
    for _ in range(50):
        assert backend.read(KEYS) == VALUES
    assert answers.get()
    child.join()
