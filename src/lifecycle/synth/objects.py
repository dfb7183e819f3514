"""Objects as Stripe writes them, and the platform's own: one function for each kind of object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lifecycle.synth import names
from lifecycle.synth.charges import ELEVATED, HIGHEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.synth.draw import Bools, Ints
    from lifecycle.synth.world import World

Shape = tuple[pl.Expr, pl.Expr | None]  # the object (a struct), and what stands behind previous_attributes (JSON)


def _at(values: pl.Series, index: str | pl.Expr) -> pl.Expr:
    return pl.lit(values).gather(pl.col(index) if isinstance(index, str) else index)


def _of(values: Ints | Bools) -> pl.Expr:
    """Return each event's charge's entry of `values`."""
    return _at(pl.Series(values), "charge")


def _whole(milliseconds: str | pl.Expr) -> pl.Expr:
    return (pl.col(milliseconds) if isinstance(milliseconds, str) else milliseconds) // 1_000


def _quoted(name: str, value: str) -> pl.Expr:
    return pl.concat_str(pl.lit(f'"{name}":"'), value, pl.lit('"'))


def _customer(world: World) -> Shape:
    body = pl.struct(
        id="who",
        object=pl.lit("customer"),
        created=_whole(_at(pl.Series(world.people.signup), "owner")),
        currency="currency",
        delinquent="delinquent",
        email="email",
        phone="phone",
        name="name",
        address=pl.struct(country="country"),
        livemode=pl.lit(value=True),
    )
    changed = pl.concat_str(
        *(_quoted(name, f"{name}_before") for name in ("email", "phone", "name")),
        pl.concat_str(pl.lit('"address":{"country":"'), "country_before", pl.lit('"}')),
        separator=",",
        ignore_nulls=True,
    )
    previous = pl.when(pl.col("type") == "customer.updated").then(pl.concat_str(pl.lit("{"), changed, pl.lit("}")))
    return body, previous


def _payment_method(world: World) -> Shape:
    card = {name: _at(world.cards.text[name], "card") for name in world.cards.text.columns}
    body = pl.struct(
        id=card["id"],
        object=pl.lit("payment_method"),
        created=_whole(_at(pl.Series(world.cards.attached), "card")),
        customer=pl.when("attached").then("who"),
        type=pl.lit("card"),
        livemode=pl.lit(value=True),
        card=pl.struct(
            card["brand"],
            card["country"],
            card["exp_month"],
            "exp_year",
            card["funding"],
            card["fingerprint"],
        ),
    )
    renewed = pl.concat_str(pl.lit('{"card":{"exp_year":'), card["exp_year"], pl.lit("}}"))
    gone = pl.concat_str(pl.lit('{"customer":"'), "who", pl.lit('"}'))
    return body, pl.when("renewed").then(renewed).when(~pl.col("attached")).then(gone)


def _payment_intent(world: World) -> Shape:
    charges, bought = world.charges, world.bought
    first = _first_charges(world)
    failed = pl.col("charge").is_not_null()
    body = pl.struct(
        id=_at(charges.intents, "purchase"),
        object=pl.lit("payment_intent"),
        created=_whole(pl.col("begun")),
        amount=_at(pl.Series(bought.amount), "purchase") + pl.col("extra"),
        currency="currency",
        customer="who",
        status="status",
        livemode=pl.lit(value=True),
        payment_method=_at(world.cards.text["id"], _at(pl.Series(charges.card), _at(first, "purchase"))),
        last_payment_error=pl.when(failed).then(
            pl.struct(
                code=_failure(world, place=0, blocked="card_declined"),
                decline_code=_failure(world, place=1, blocked="fraudulent"),
            )
        ),
    )
    return body, None


def _first_charges(world: World) -> pl.Series:
    """Return the first charge of each purchase: charges are in the order of purchases."""
    every = np.arange(len(world.bought.at), dtype=np.int64)
    return pl.Series(np.searchsorted(world.charges.purchase, every))


def _charge(world: World) -> Shape:
    charges, text = world.charges, world.cards.text
    card = _of(charges.card)
    seen = _of(charges.purchase)
    device = _at(world.devices.text["id"], _at(pl.Series(charges.seen.device), seen))
    on_card = [_at(text[name], card).alias(name) for name in ("brand", "country", "funding", "fingerprint")]
    body = pl.struct(
        "amount",
        "captured",
        "currency",
        "status",
        id=_at(charges.ids, "charge"),
        object=pl.lit("charge"),
        amount_refunded="refunded",
        billing_details=pl.struct(address=pl.struct(country=_at(text["country"], card))),
        created=_whole(_of(charges.begun)),
        customer="who",
        failure_code=_failure(world, place=0, blocked="card_declined"),
        livemode=pl.lit(value=True),
        metadata=pl.struct(
            "category",
            device=pl.when(_of(charges.named)).then(device),
            ip=_at(charges.seen.ip, seen),
            ip_country=_at(charges.seen.ip_country, seen),
        ),
        outcome=_outcome(world),
        paid=_of(charges.ok) & (pl.col("status") != "pending"),
        payment_intent=_at(charges.intents, seen),
        payment_method=_at(text["id"], card),
        payment_method_details=pl.struct(card=pl.struct(*on_card), type=pl.lit("card")),
        refunded=pl.col("refunded") >= pl.col("amount"),
        transfer_data=pl.struct(destination=_at(world.merchants.text["id"], _of(charges.merchant))),
    )
    refunded = pl.concat_str(pl.lit('{"amount_refunded":'), "refunded_before", pl.lit("}"))
    captured = pl.when(pl.col("type") == "charge.captured").then(pl.lit('{"captured":false}'))
    return body, pl.coalesce(refunded, captured)


def _outcome(world: World) -> pl.Expr:
    ok, blocked, score = _of(world.charges.ok), _of(world.charges.blocked), pl.col("score")

    def either(if_blocked: str, if_declined: str, otherwise: str) -> pl.Expr:
        declined = pl.when(~ok).then(pl.lit(if_declined)).otherwise(pl.lit(otherwise))
        return pl.when(blocked).then(pl.lit(if_blocked)).otherwise(declined)

    elevated = pl.when(score >= ELEVATED).then(pl.lit("elevated")).otherwise(pl.lit("normal"))
    return pl.struct(
        type=either("blocked", "issuer_declined", "authorized"),
        risk_level=pl.when(score >= HIGHEST).then(pl.lit("highest")).otherwise(elevated),
        risk_score=score,
        reason=_failure(world, place=1, blocked="highest_risk_level"),
        network_status=either("not_sent_to_network", "declined_by_network", "approved_by_network"),
    )


def _failure(world: World, *, place: int, blocked: str) -> pl.Expr:
    """Return a failed charge's failure code (place 0) or decline code (place 1), NULL where it succeeded."""
    declined = _at(pl.Series([str(decline[place]) for decline in names.DECLINES]), _of(world.charges.decline))
    code = pl.when(_of(world.charges.blocked)).then(pl.lit(blocked)).otherwise(declined)
    return pl.when(~_of(world.charges.ok)).then(code)


