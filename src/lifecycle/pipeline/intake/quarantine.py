"""Reading rejected records back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lifecycle.config import secret_key
from lifecycle.pipeline.intake.privacy import Vault
from lifecycle.pipeline.intake.relations import has_table

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS = {
    "batch_id": pa.int64(), "source": pa.string(), "file": pa.string(), "place": pa.int64(),
    "reason": pa.string(), "detail": pa.string(),
}  # fmt: skip


def read_quarantine(
    connection: Any, *, batch: int | None = None, limit: int | None = None, decrypt: bool = True
) -> pa.Table:
    """
    Return rejected records, by batch and place: batch_id, source, file, place, reason, detail.

    With `decrypt` also `record` (string; bytes that are not UTF-8 come as �): personal data. UsageError when
    LIFECYCLE_KEY is not the key they were encrypted under.
    """
    names = list(_COLUMNS) + (["record"] if decrypt else [])
    rows: Sequence[tuple[Any, ...]] = []
    if has_table(connection, "quarantine"):
        rows = connection.execute(
            f"SELECT {', '.join(names)} FROM lake.raw.quarantine WHERE ($batch IS NULL OR batch_id = $batch) "
            "ORDER BY batch_id, place LIMIT $rows",
            {"batch": batch, "rows": limit},
        ).fetchall()
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    table = {name: pa.array(columns[i], kind) for i, (name, kind) in enumerate(_COLUMNS.items())}
    if decrypt:
        vault = Vault(secret_key())
        table["record"] = pa.array([vault.open(one).decode(errors="replace") for one in columns[-1]], pa.string())
    return pa.table(table)
