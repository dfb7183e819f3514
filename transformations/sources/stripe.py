"""
Stripe events, one JSON object a line, bare or as `{"received_at": ..., "event": {...}}` (docs/events.md).

The platform's own types (`link.session.*`, `credit.*`) come in the same form and may add `revision` and
`retracted` beside `id`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from lifecycle.errors import UsageError
from lifecycle.pipeline.intake import moments
from lifecycle.pipeline.intake.adapter import PLACE, Collector, Context, Converted, Rejected, Source
from transformations.sources.stripe_fields import Keeper, boolean, identifier, integer, object_of, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    Record = dict[str, Any]

VERIFICATION = "identity.verification_session"
_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def convert(chunk: pa.Table, context: Context) -> Converted:
    """Turn lines into events."""
    gathered = Collector()
    keeper = Keeper(context.tokenise)
    test_mode = bool(context.options.get("test_mode", False))
    account = context.options.get("account")
    for place, line in zip(chunk[PLACE].to_pylist(), chunk["line"].to_pylist(), strict=True):
        try:
            event, received_at = unwrap(decode(line))
            refuse_test_mode(event, admit=test_mode)
            kind = required(event, "type")
            payload = _payload(event, kind, account, keeper)
            gathered.accept(
                place,
                identifier(required(event, "id"), "id"),
                kind,
                moments.from_unix(required(event, "created"), "created"),
                payload,
                revision=_optional(event, "revision", integer),
                retracted=_optional(event, "retracted", boolean) or False,
                received_at=received_at,
            )
        except Rejected as verdict:
            gathered.reject(place, verdict)
    return gathered.converted()


def decode(line: str) -> Record:
    """Read a line as a JSON object."""
    try:
        record = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError) as error:
        raise Rejected("not_json", "the line is not JSON") from error
    if type(record) is not dict:
        raise Rejected("not_an_object", "the line is JSON but no object")
    return record


def encode(payload: Record) -> str:
    """Write a payload as JSON text."""
    return _ENCODER.encode(payload).decode()


def unwrap(record: Record) -> tuple[Record, int | None]:
    """Return the event and, where the line is wrapped, its receipt time in microseconds."""
    if "received_at" not in record:
        return record, None
    event, received_at = record.get("event"), record["received_at"]
    if type(event) is not dict:
        raise Rejected("missing_field", "the line has received_at but no event")
    if type(received_at) is str:
        return event, moments.from_iso(received_at, "received_at")
    return event, moments.from_unix(received_at, "received_at")


def refuse_test_mode(record: Record, *, admit: bool) -> None:
    """Reject what was made with test keys, unless the source admits it."""
    live = record.get("livemode")
    if live is False and not admit:
        raise Rejected("test_mode", "livemode is false; test_mode = true in lifecycle.toml takes such records in")
    if live is not None and type(live) is not bool:
        raise Rejected("bad_field", "livemode is neither true nor false")


def check(options: Mapping[str, Any]) -> None:
    """Refuse options that cannot work."""
    if not isinstance(options.get("test_mode", False), bool):
        raise UsageError(f"test_mode is {options['test_mode']!r}; it must be true or false.")
    if not isinstance(options.get("account", ""), str):
        raise UsageError(f"account is {options['account']!r}; it must be a Stripe account id such as 'acct_1'.")


def _payload(event: Record, kind: Any, account: str | None, keeper: Keeper) -> str:
    kept = object_of(kind) if type(kind) is str else None
    if kept is None:
        raise Rejected("unknown_type", "type is none that this source keeps; docs/events.md lists them")
    data = event.get("data")
    record = data.get("object") if type(data) is dict else None
    if type(record) is not dict:
        raise Rejected("missing_field", "data.object is missing")
    if record.get("object", kept) != kept:
        raise Rejected("wrong_object", f"data.object is no {kept}, which the event's type says it is")
    required(record, "id", "data.object.")
    payload = head(event, account)
    payload["object"] = keeper.keep(kept, record, "data.object")
    if kept == VERIFICATION:
        payload["object"]["customer"] = owner(payload["object"])
    previous = data.get("previous_attributes")
    if previous:
        if type(previous) is not dict:
            raise Rejected("bad_field", "data.previous_attributes is no object")
        payload["previous"] = keeper.keep(kept, previous, "data.previous_attributes")
    return encode(payload)


def required(record: Record, name: str, within: str = "") -> Any:
    """Return a field that a record cannot do without."""
    value = record.get(name)
    if value is None:
        raise Rejected("missing_field", f"{within}{name} is missing")
    return value


def head(record: Record, account: str | None) -> Record:
    """Begin a payload: the account (the source's own where the record names none), API version and mode."""
    kept = {
        "account": record.get("account") or account,
        "api_version": record.get("api_version"),
        "livemode": record.get("livemode"),
    }
    return {
        name: value if name == "livemode" else text(value, name) for name, value in kept.items() if value is not None
    }


def owner(session: Record) -> str | None:
    """Return whom a verification session belongs to: its customer, else the caller's own reference, else nobody."""
    return session.get("related_customer") or session.get("client_reference_id") or None


def _optional(event: Record, name: str, take: Any) -> Any:
    value = event.get(name)
    return None if value is None else take(value, name)


SOURCE = Source(formats=("ndjson",), convert=convert, check=check)
