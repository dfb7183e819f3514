"""What every command shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lifecycle.definitions import KnownTime
    from lifecycle.project import Project

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ReleaseOption = Annotated[int | None, typer.Option("--release", "-r", help="A release's number; the served one.")]


def project() -> Project:
    """Open the project that --project, LIFECYCLE_PROJECT or the working folder names."""
    from lifecycle.project import open_project

    return open_project()


def names(given: str) -> str | list[str]:
    """Read a service's name, or names of views and features joined by commas."""
    parts = [part.strip() for part in given.split(",") if part.strip()]
    return parts if len(parts) > 1 or ":" in given else given.strip()


def mode(given: str | None) -> KnownTime | None:
    """Read a known-time mode; None takes the project's own."""
    from lifecycle.errors import unknown

    if given == "as_known":
        return "as_known"
    if given == "feast":
        return "feast"
    if given is None:
        return None
    raise unknown("known-time mode", given, ("as_known", "feast"))
