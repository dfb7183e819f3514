{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "charge": "VARCHAR",
    "amount": "BIGINT",
    "currency": "VARCHAR",
    "status": "VARCHAR",
    "reason": "VARCHAR"
} -%}

with

versions as (
    {{ event_versions("starts_with(type, 'charge.refund.')", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as refund_id,
        object.charge as charge_id,
        {{ unix_time('object.created') }} as created_at,
        object.amount,
        object.currency,
        object.status,
        object.reason
    from versions
)

select * from final
