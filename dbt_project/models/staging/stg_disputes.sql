{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "charge": "VARCHAR",
    "payment_intent": "VARCHAR",
    "amount": "BIGINT",
    "currency": "VARCHAR",
    "reason": "VARCHAR",
    "status": "VARCHAR",
    "is_charge_refundable": "BOOLEAN"
} -%}

with

versions as (
    {{ event_versions("starts_with(type, 'charge.dispute.')", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as dispute_id,
        object.charge as charge_id,
        object.payment_intent as payment_intent_id,
        {{ unix_time('object.created') }} as created_at,
        object.amount,
        object.currency,
        object.reason,
        object.status,
        object.is_charge_refundable
    from versions
)

select * from final
