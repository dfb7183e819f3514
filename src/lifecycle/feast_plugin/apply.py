"""Registering the project's Feast repo, as `feast apply` does, in this process."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from feast import FeatureStore, Project
from feast.errors import FeastError
from feast.repo_operations import apply_total_with_repo_instance

from lifecycle.errors import BuildError
from lifecycle.feast_plugin.repo import in_repo, load_repo_config, parse
from lifecycle.times import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from lifecycle.config import Settings


def note_materialization(settings: Settings, at: datetime) -> None:
    """Tell the registry up to when the online store is filled: `feast materialize-incremental` goes on from there."""
    store = FeatureStore(config=load_repo_config(settings))
    for view in store.list_feature_views():
        if view.online:
            store.registry.apply_materialization(view, store.project, EPOCH, at)


def apply(settings: Settings, *, progress: Callable[[str], None] = lambda _: None) -> None:
    """
    Bring Feast's registry and online tables in line with the repo's files, as the served release has their columns.

    Objects that the files no longer declare are removed. Raises BuildError with Feast's own words.
    """
    contents = parse(settings)
    config = load_repo_config(settings)
    if not contents.projects:
        contents.projects.append(Project(name=config.project, description=config.project_description or ""))
    said = io.StringIO()
    try:
        with in_repo(settings), redirect_stdout(said), warnings.catch_warnings():
            # Feast calls its own form of them experimental; ours are computed by the engine.
            warnings.filterwarnings("ignore", "On demand feature view is an experimental feature", RuntimeWarning)
            store = FeatureStore(config=config)
            apply_total_with_repo_instance(
                store, config.project, store.registry, contents, skip_source_validation=False
            )
    except (FeastError, ValueError, SystemExit) as error:
        raise BuildError(f"Feast refused the repo in {settings.feature_repo}: {error}\n{said.getvalue()}") from error
    for line in said.getvalue().splitlines():
        if line.strip():
            progress(line.strip())
