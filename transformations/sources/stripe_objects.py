"""
List exports of Stripe objects, one a line, for the history that Stripe's events no longer reach (docs/events.md).

Such an export shows objects as they are today. So each becomes the one event of its creation, with the fields that
never change after it; the others are dropped and counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle.pipeline.intake import moments
from lifecycle.pipeline.intake.adapter import PLACE, Collector, Context, Converted, Rejected, Source
from transformations.sources.stripe import (
    VERIFICATION,
    check,
    decode,
    encode,
    head,
    owner,
    refuse_test_mode,
    required,
)
from transformations.sources.stripe_fields import Keeper, identifier

if TYPE_CHECKING:
    import pyarrow as pa

    Record = dict[str, Any]

CREATIONS = {
    "customer": "customer.created",
    "payment_method": "payment_method.attached",
    "payment_intent": "payment_intent.created",
    "refund": "charge.refund.updated",
    "dispute": "charge.dispute.created",
    "radar.early_fraud_warning": "radar.early_fraud_warning.created",
    "review": "review.opened",
    VERIFICATION: f"{VERIFICATION}.created",
}
CHARGES = {"succeeded": "charge.succeeded", "failed": "charge.failed"}
# Today's values beside the kept fields' own, which are dropped without a look; they count as dropped too.
ALSO_MUTABLE = {
    "charge": ("refunded", "disputed", "dispute", "refunds", "amount_captured", "fraud_details"),
    "customer": ("balance", "default_source", "invoice_settings"),
    "payment_intent": ("amount_capturable", "amount_received", "canceled_at", "cancellation_reason"),
    "dispute": ("balance_transactions", "evidence", "evidence_details"),
    VERIFICATION: ("last_verification_report", "verified_outputs"),
}


def convert(chunk: pa.Table, context: Context) -> Converted:
    """Turn objects into the events of their creation."""
    gathered = Collector()
    keeper = Keeper(context.tokenise, immutable_only=True)
    test_mode = bool(context.options.get("test_mode", False))
    account = context.options.get("account")
    for place, line in zip(chunk[PLACE].to_pylist(), chunk["line"].to_pylist(), strict=True):
        try:
            record = decode(line)
            kind = _kind(record)
            refuse_test_mode(record, admit=test_mode)
            event_id = "object:" + identifier(required(record, "id"), "id")
            created = moments.from_unix(required(record, "created"), "created")
            before = keeper.dropped
            payload = head(record, account)
            payload["object"] = keeper.keep(record["object"], record, "object")
        except Rejected as verdict:
            gathered.reject(place, verdict)
            continue
        if record["object"] == VERIFICATION:
            payload["object"]["customer"] = owner(payload["object"])
        gathered.accept(place, event_id, kind, created, encode(payload))
        also = ALSO_MUTABLE.get(record["object"], ())
        gathered.dropped_fields += keeper.dropped - before + sum(name in record for name in also)
    return gathered.converted()


def _kind(record: Record) -> str:
    described = required(record, "object")
    if described == "charge":
        status = required(record, "status")
        if type(status) is not str or status not in CHARGES:
            raise Rejected("not_settled", "the charge has neither succeeded nor failed yet")
        return CHARGES[status]
    if type(described) is not str or described not in CREATIONS:
        raise Rejected("unknown_type", "the object is none that this source keeps; docs/events.md lists them")
    return CREATIONS[described]


SOURCE = Source(formats=("ndjson",), convert=convert, check=check)
