"""The command line: help, exit codes, sentences."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import lifecycle
from lifecycle import cli

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "run", "demo", "generate", "ingest", "build", "check", "release", "releases", "frame", "online", "sql",
    "export", "doctor", "dev", "explain", "label", "materialize", "quarantine", "warm", "mf", "value",
}  # fmt: skip


def _lifecycle(*arguments, cwd=ROOT, **variables):
    environment = {**os.environ, "COLUMNS": "200", **variables}
    return subprocess.run(
        [sys.executable, "-c", "from lifecycle.cli import main; main()", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_command_is_there():
    assert set(get_command(cli.app).commands) == COMMANDS


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_shows_an_example(command):
    shown = CliRunner().invoke(cli.app, [command, "--help"])
    assert shown.exit_code == 0
    assert f"lifecycle {command}" in " ".join(shown.output.split())


def test_help_imports_nothing_heavy():
    probe = "import sys; from lifecycle import cli; from typer.testing import CliRunner;"
    probe += "CliRunner().invoke(cli.app, ['--help']);"
    probe += "print([m for m in ('duckdb', 'pandas', 'pyarrow', 'feast', 'dbt', 'sqlalchemy') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_pandas_that_arrow_was_kept_from_is_found_when_asked_for():
    probe = """
import sys
from lifecycle.cli.frames import _begin_loading
_begin_loading()
import pyarrow as pa
table = pa.table({"a": [1.5, None]})
assert "pandas" not in sys.modules
assert list(table.to_pandas().columns) == ["a"]
assert pa.array(table.to_pandas()["a"]).null_count == 1
"""
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_usage_faults_exit_with_2_and_say_what_to_do(tmp_path):
    outside = _lifecycle("releases", cwd=tmp_path)
    assert outside.returncode == 2
    assert "lifecycle.toml" in outside.stderr
    half = _lifecycle("run", "--source", "stripe", LIFECYCLE_HOME=str(tmp_path / "home"))
    assert half.returncode == 2
    assert "name both a source and its files" in half.stderr


def test_platform_faults_exit_with_4_and_json_is_json(tmp_path):
    nothing = _lifecycle("check", "--json", LIFECYCLE_HOME=str(tmp_path / "home"))
    assert nothing.returncode == 4
    problem = json.loads(nothing.stdout)
    assert problem["error"] == "PlatformError"
    assert "lifecycle demo" in problem["message"]


def test_the_public_surface_is_its_list():
    assert lifecycle.__all__ == sorted(lifecycle.__all__)
    assert all(hasattr(lifecycle, name) for name in lifecycle.__all__)
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = lifecycle.nothing_such


def test_the_changelog_names_the_version():
    assert f"## {lifecycle.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
