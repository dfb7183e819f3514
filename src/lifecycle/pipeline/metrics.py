"""
Metrics by MetricFlow: what the semantic models say, asked of a release.

Each release keeps a folder of its own, `metrics/NUMBER` beside the lake, with its semantic manifest and a profile that
attaches its snapshot read-only. That is all `mf` needs: it runs in the folder, or anywhere through `run_metricflow`.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import yaml

from lifecycle.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lifecycle.config import Settings
    from lifecycle.lake import Lake, Release

MANIFEST = "target/semantic_manifest.json"  # where MetricFlow looks, under the project
_PROFILE = "release"


def keep_metrics(settings: Settings, lake: Lake, release: Release) -> Path | None:
    """Write the folder in which `mf` answers from `release`; None where the dbt project has never been built."""
    manifest = settings.lake.home / "dbt" / MANIFEST
    if not manifest.is_file():
        return None
    folder = _folder(settings, release)
    (folder / "target").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(manifest, folder / MANIFEST)
    _write(folder / "dbt_project.yml", {"name": "metrics", "version": "1.0.0", "profile": _PROFILE, **_QUIET})
    _write(folder / "profiles.yml", _profile(settings, lake, release))
    return folder


def run_metricflow(settings: Settings, release: Release, arguments: Sequence[str]) -> int:
    """
    Run `mf` on a release, with the working folder as it is; returns its exit code.

    Raises UsageError where the release was made before metrics were kept.
    """
    from dbt_metricflow.cli import main as metricflow

    folder = _folder(settings, release)
    if not (folder / MANIFEST).is_file():
        raise UsageError(
            f"release {release.number} keeps no metrics: there is no {folder / MANIFEST}. Make a new release with "
            "`lifecycle run --full-refresh`, or name one that has them with --release."
        )
    os.environ |= {"DBT_PROJECT_DIR": str(folder), "DBT_PROFILES_DIR": str(folder), "DO_NOT_TRACK": "1"}
    # `mf` asks the package index for a newer version of itself before each answer, and has no switch for it.
    metricflow.UpdateChecker = _NoUpdates
    try:
        metricflow.cli(list(arguments), prog_name="lifecycle mf")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    return 0


class _NoUpdates:
    def check(self, *_: Any) -> None:
        """Find no newer version."""


_QUIET = {"flags": {"send_anonymous_usage_stats": False, "use_colors": False}}


def _folder(settings: Settings, release: Release) -> Path:
    return settings.lake.home / "metrics" / str(release.number)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _profile(settings: Settings, lake: Lake, release: Release) -> dict[str, Any]:
    given = settings.lake
    options: dict[str, Any] = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    options |= {"temp_directory": given.spill_path}
    options |= {"memory_limit": given.memory_limit} if given.memory_limit else {}
    attached = {
        "path": lake.address,
        "alias": "lake",
        "is_ducklake": True,
        "read_only": True,
        "options": {"snapshot_version": release.snapshot},
    }
    output = {
        "type": "duckdb",
        "path": ":memory:",
        "database": "lake",
        "schema": "metrics",
        "threads": 1,
        "attach": [attached],
        "plugins": [{"module": "lifecycle.pipeline.dbt_plugin"}],
        "config_options": options,
    }
    return {_PROFILE: {"target": "lake", "outputs": {"lake": output}}}
