"""
Matching a spine's keys with a relation's, whatever their types.

A spine's key is cast to the relation's type, and matches nothing where the cast does not give it back: the
number 1.5 is no whole number's equal, and a number beyond the relation's range is no key there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle.errors import SpineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lifecycle.engine.session import Session

_INTEGERS = frozenset(
    ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
)


def matched(
    session: Session,
    who: str,
    pairs: Sequence[tuple[str, str]],
    types: Mapping[str, str],
    spine_keys: Sequence[str],
    *,
    have: Mapping[str, str] | None = None,
) -> str:
    """
    Return SQL `, k2 AS k0, ...` of the spine's keys, cast to a relation's types.

    who: the view or label, for errors. pairs: (spine column, relation column). types: the relation's.
    spine_keys: the spine column behind k0, k1, ... of the session's table `spine`. have: the types of that table, where
    they are known.
    Raises SpineError where a key column's type cannot equal the relation's.
    """
    have = have or {column: dtype for column, dtype, *_ in session.rows("DESCRIBE spine")}
    listed = []
    for position, (spine_key, column) in enumerate(pairs):
        name = f"k{list(spine_keys).index(spine_key)}"
        given, wanted = have[name], types[column]
        if _family(given) == _family(wanted):
            listed.append(f", {cast_key(name, given, wanted)} AS k{position}")
        elif not session.value(f"SELECT count({name}) FROM spine"):
            # A column of NULLs alone comes without a type of its own.
            listed.append(f", CAST(NULL AS {wanted}) AS k{position}")
        else:
            raise SpineError(
                f"the spine's column {spine_key!r} is {given}, but {who} is keyed by {column!r}, "
                f"which is {wanted}. Convert the spine's column."
            )
    return "".join(listed)


def cast_key(name: str, given: str, wanted: str) -> str:
    """Return SQL that casts a key to type `wanted`, NULL where that would change it."""
    if given == wanted:
        return name
    cast = f"TRY_CAST({name} AS {wanted})"
    if given in _INTEGERS and wanted in _INTEGERS:
        return cast
    return f"CASE WHEN TRY_CAST({cast} AS {given}) = {name} THEN {cast} END"


def same_keys(count: int, left: str, right: str) -> str:
    """Return SQL `left.k0 = right.k0 AND ... AND `, empty for no keys."""
    return "".join(f"{left}.k{i} = {right}.k{i} AND " for i in range(count))


def _family(dtype: str) -> str:
    if dtype in _INTEGERS or dtype in {"FLOAT", "DOUBLE"} or dtype.startswith("DECIMAL"):
        return "number"
    if dtype.startswith("TIMESTAMP") or dtype == "DATE":
        return "time"
    if dtype in {"VARCHAR", "UUID"} or dtype.startswith("ENUM"):
        return "text"
    return dtype
