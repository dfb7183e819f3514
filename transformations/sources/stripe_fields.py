"""
What is kept of each Stripe object (docs/events.md), as a table: the field's path, what it is, where it goes.

A path not listed is dropped. Personal fields become keyed hashes. `mutable` marks what Stripe changes after an
object's creation: an export of objects holds today's value of it, which must not be told as history.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lifecycle.pipeline.intake import moments, privacy
from lifecycle.pipeline.intake.adapter import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Tokenise = Callable[[str, str], str]
    Record = dict[str, Any]

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
EARLIEST, LATEST = moments.EARLIEST // moments.SECOND, moments.LATEST // moments.SECOND
ABSENT: Any = object()


@dataclass(frozen=True)
class Keep:
    """One kept field: its path in the object, its kind, the path it goes to, and whether it changes later."""

    path: str
    kind: str
    to: str
    mutable: bool = False


def _keep(text: str) -> tuple[Keep, ...]:
    """Read lines of `path kind [-> to] [mutable]`."""
    kept = []
    for line in text.strip().splitlines():
        words = line.split()
        to = words[words.index("->") + 1] if "->" in words else words[0]
        kept.append(Keep(words[0], words[1], to, mutable=words[-1] == "mutable"))
    return tuple(kept)


_CARD = """
{0}.brand text -> card.brand
{0}.country text -> card.country
{0}.exp_month int -> card.exp_month mutable
{0}.exp_year int -> card.exp_year mutable
{0}.funding text -> card.funding
{0}.fingerprint fingerprint -> card.fingerprint"""

OBJECTS: dict[str, tuple[Keep, ...]] = {
    "customer": _keep("""
        id id
        created time
        currency text mutable
        delinquent bool mutable
        address.country text -> country mutable
        email email mutable
        phone phone mutable
        name name mutable"""),
    "payment_method": _keep(
        """
        id id
        created time
        customer ref
        type text"""
        + _CARD.format("card")
    ),
    "payment_intent": _keep("""
        id id
        created time
        amount money mutable
        currency text
        customer ref
        status text mutable
        payment_method ref mutable
        last_payment_error.code text mutable
        last_payment_error.decline_code text mutable"""),
    "charge": _keep("""
        id id
        created time
        amount money
        amount_refunded money mutable
        currency text
        customer ref
        status text
        paid bool
        captured bool mutable
        payment_intent ref
        payment_method ref
        failure_code text
        outcome.type text
        outcome.risk_level text
        outcome.risk_score int
        outcome.network_status text
        outcome.reason text
        transfer_data.destination ref -> merchant
        metadata.device text -> device mutable
        metadata.category text -> category mutable
        metadata.ip ip -> ip mutable
        metadata.ip_country text -> ip_country mutable
        payment_method_details.card.brand text -> card.brand
        payment_method_details.card.country text -> card.country
        payment_method_details.card.funding text -> card.funding
        payment_method_details.card.fingerprint fingerprint -> card.fingerprint
        billing_details.address.country text -> billing_country"""),
    "refund": _keep("""
        id id
        created time
        charge ref
        amount money
        currency text
        status text mutable
        reason text"""),
    "dispute": _keep("""
        id id
        created time
        charge ref
        payment_intent ref
        amount money
        currency text
        reason text
        status text mutable
        is_charge_refundable bool mutable"""),
    "radar.early_fraud_warning": _keep("""
        id id
        created time
        charge ref
        payment_intent ref
        fraud_type text
        actionable bool mutable"""),
    "review": _keep("""
        id id
        created time
        charge ref
        payment_intent ref
        open bool mutable
        reason text mutable
        opened_reason text
        closed_reason text mutable"""),
    "identity.verification_session": _keep("""
        id id
        created time
        related_customer ref
        client_reference_id text
        type text
        status text mutable
        last_error.code text mutable
        metadata.document_type text -> document_type mutable
        metadata.country text -> country mutable"""),
    "link.session": _keep("""
        id id
        created time
        customer ref
        status text
        auth_method text
        merchant ref
        device.id text
        device.type text
        device.os text
        ip ip
        ip_country text"""),
    "credit.application": _keep("""
        id id
        created time
        customer ref
        status text
        amount_requested money
        currency text
        term_months int
        decline_reason text"""),
    "credit.account": _keep("""
        id id
        created time
        customer ref
        application ref
        status text
        days_past_due int
        credit_limit money
        balance signed
        currency text"""),
    "credit.statement": _keep("""
        id id
        created time
        credit_account ref
        customer ref
        period_start time
        period_end time
        due_date time
        balance signed
        minimum_due money
        currency text"""),
    "credit.payment": _keep("""
        id id
        created time
        credit_account ref
        customer ref
        statement ref
        amount money
        currency text
        status text
        failure_code text"""),
}

TYPES: dict[str, str] = {
    f"{family}.{happening}": kept
    for family, kept, happenings in (
        ("customer", "customer", "created updated deleted"),
        ("payment_method", "payment_method", "attached updated automatically_updated detached"),
        ("charge", "charge", "pending succeeded failed captured updated expired refunded"),
        ("charge.refund", "refund", "updated"),
        ("charge.dispute", "dispute", "created updated closed funds_withdrawn funds_reinstated"),
        ("radar.early_fraud_warning", "radar.early_fraud_warning", "created updated"),
        ("review", "review", "opened closed"),
        (
            "identity.verification_session",
            "identity.verification_session",
            "created processing requires_input verified canceled redacted",
        ),
        ("link.session", "link.session", "created authenticated failed closed"),
        ("credit.application", "credit.application", "submitted approved declined canceled"),
        ("credit.account", "credit.account", "opened updated charged_off closed"),
        ("credit.statement", "credit.statement", "issued"),
        ("credit.payment", "credit.payment", "succeeded failed returned"),
    )
    for happening in happenings.split()
}


def object_of(kind: str) -> str | None:
    """Return the object that events of a type describe, or None for a type that is not kept."""
    if kind.startswith("payment_intent."):
        return "payment_intent"
    return TYPES.get(kind)


def text(value: Any, path: str) -> str:
    """Take a text."""
    if type(value) is not str:
        raise Rejected("bad_field", f"{path} is no text")
    return value


def identifier(value: Any, path: str) -> str:
    """Take an id: a text that is not empty."""
    if type(value) is not str or not value:
        raise Rejected("bad_field", f"{path} is no id")
    return value


def reference(value: Any, path: str) -> str:
    """Take an id, or the id of an expanded object."""
    return identifier(value.get("id") if type(value) is dict else value, path)


def boolean(value: Any, path: str) -> bool:
    """Take true or false."""
    if type(value) is not bool:
        raise Rejected("bad_field", f"{path} is neither true nor false")
    return value


def integer(value: Any, path: str) -> int:
    """Take a whole number that fits 64 bits."""
    if type(value) is not int:
        raise Rejected("bad_field", f"{path} is no whole number")
    if not INT64_MIN <= value <= INT64_MAX:
        raise Rejected("overflow", f"{path} does not fit 64 bits")
    return value


def money(value: Any, path: str) -> int:
    """Take an amount in minor units: a whole number, not negative."""
    amount = integer(value, path)
    if amount < 0:
        raise Rejected("negative_amount", f"{path} is negative")
    return amount


def unix(value: Any, path: str) -> Any:
    """Take Unix seconds, whole or fractional, of the years 1 to 9999."""
    if type(value) is not int and type(value) is not Decimal:
        raise Rejected("bad_time", f"{path} is no number of Unix seconds")
    if not EARLIEST <= value <= LATEST:
        raise Rejected("bad_time", f"{path} is outside the years 1 to 9999; is it in milliseconds?")
    return value


PLAIN: dict[str, Callable[[Any, str], Any]] = {
    "id": identifier, "text": text, "ref": reference, "bool": boolean, "int": integer, "money": money,
    "signed": integer, "time": unix,
}  # fmt: skip


def _email(value: str, tokenise: Tokenise) -> Iterable[tuple[str, Any]]:
    normalised, domain = privacy.email_normalised(value)
    yield "_hash", tokenise("email", privacy.email(value))
    yield "_normalised_hash", tokenise("email_normalised", normalised)
    yield "_domain", domain


def _ip(value: str, tokenise: Tokenise) -> Iterable[tuple[str, Any]]:
    address, network = privacy.ip(value)
    yield "_hash", tokenise("ip", address)
    yield "_prefix_hash", None if network is None else tokenise("ip_prefix", network)


PERSONAL: dict[str, tuple[tuple[str, ...], Callable[[str, Tokenise], Iterable[tuple[str, Any]]]]] = {
    "email": (("_hash", "_normalised_hash", "_domain"), _email),
    "phone": (("_hash",), lambda value, tokenise: (("_hash", tokenise("phone", privacy.phone(value))),)),
    "name": (("_hash",), lambda value, tokenise: (("_hash", tokenise("name", privacy.name(value))),)),
    "ip": (("_hash", "_prefix_hash"), _ip),
    "fingerprint": (("_hash",), lambda value, tokenise: (("_hash", tokenise("fingerprint", value)),)),
}
"""Kind → the endings of the names that stand for a personal field, and what computes them."""


def personal(value: Any, kind: str, path: str, tokenise: Tokenise) -> Iterable[tuple[str, Any]]:
    """Yield (ending, value) of what stands for a personal field; an empty text counts as none."""
    endings, compute = PERSONAL[kind]
    if value is None or value == "":
        return tuple((ending, None) for ending in endings)
    return compute(text(value, path), tokenise)


class Keeper:
    """
    Keeps the listed fields of objects, in the table's order, so that equal facts give equal bytes.

    immutable_only: leaves out the mutable fields and counts those that were there.
    """

    def __init__(self, tokenise: Tokenise, *, immutable_only: bool = False) -> None:
        self._tokenise = tokenise
        self._immutable_only = immutable_only
        self._plans = {name: [_plan(one) for one in kept] for name, kept in OBJECTS.items()}
        self.dropped = 0

    def keep(self, kept: str, record: Record, where: str) -> Record:
        """Return what is kept of an object; `where` is its path in the record, for rejections."""
        result: Record = {}
        for parents, leaf, path, check, kind, head, to, mutable in self._plans[kept]:
            inner = record
            for parent in parents:
                inner = inner.get(parent)  # type: ignore[assignment]
                if type(inner) is not dict:
                    if inner is not None:
                        raise Rejected("bad_field", f"{where}.{parent} is no object")
                    break
            else:
                value = inner.get(leaf, ABSENT)
                if value is ABSENT:
                    continue
                if mutable and self._immutable_only:
                    self.dropped += 1
                    continue
                target = result
                for one in head:
                    target = target.setdefault(one, {})
                if check is None:
                    for ending, stand_in in personal(value, kind, f"{where}.{path}", self._tokenise):
                        target[to + ending] = stand_in
                else:
                    target[to] = None if value is None else check(value, f"{where}.{path}")
        return result


def _plan(one: Keep) -> tuple[Any, ...]:
    *parents, leaf = one.path.split(".")
    *head, to = one.to.split(".")
    return parents, leaf, one.path, PLAIN.get(one.kind), one.kind, head, to, one.mutable
