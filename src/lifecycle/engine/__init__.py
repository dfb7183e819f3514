"""
The engine: as-of joins, labels, frames and receipts over a lake. Arrow in, Arrow out; it knows no Feast.
"""

from lifecycle.engine.frames import Frame, training_frame
from lifecycle.engine.receipts import Receipt
from lifecycle.engine.settle import settle

__all__ = ["Frame", "Receipt", "settle", "training_frame"]
