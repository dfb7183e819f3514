{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "amount": "BIGINT",
    "amount_refunded": "BIGINT",
    "currency": "VARCHAR",
    "customer": "VARCHAR",
    "status": "VARCHAR",
    "paid": "BOOLEAN",
    "captured": "BOOLEAN",
    "payment_intent": "VARCHAR",
    "payment_method": "VARCHAR",
    "failure_code": "VARCHAR",
    "outcome": {
        "type": "VARCHAR",
        "risk_level": "VARCHAR",
        "risk_score": "BIGINT",
        "network_status": "VARCHAR",
        "reason": "VARCHAR"
    },
    "merchant": "VARCHAR",
    "device": "VARCHAR",
    "category": "VARCHAR",
    "ip_hash": "VARCHAR",
    "ip_prefix_hash": "VARCHAR",
    "ip_country": "VARCHAR",
    "card": {
        "brand": "VARCHAR",
        "country": "VARCHAR",
        "funding": "VARCHAR",
        "fingerprint_hash": "VARCHAR"
    },
    "billing_country": "VARCHAR"
} -%}
{%- set previous = {
    "amount_refunded": "BIGINT"
} -%}

with

versions as (
    {{ event_versions("starts_with(type, 'charge.')
        and not starts_with(type, 'charge.dispute.')
        and not starts_with(type, 'charge.refund.')", object, previous) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as charge_id,
        object.customer as customer_id,
        object.payment_intent as payment_intent_id,
        object.payment_method as payment_method_id,
        {{ unix_time('object.created') }} as created_at,
        object.amount,
        object.amount_refunded,
        previous.amount_refunded as previous_amount_refunded,
        object.currency,
        object.status,
        object.paid,
        object.captured,
        object.failure_code,
        object.outcome.type as outcome_type,
        object.outcome.risk_level as risk_level,
        object.outcome.risk_score as risk_score,
        object.outcome.network_status as network_status,
        object.outcome.reason as outcome_reason,
        object.merchant,
        object.device,
        object.category,
        object.ip_hash,
        object.ip_prefix_hash,
        object.ip_country,
        object.billing_country,
        object.card.brand as card_brand,
        object.card.country as card_country,
        object.card.funding as card_funding,
        object.card.fingerprint_hash as card_fingerprint_hash
    from versions
)

select * from final
