"""
Fewer, larger files for the lake's tables.

Each build adds a small file to a table and, where rows went, a file of deletions for each file that held them; a read
opens them all. What compaction writes instead holds the same rows under the same numbers, so that releases, receipts
and changes between snapshots read as before.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lifecycle.errors import PlatformError
from lifecycle.lake.connection import ALIAS, QUERY_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.lake.connection import Lake

# Below this share of deleted rows a large file is worth leaving as it is: its other rows would be written once more.
DELETED_SHARE = 0.1
# Files may be read by queries that began before; sandboxes are made anew each time.
KEPT = "INTERVAL 1 DAY"


@dataclass(frozen=True)
class Compacted:
    """What compaction did: files that a reader of the newest snapshot opens, their bytes, and old files that went."""

    tables: int
    files_before: int
    files: int
    bytes_before: int
    bytes: int
    removed: int

    def __str__(self) -> str:
        return (
            f"{self.tables:,} tables written anew: of {self.files_before:,} files ({_mib(self.bytes_before)}) became "
            f"{self.files:,} ({_mib(self.bytes)}); {self.removed:,} files removed that were replaced over a day ago"
        )


def compact(lake: Lake, *, progress: Callable[[str], None] = lambda _: None) -> Compacted:
    """
    Write many small files of a table as few, and without rows that were deleted from them; remove what that replaced.

    Readers go on meanwhile, and files that a release needs stay. Running it again changes nothing. Raises LockedError
    while another process writes the lake, and PlatformError where the lake or its disk refuses; nothing is lost then.
    """
    # A lake that is not there would be made by writing; reading says what to do.
    with lake.lock(), closing(lake.connect(write=lake.exists)) as connection:
        before = live_files(connection)
        try:
            progress("leaving out deleted rows")
            rewritten = _call(connection, "rewrite_data_files", f"delete_threshold => {DELETED_SHARE}")
            progress("merging small files")
            merged = _call(connection, "merge_adjacent_files")
            progress("removing replaced files")
            removed = _call(connection, "cleanup_old_files", f"older_than => now() - {KEPT}")
        except QUERY_ERRORS as error:
            raise PlatformError(
                f"the lake in {lake.settings.home} could not be compacted: {error}\nIts rows and releases are as they "
                "were. Is its disk full? Make room and run this again."
            ) from error
        tables = {(schema, table) for schema, table, *_ in rewritten + merged}
        after = live_files(connection)
    return Compacted(len(tables), before[0], after[0], before[1], after[1], len(removed))


def _call(connection: Any, function: str, argument: str = "") -> list[tuple[Any, ...]]:
    arguments = ", ".join(filter(None, [f"'{ALIAS}'", argument]))
    found: list[tuple[Any, ...]] = connection.execute(f"CALL ducklake_{function}({arguments})").fetchall()
    return found


def live_files(connection: Any) -> tuple[int, int]:
    """Return how many files a reader of the newest snapshot may open, deletions' among them, and their bytes."""
    row = connection.execute(f"""
        SELECT sum(file_count + delete_file_count), sum(file_size_bytes + delete_file_size_bytes)
        FROM ducklake_table_info('{ALIAS}')
    """).fetchone()
    return int(row[0] or 0), int(row[1] or 0)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