def _refund(world: World) -> Shape:
    body = pl.struct(
        "id",
        "amount",
        "currency",
        "status",
        "reason",
        object=pl.lit("refund"),
        created=_whole("begun"),
        charge=_at(world.charges.ids, "charge"),
    )
    return body, None


def _dispute(world: World) -> Shape:
    body = pl.struct(
        "id",
        "amount",
        "currency",
        "reason",
        "status",
        *_charge_and_intent(world),
        object=pl.lit("dispute"),
        created=_whole("begun"),
        is_charge_refundable="refundable",
        livemode=pl.lit(value=True),
    )
    return body, pl.concat_str(pl.lit("{"), _quoted("status", "status_before"), pl.lit("}"))


def _warning(world: World) -> Shape:
    body = pl.struct(
        "id",
        "fraud_type",
        "actionable",
        *_charge_and_intent(world),
        object=pl.lit("radar.early_fraud_warning"),
        created=_whole("begun"),
        livemode=pl.lit(value=True),
    )
    return body, pl.when(~pl.col("actionable")).then(pl.lit('{"actionable":true}'))


def _review(world: World) -> Shape:
    body = pl.struct(
        "id",
        "open",
        "reason",
        "opened_reason",
        "closed_reason",
        *_charge_and_intent(world),
        object=pl.lit("review"),
        created=_whole("begun"),
        livemode=pl.lit(value=True),
    )
    return body, None


