"""Purchases of a release as they were known at a time: what customer-base models are fitted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle.engine.session import columns, require
from lifecycle.errors import UsageError
from lifecycle.names import quote, relation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import pyarrow as pa

NEEDED = ("transactions", "key", "amount", "currency")


def purchases_known(connection: Any, declared: Mapping[str, str], at: datetime) -> pa.Table:
    """
    Return the purchases that had happened, and in the version that was known, before `at`.

    connection: DuckDB with the lake attached as `lake`. declared: `[value]` of lifecycle.toml: `transactions`, a
    relation of event versions with `known_from` and `known_until`; its columns `key`, `amount` (minor units) and
    `currency`; and `where`, a condition (optional). Purchases without a key, and those of 0, are left out.

    Columns: the key under its name, `event_timestamp` timestamp[us, UTC], `amount` int64, `currency`; in order of key
    and time. Raises UsageError where the declaration is incomplete or names what the release lacks.
    """
    missing = [name for name in NEEDED if not declared.get(name)]
    if missing:
        raise UsageError(
            f"[value] of lifecycle.toml does not say {', '.join(missing)}. It names the relation of purchases and its "
            'columns: transactions = "features.charge_events", key, amount, currency, and perhaps a condition, where.'
        )
    source, key = declared["transactions"], declared["key"]
    amount, currency = quote(declared["amount"]), quote(declared["currency"])
    versions = {"event_timestamp", "known_from", "known_until"}
    require({*versions, key, declared["amount"], declared["currency"]}, columns(connection, source), source, "[value]")
    statement = f"""
        SELECT {quote(key)}, event_timestamp, {amount} AS amount, {currency} AS currency
        FROM {relation(source)}
        WHERE event_timestamp < $at AND (known_from IS NULL OR known_from <= $at)
            AND (known_until IS NULL OR known_until > $at)
            AND {quote(key)} IS NOT NULL AND {amount} > 0 AND ({declared.get("where") or "true"})
        ORDER BY ALL
    """
    return connection.execute(statement, {"at": at}).to_arrow_table()
