"""Arrow or pandas in, the same kind out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from lifecycle.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

Table = pd.DataFrame | pa.Table


def frame(table: Any, needed: Sequence[str]) -> pd.DataFrame:
    """Return the needed columns of an Arrow table or a pandas frame as pandas; raises DataError for one missing."""
    have = list(table.column_names if isinstance(table, pa.Table) else table.columns)
    missing = [name for name in needed if name not in have]
    if missing:
        raise DataError(f"the table has no column {', '.join(map(repr, missing))}; there are: {', '.join(have)}.")
    if isinstance(table, pa.Table):
        taken: pd.DataFrame = table.select(list(dict.fromkeys(needed))).to_pandas()
    else:
        taken = table[list(dict.fromkeys(needed))].reset_index(drop=True)
    return taken


def like(given: Any, made: pd.DataFrame) -> Any:
    """Return `made` as the kind of table that `given` is; NaN becomes NULL in Arrow."""
    return pa.Table.from_pandas(made, preserve_index=False) if isinstance(given, pa.Table) else made
