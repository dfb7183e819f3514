"""
The command line, thin: each command opens the project and calls one function of the Python API.

Nothing heavy is imported before a command runs, so `--help` answers at once.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Annotated

import typer

from lifecycle.cli import explaining, frames, labels, metrics, pipeline, reading, releases
from lifecycle.errors import LifecycleError
from lifecycle.version import __version__

# Usage reporting of every library is off, for all that this process starts.
_QUIET = {
    "DO_NOT_TRACK": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "FEAST_USAGE": "False",
    "GX_ANALYTICS_ENABLED": "false",
}

# A command loads much code and leaves few cycles: the collector need not look for them after every 700 new objects.
_OBJECTS_BETWEEN_COLLECTIONS = 200_000

app = typer.Typer(
    name="lifecycle",
    help="Features exact as known at each moment: offline, online and in SQL.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lifecycle {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    project: Annotated[str | None, typer.Option(help="Folder of the project's lifecycle.toml.")] = None,
    home: Annotated[str | None, typer.Option(help="Folder of everything generated.")] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,  # noqa: ARG001
) -> None:
    if project:
        os.environ["LIFECYCLE_PROJECT"] = os.path.abspath(project)  # noqa: PTH100
    if home:
        os.environ["LIFECYCLE_HOME"] = os.path.abspath(home)  # noqa: PTH100


pipeline.add_to(app)
releases.add_to(app)
frames.add_to(app)
explaining.add_to(app)
labels.add_to(app)
reading.add_to(app)
metrics.add_to(app)


def main() -> None:
    """Run the command line; exit codes: 2 usage, 3 data, 4 platform, 1 anything unforeseen."""
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    try:
        app()
    except LifecycleError as error:
        if "--json" in sys.argv:
            notes = getattr(error, "__notes__", [])
            problem = {"error": type(error).__name__, "message": str(error), "notes": notes}
            typer.echo(json.dumps(problem, ensure_ascii=False))
        else:
            _explain(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone, as with `| head`: that is no fault.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        gc.freeze()  # or the interpreter would look through everything once more before it ends


def _explain(error: LifecycleError) -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("error:", style="bold red", end=" ")
    console.print(str(error), markup=False)
    for note in getattr(error, "__notes__", []):
        console.print(note, markup=False, style="dim")
