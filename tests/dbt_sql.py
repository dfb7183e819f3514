"""Macros of the dbt project as plain SQL, so that a test can run them on DuckDB without dbt."""

from __future__ import annotations

from pathlib import Path

import jinja2

MACROS = Path(__file__).resolve().parents[1] / "dbt_project" / "macros"


def render(call):
    """Render one macro call, such as `as_states("versions", "k", ["v"])`."""
    text = "".join((MACROS / name).read_text(encoding="utf-8") for name in ("events.sql", "states.sql"))
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)
    return environment.from_string(text + "{{ " + call + " }}").render().strip()
