"""Macros of the dbt project as plain SQL, so that a test can run them on DuckDB without dbt."""

from __future__ import annotations

from pathlib import Path

import jinja2
import yaml

PROJECT = Path(__file__).resolve().parents[1] / "dbt_project"


def variable(name):
    """Return a variable of the dbt project as dbt_project.yml sets it."""
    return yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"][name]


def render(call, **variables):
    """Render one macro call, such as `as_states("versions", "k", ["v"])`, with these variables before the project's."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((PROJECT / "macros").glob("*.sql"))]
    text = "".join(one for one in texts if "{% materialization" not in one)  # a tag that only dbt has
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)
    environment.globals["var"] = lambda name: variables.get(name) or variable(name)
    return environment.from_string(text + "{{ " + call + " }}").render().strip()
