"""
dbt-duckdb's hook into this platform, named in `profiles.yml`.

dbt-duckdb attaches the lake itself; before it does, this loads DuckDB's extensions from their wheels and sets
the session to UTC, as every other connection to the lake has it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dbt.adapters.duckdb.plugins import BasePlugin

from lifecycle.lake.connection import prepare

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

THREADS_VARIABLE = "LIFECYCLE_DBT_THREADS"


class Plugin(BasePlugin):
    """Prepares dbt's DuckDB connection; dbt-duckdb looks the class up by this name."""

    def update_connection_config(self, creds: Any, config: dict[str, Any]) -> None:  # noqa: ARG002 (dbt's signature)
        """Set DuckDB's threads where the project limits them; DuckDB takes no 0 for "all cores"."""
        threads = int(os.environ.get(THREADS_VARIABLE) or 0)
        if threads:
            config["threads"] = threads

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Load what the attachments of the profile need, before dbt-duckdb attaches them."""
        addresses = [attachment.path for attachment in (self.creds.attach or [])]
        scanner = "postgres_scanner" if any(":postgres:" in address for address in addresses) else "sqlite_scanner"
        # A lake's data may lie in an object store, which only its catalog knows.
        prepare(conn, ("ducklake", scanner, "httpfs"))

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """Set each cursor to UTC: dbt-duckdb works on copies of the connection."""
        cursor.execute("SET TimeZone = 'UTC'")
