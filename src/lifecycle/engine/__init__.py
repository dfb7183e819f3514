"""The engine: as-of joins, labels, frames and receipts over a lake. Arrow in, Arrow out; it knows no Feast."""

from importlib import import_module

from lifecycle.engine.audit import Audit, audit
from lifecycle.engine.explain import Explanation, explain, explain_rows
from lifecycle.engine.frames import Frame, training_frame
from lifecycle.engine.grids import every_row, monthly, sample, split
from lifecycle.engine.maturity import backfills, label_table, maturity_curve
from lifecycle.engine.receipts import Receipt
from lifecycle.engine.replay import Difference, diff, halfway, read_receipt, rebuild
from lifecycle.engine.settle import settle

__all__ = [
    "Audit",
    "Difference",
    "Explanation",
    "Frame",
    "Receipt",
    "audit",
    "backfills",
    "diff",
    "every_row",
    "explain",
    "explain_rows",
    "halfway",
    "label_table",
    "maturity_curve",
    "monthly",
    "read_receipt",
    "rebuild",
    "sample",
    "settle",
    "split",
    "training_frame",
    "warm",
]


def warm() -> str:
    """Compile all kernels, or find them compiled; return the folder that keeps them."""
    for name in ("gather", "merge", "windows.spot"):
        import_module(f"lifecycle.engine.{name}")  # compiles its kernels: they have explicit signatures
    from lifecycle.engine import windows

    return windows.warm()
