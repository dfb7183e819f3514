"""
The online store: one packed row per view and key, in LMDB or Redis, read as frames would answer.

It knows no Feast: definitions in, Arrow in, values with their ages out.
"""

from lifecycle.online.materialize import Loaded, materialization_time, materialize
from lifecycle.online.opening import open_store
from lifecycle.online.pushing import push_events
from lifecycle.online.read import OnlineValue, Reader, Row, read
from lifecycle.online.store import OnlineStore

__all__ = [
    "Loaded",
    "OnlineStore",
    "OnlineValue",
    "Reader",
    "Row",
    "materialization_time",
    "materialize",
    "open_store",
    "push_events",
    "read",
]
