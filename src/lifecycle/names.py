"""The one place that quotes SQL names and literals."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lifecycle.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def quote(name: str) -> str:
    """Quote one identifier."""
    if not name or "\x00" in name:
        raise UsageError(f"{name!r} cannot name a column or table: it is empty or holds a NUL.")
    return '"' + name.replace('"', '""') + '"'


def quote_all(names: Iterable[str], prefix: str = "") -> str:
    """Quote identifiers and join them by commas, each after `prefix.` when one is given."""
    head = f"{prefix}." if prefix else ""
    return ", ".join(head + quote(name) for name in names)


def relation(name: str, database: str = "lake") -> str:
    """Quote `schema.table` inside an attached database."""
    parts = name.split(".")
    if len(parts) != 2 or not all(_PLAIN.match(part) for part in parts):  # noqa: PLR2004
        raise UsageError(f"{name!r} is no relation name: write it as schema.table, such as features.consumer.")
    return ".".join(quote(part) for part in (database, *parts))


def literal(value: str) -> str:
    """Quote a string for statements that take no parameters, such as ATTACH, or are better off without."""
    if "\x00" in value:
        raise UsageError(f"{value!r} cannot be written in SQL: it holds a NUL.")
    return "'" + value.replace("'", "''") + "'"
