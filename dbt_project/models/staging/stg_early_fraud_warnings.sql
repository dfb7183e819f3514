{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "charge": "VARCHAR",
    "payment_intent": "VARCHAR",
    "fraud_type": "VARCHAR",
    "actionable": "BOOLEAN"
} -%}

with

versions as (
    {{ event_versions("starts_with(type, 'radar.early_fraud_warning.')", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as early_fraud_warning_id,
        object.charge as charge_id,
        object.payment_intent as payment_intent_id,
        {{ unix_time('object.created') }} as created_at,
        object.fraud_type,
        object.actionable
    from versions
)

select * from final
