"""
Fixtures shared by all tests.

`settings`: this repository's project with everything generated under the test's own folder.
`lake`: its (still empty) lake. `postgres_url`: a real PostgreSQL server on loopback, for the session.
`postgres_settings`: `settings` with a new, empty database of that server as the catalog.
`bare_project`: makes a project of nothing around a lake. `retail`, `retail_invoices`: UCI's Online Retail.
`place`, `store`: where an online store is, and one there: in LMDB, then in Redis.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import sqlalchemy as sa

from lifecycle import config
from lifecycle.lake import Lake
from tests.online_cases import place, store  # noqa: F401 (fixtures of the online store's tests)
from tests.online_retail_lake import retail, retail_invoices  # noqa: F401 (fixtures of the session)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lifecycle.config import LakeSettings, Settings

ROOT = Path(__file__).resolve().parents[1]
TEST_KEY = "a key for tests and nothing else"
TELEMETRY_OFF = {
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "DO_NOT_TRACK": "1",
    "FEAST_USAGE": "False",
    "GX_ANALYTICS_ENABLED": "false",
}
POSTGRES_USER = "lifecycle"
POSTGRES_PASSWORD = "only-on-loopback"

# Before any test module is imported: libraries read these as they are imported. What the caller's shell says
# about a real lake must not reach a test.
for _name in [name for name in os.environ if name.startswith("LIFECYCLE_") and name != "LIFECYCLE_REAL_DATA"]:
    del os.environ[_name]
os.environ.update({"LIFECYCLE_KEY": TEST_KEY, **TELEMETRY_OFF})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the repository's project, with its home under the test's folder."""
    return config.load(ROOT, home=tmp_path / "home")


@pytest.fixture
def lake(settings: Settings) -> Lake:
    """Return a lake that holds nothing yet: write to it under `lake.lock()`."""
    return Lake(settings.lake)


@pytest.fixture
def bare_project(tmp_path: Path) -> Callable[[LakeSettings], Settings]:
    """Return what makes an empty project (no models, no suites, no features) around a lake's settings."""

    def make(lake: LakeSettings) -> Settings:
        root = tmp_path / "project"
        (root / "dbt_project" / "expectations").mkdir(parents=True)
        (root / "feature_repo").mkdir()
        (root / config.FILE_NAME).write_text("", encoding="utf-8")
        return replace(config.load(root), lake=lake)

    return make


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Run a PostgreSQL server on loopback for the session; its password stands in PGPASSWORD."""
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL's initdb and postgres are not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="lifecycle-postgres-"))
    port = _free_port()
    server = _start_postgres(programs, folder, port)
    before = os.environ.get("PGPASSWORD")
    os.environ["PGPASSWORD"] = POSTGRES_PASSWORD
    try:
        yield f"postgresql://{POSTGRES_USER}@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        server.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop("PGPASSWORD")
        if before is not None:
            os.environ["PGPASSWORD"] = before


@pytest.fixture
def postgres_settings(settings: Settings, postgres_url: str) -> Iterator[Settings]:
    """Return `settings` with a new database as the catalog; it is dropped afterwards."""
    database = f"lake_{uuid4().hex}"
    server = sa.create_engine(
        sa.make_url(postgres_url).set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
        poolclass=sa.NullPool,
    )
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {database}"))
    catalog = sa.make_url(postgres_url).set(database=database).render_as_string()
    yield replace(settings, lake=replace(settings.lake, catalog=catalog))
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {database} WITH (FORCE)"))


def _postgres_programs() -> tuple[str, str] | None:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([*map(str, debian), os.environ.get("PATH", "")])
    found = shutil.which("initdb", path=path), shutil.which("postgres", path=path)
    return (found[0], found[1]) if found[0] and found[1] else None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _start_postgres(programs: tuple[str, str], folder: Path, port: int) -> subprocess.Popen[bytes]:
    # PostgreSQL refuses to run as root: there Debian's own account runs it.
    user = "postgres" if os.geteuid() == 0 else None
    password = folder / "password"
    password.write_text(POSTGRES_PASSWORD, encoding="utf-8")
    if user:
        for path in (folder, password):
            shutil.chown(path, user, user)
    data, log = folder / "data", folder / "log"
    create = [programs[0], "-D", data, "-U", POSTGRES_USER, "-A", "scram-sha-256", "--pwfile", password]
    subprocess.run(
        [*create, "--no-sync", "--encoding=UTF8", "--locale=C"],
        user=user, cwd=folder, check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    with log.open("wb") as output:
        options = [
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={folder}",
            "-c",
            "fsync=off",
        ]
        server = subprocess.Popen(
            [programs[1], "-D", data, "-p", str(port), *options],
            user=user, cwd=folder, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    _wait_until_ready(server, data / "postmaster.pid", log)
    return server


def _wait_until_ready(server: subprocess.Popen[bytes], state: Path, log: Path) -> None:
    while "ready" not in (state.read_text(encoding="utf-8") if state.is_file() else ""):
        try:
            server.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        raise RuntimeError(f"PostgreSQL did not start: {log.read_text(encoding='utf-8')}")
