"""The lake: DuckLake tables, their releases, and every use of DuckDB."""

from lifecycle.lake.connection import Lake
from lifecycle.lake.ledger import Ledger, Release

__all__ = ["Lake", "Ledger", "Release"]
