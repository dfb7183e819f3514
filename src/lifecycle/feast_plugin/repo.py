"""Loading the project's Feast repo: its files as Feast parses them, its configuration on this project's lake."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from feast.repo_config import load_repo_config as load_yaml
from feast.repo_operations import get_repo_files, parse_repo

from lifecycle.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from feast.repo_config import RepoConfig
    from feast.repo_contents import RepoContents

    from lifecycle.config import Settings

YAML = "feature_store.yaml"
FOLDER = "feast"


def load_repo_config(settings: Settings, *, release: int | None = None) -> RepoConfig:
    """
    Load feature_store.yaml with everything generated moved to where `settings` say.

    release: the release to read instead of the served one.
    """
    path = settings.feature_repo / YAML
    if not path.is_file():
        raise UsageError(
            f"there is no {YAML} in {settings.feature_repo}. [feast] repo in lifecycle.toml names the folder."
        )
    config = load_yaml(settings.feature_repo, path)
    folder = settings.lake.home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    store = config.offline_store
    if not hasattr(store, "known_time"):
        raise UsageError(
            f"offline_store in {path} is {store.type!r}; a release needs "
            "lifecycle.feast_plugin.offline_store.LifecycleOfflineStore there."
        )
    store.lake = asdict(settings.lake) | {"home": str(settings.lake.home)}
    store.release = release
    config.registry.path = str(folder / "registry.db")
    if hasattr(config.online_store, "place"):
        config.online_store.place = settings.online_place
    return config


def parse(settings: Settings) -> RepoContents:
    """Return what the files of the Feast repo declare, read afresh; raises UsageError in Python's own words."""
    with in_repo(settings):
        try:
            return parse_repo(settings.feature_repo.resolve())
        except (ImportError, AttributeError, NameError, SyntaxError, TypeError, ValueError) as error:
            raise UsageError(f"the Feast repo in {settings.feature_repo} cannot be read: {error!r}") from error


@contextmanager
def in_repo(settings: Settings) -> Iterator[None]:
    """
    Work as Feast does, in the repo's folder, with its modules importable by their bare names.

    The modules are forgotten before and after: names such as `views` are shared by all Feast repos, and a
    changed file must be read again.
    """
    repo = settings.feature_repo.resolve()
    names = {".".join(path.relative_to(repo).with_suffix("").parts) for path in get_repo_files(repo)}
    before = os.getcwd()  # noqa: PTH109 - os.chdir's counterpart
    no_bytecode = sys.dont_write_bytecode
    with on_path(repo), on_path(settings.root):
        forgotten = {name: sys.modules.pop(name) for name in names if name in sys.modules}
        os.chdir(repo)
        sys.dont_write_bytecode = True
        try:
            yield
        finally:
            sys.dont_write_bytecode = no_bytecode
            os.chdir(before)
            for name in names:
                sys.modules.pop(name, None)
            sys.modules.update(forgotten)


@contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """Let Python import from `folder` first."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
