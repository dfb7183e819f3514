"""
Every error that the platform raises on purpose.

LifecycleError
├── UsageError        exit 2: a wrong argument, name or configuration
│   └── UnsupportedError  one of Feast's operations that is not there
├── DataError         exit 3: the data is not what it should be
│   ├── IntakeError       a file is refused whole
│   ├── GateError         an expectation failed: no release
│   └── SpineError        a spine that cannot be answered
└── PlatformError     exit 4: the platform itself cannot work now
    ├── LockedError       another process writes the lake
    └── BuildError        dbt or Feast failed

A message says what is wrong, with which value, what was possible, and what to do next.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class LifecycleError(Exception):
    """Base of all errors below; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(LifecycleError):
    """A wrong argument, name or configuration: the caller can mend it."""

    exit_code = 2


class UnsupportedError(UsageError, NotImplementedError):
    """
    An operation of Feast's interface that is left out here on purpose.

    A NotImplementedError as well: Feast's own stores raise that for what they lack.
    """


class DataError(LifecycleError):
    """The data is not what it should be."""

    exit_code = 3


class IntakeError(DataError):
    """A file is not what it claims to be and is refused whole; names file, line and cause."""


class GateError(DataError):
    """An expectation failed, so nothing is released."""


class SpineError(DataError, ValueError):
    """
    A spine that cannot be answered: a column is missing, or a time is NULL.

    A ValueError as well: Feast's own stores raise that, so callers of `get_historical_features` look for it.
    """


class PlatformError(LifecycleError):
    """The platform itself cannot work now."""

    exit_code = 4


class LockedError(PlatformError):
    """Another process holds the lake's only writing place."""


class BuildError(PlatformError):
    """dbt or Feast failed; the message holds their own words."""


def unknown(kind: str, name: str, possible: Iterable[str]) -> UsageError:
    """Say that `name` is no known `kind`, with the closest guess and all that was possible."""
    names = sorted(possible)
    close = get_close_matches(name, names, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    listed = ", ".join(names) if names else "none"
    return UsageError(f"unknown {kind} {name!r}.{guess} There are: {listed}.")
