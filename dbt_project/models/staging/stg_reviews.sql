{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "charge": "VARCHAR",
    "payment_intent": "VARCHAR",
    "open": "BOOLEAN",
    "reason": "VARCHAR",
    "opened_reason": "VARCHAR",
    "closed_reason": "VARCHAR"
} -%}

with

versions as (
    {{ event_versions("starts_with(type, 'review.')", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as review_id,
        object.charge as charge_id,
        object.payment_intent as payment_intent_id,
        {{ unix_time('object.created') }} as created_at,
        object.open as is_open,
        object.reason,
        object.opened_reason,
        object.closed_reason
    from versions
)

select * from final
