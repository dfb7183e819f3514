"""Places, releases and answers for the tests of the online store."""

from __future__ import annotations

import math
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING
from unittest import mock

import pyarrow as pa
import pytest
import redis

from lifecycle.definitions import Definitions, Field, View
from lifecycle.lake import Release
from lifecycle.online import open_store
from lifecycle.online.codec import Columns
from lifecycle.online.redis_store import PASSWORD_VARIABLE
from lifecycle.online.store import Space, Spaces
from lifecycle.pipeline import settling
from lifecycle.pipeline.settling import settle_view
from lifecycle.times import from_microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "only-on-loopback"
DATABASES = 4096
_database = count()
VIEW = View(
    name="spend",
    relation="features.spend",
    join_keys=(("consumer_id", "consumer_id"),),
    event_timestamp="event_timestamp",
    known_at="known_at",
    features=(Field("amount", "BIGINT"), Field("word", "VARCHAR")),
    keys=(Field("consumer_id", "VARCHAR"),),
    ttl_us=1000,
    deleted="deleted",
)


@contextmanager
def redis_server(folder: Path) -> Iterator[str | None]:
    """Run a Redis server with a password on a free loopback port; give its address, or None without the program."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"--port {port} --bind 127.0.0.1 --requirepass {PASSWORD} --databases {DATABASES} --appendonly no"
    command = [program, *options.split(), "--save", "", "--dir", str(folder)]
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        client = redis.Redis(port=port, password=PASSWORD)
        for _ in range(100):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        client.close()
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def new_store(place):
    """Open an empty store: in a new folder below a folder, or in a new database of a Redis server."""
    number = next(_database)
    return open_store(f"{place}/{number}")


def rows(*given, view=VIEW) -> Columns:
    """Return rows (key, event, known, deleted, *features) as columns to pack; times in microseconds."""
    times = pa.timestamp("us", "UTC")
    key, event, known, deleted, *features = ([row[at] for row in given] for at in range(4 + len(view.features)))
    kinds = {"BIGINT": pa.int64(), "VARCHAR": pa.string()}
    return Columns(
        keys=[pa.array(key, pa.string())],
        features=[pa.array(one, kinds[field.dtype]) for one, field in zip(features, view.features, strict=True)],
        event=pa.array(event, times),
        known=pa.array(known, times),
        deleted=pa.array(deleted, pa.bool_()),
    )


def hold(store, view=VIEW, at=0) -> None:
    """Let the store hold `view`, still empty, filled up to `at` (microseconds)."""
    from lifecycle.online.codec import schema_hash

    space = Space(7, 1, view.name, schema_hash(view).hex(), "content", "definition", 1, at, 1)
    store.update(lambda catalog: catalog.with_view(view.name, Spaces(space)).with_(next=8), at=at)


def release(number: int, views, at: int, snapshot: int = 1) -> Release:
    """Return a release whose watermark is `at` (microseconds)."""
    definitions = Definitions(views=tuple(views))
    watermarks = {"source": from_microseconds(at)}
    return Release(number, datetime.now(UTC), number, "code", snapshot, watermarks, definitions)


def typed(connection, view: View) -> View:
    """Return a view with its keys' types, as a release's definitions have them."""
    found = dict(connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE lake.{view.relation})").fetchall())
    return replace(view, keys=tuple(Field(column, found[column]) for _, column in view.join_keys))


def put_rows(connection, name: str, sql: str, *, anew: bool = False) -> None:
    """Let a table have the rows of `sql`: by rows that come and go, or by a new table where told or columns differ."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE wanted AS {sql}")
    kinds = (
        "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name || '.' || table_name = ? ORDER BY ALL"
    )
    there, wanted = (connection.execute(kinds, [one]).fetchall() for one in (name, "main.wanted"))
    if anew or there != wanted:
        connection.execute(f"CREATE OR REPLACE TABLE lake.{name} AS FROM wanted")
        return
    # Rows as text, and equal ones counted, so that NULLs and rows that are there twice compare too.
    told = "CAST(r AS VARCHAR) AS row_text, row_number() OVER (PARTITION BY CAST(r AS VARCHAR)) AS row_count"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE standing AS SELECT {told}, rowid AS number FROM lake.{name} AS r")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE listed AS SELECT *, {told} FROM wanted AS r")
    same = "USING (row_text, row_count)"
    connection.execute(f"""
        DELETE FROM lake.{name} WHERE rowid IN (SELECT number FROM standing ANTI JOIN listed {same});
        INSERT INTO lake.{name} BY NAME
        SELECT * EXCLUDE (row_text, row_count) FROM listed ANTI JOIN standing {same}""")


def settle_touched(connection, lake, view: View) -> View:
    """Settle a view at the lake's head: the keys that were touched, however many, where the lake can tell them."""
    with mock.patch.object(settling, "MOST_KEYS", math.inf):
        return settle_view(connection, lake, view)


def write_release(lake, number: int, sql: str, at: int, view=VIEW, *, anew: bool = False) -> Release:
    """Write a view's relation into a real lake, settle it, and return the release."""
    with lake.lock():
        connection = lake.connect(write=True)
        connection.execute("CREATE SCHEMA IF NOT EXISTS lake.features; CREATE SCHEMA IF NOT EXISTS lake.raw")
        put_rows(connection, view.relation, sql, anew=anew)
        settled = settle_touched(connection, lake, typed(connection, view))
        made = release(number, [settled], at, lake.snapshot(connection))
        connection.close()
    return made


@pytest.fixture(scope="module", params=["lmdb", "redis"])
def place(request, tmp_path_factory):
    """Return where a store is: a folder for LMDB, then the address of a Redis server of this module's own."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "lmdb":
        yield folder
        return
    with redis_server(folder) as address, pytest.MonkeyPatch.context() as patch:
        if address is None:
            pytest.skip("redis-server is not installed (Debian: redis-server)")
        patch.setenv(PASSWORD_VARIABLE, PASSWORD)
        yield address


@pytest.fixture
def store(place):
    """Return an empty store there."""
    made = new_store(place)
    yield made
    made.close()
