"""Feast's own command line and page on the project's Feast repo, as a user finds them."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from feast import FeatureStore

from lifecycle import config
from lifecycle.definitions import Definitions
from tests.conftest import ROOT
from tests.feast_lake import WATERMARK, day, make_lake, make_release

FEAST = Path(sys.executable).with_name("feast")


@pytest.fixture(scope="module")
def user_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Feast repo of a copied project with a lake, as a user finds it: no environment variable."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / config.FILE_NAME, root)
    for folder in ("feature_repo", "transformations"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    make_release(make_lake(config.load(root)), Definitions())
    assert "Deploying infrastructure for consumer_profile" in feast(root / "feature_repo", "apply")
    return root / "feature_repo"


def feast(repo: Path, *arguments: str) -> str:
    done = subprocess.run([FEAST, *arguments], cwd=repo, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_feasts_command_line_applies_lists_and_materializes(user_repo):
    assert "consumer_identity" in feast(user_repo, "feature-views", "list")
    feast(user_repo, "materialize", "2026-01-01T00:00:00", WATERMARK.isoformat())
    store = FeatureStore(repo_path=str(user_repo))
    read = store.get_online_features(["consumer_identity:verification_status"], [{"consumer_id": "c1"}])
    assert read.to_dict()["verification_status"] == ["verified"]
    spine = pd.DataFrame([{"consumer_id": "c1", "event_timestamp": day(4)}])
    late = store.get_historical_features(spine, ["consumer_identity:verification_status"])
    assert late.to_df()["verification_status"].tolist() == ["requires_input"]


@pytest.mark.skipif(find_spec("grpc_reflection") is None, reason="feast ui needs the extra feast[grpcio]")
def test_feasts_web_page_serves_on_loopback(user_repo):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [FEAST, "ui", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, cwd=user_repo, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        answer = _first_answer(port, server)
    finally:
        server.terminate()
        server.wait(timeout=30)
    assert b"Lifecycle" in answer


def _first_answer(port: int, server: subprocess.Popen[bytes]) -> bytes:
    for _ in range(300):
        assert server.poll() is None, "feast ui ended"
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
                connection.request("GET", "/projects-list.json")
                return connection.getresponse().read()
        except OSError:
            time.sleep(0.2)
    raise AssertionError("feast ui did not answer within a minute")


def test_feast_before_the_first_run_says_that_there_is_no_lake(tmp_path):
    shutil.copy(ROOT / config.FILE_NAME, tmp_path)
    for folder in ("feature_repo", "transformations"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run([FEAST, "apply"], cwd=tmp_path / "feature_repo", capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "there is no lake" in done.stderr
    assert "lifecycle demo" in done.stderr