def _charge_and_intent(world: World) -> list[pl.Expr]:
    intent = _at(world.charges.intents, _of(world.charges.purchase))
    return [_at(world.charges.ids, "charge").alias("charge"), intent.alias("payment_intent")]


def _verification_session(world: World) -> Shape:
    body = pl.struct(
        "id",
        "status",
        object=pl.lit("identity.verification_session"),
        created=_whole("begun"),
        type="kind",
        related_customer=pl.when(pl.col("link") == 0).then("who"),
        client_reference_id=pl.when(pl.col("link") == 1).then("who"),
        last_error=pl.when(pl.col("error").is_not_null()).then(pl.struct(code="error")),
        metadata=pl.struct(document_type="document", country=_at(world.people.text["country"], "owner")),
        livemode=pl.lit(value=True),
    )
    return body, None


def _link_session(world: World) -> Shape:
    device = [_at(world.devices.text[name], "device").alias(name) for name in ("id", "type", "os")]
    body = pl.struct(
        "id",
        "status",
        "ip",
        "ip_country",
        object=pl.lit("link.session"),
        created=_whole("begun"),
        customer="who",
        auth_method="method",
        merchant=_at(world.merchants.text["id"], "merchant"),
        device=pl.struct(*device),
    )
    return body, None


def _credit_application(_world: World) -> Shape:
    body = pl.struct(
        "id",
        "status",
        "currency",
        object=pl.lit("credit.application"),
        created=_whole("begun"),
        customer="who",
        amount_requested="amount",
        term_months="term",
        decline_reason="reason",
    )
    return body, None


def _credit_account(_world: World) -> Shape:
    body = pl.struct(
        "application",
        "status",
        "balance",
        "currency",
        id="account_id",
        object=pl.lit("credit.account"),
        created=_whole("opened"),
        customer="who",
        days_past_due="days",
        credit_limit="limit",
    )
    return body, None


def _credit_statement(_world: World) -> Shape:
    body = pl.struct(
        "id",
        "balance",
        "currency",
        object=pl.lit("credit.statement"),
        created=_whole("created"),
        credit_account="account_id",
        customer="who",
        period_start=_whole("start"),
        period_end=_whole("created"),
        due_date=_whole("due"),
        minimum_due="minimum",
    )
    return body, None


def _credit_payment(_world: World) -> Shape:
    body = pl.struct(
        "id",
        "statement",
        "amount",
        "currency",
        "status",
        object=pl.lit("credit.payment"),
        created=_whole("created"),
        credit_account="account_id",
        customer="who",
        failure_code="failure",
    )
    return body, None


SHAPES: dict[str, Callable[[World], Shape]] = {
    "customer": _customer,
    "payment_method": _payment_method,
    "payment_intent": _payment_intent,
    "charge": _charge,
    "refund": _refund,
    "dispute": _dispute,
    "warning": _warning,
    "review": _review,
    "verification_session": _verification_session,
    "link_session": _link_session,
    "credit_application": _credit_application,
    "credit_account": _credit_account,
    "credit_statement": _credit_statement,
    "credit_payment": _credit_payment,
}
