"""Lifecycle: features exact as known at each moment, offline, online and in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle.errors import LifecycleError
from lifecycle.version import __version__

if TYPE_CHECKING:
    from lifecycle.engine import every_row, monthly, sample, split
    from lifecycle.project import Project, open_project

__all__ = ["LifecycleError", "Project", "__version__", "every_row", "monthly", "open_project", "sample", "split"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: `lifecycle --help` must not pay for DuckDB, Arrow and SQLAlchemy.
    if name in {"Project", "open_project"}:
        from lifecycle import project

        return getattr(project, name)
    if name in __all__:
        from lifecycle import engine

        return getattr(engine, name)
    raise AttributeError(f"module 'lifecycle' has no attribute {name!r}")
