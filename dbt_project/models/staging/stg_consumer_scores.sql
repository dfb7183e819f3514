{%- set object = {
    "customer": "VARCHAR",
    "model": "VARCHAR",
    "currency": "VARCHAR",
    "horizon_days": "BIGINT",
    "purchases": "BIGINT",
    "p_alive": "DECIMAL(9,6)",
    "expected_purchases": "DECIMAL(18,4)",
    "expected_amount": "BIGINT",
    "value": "BIGINT"
} -%}

with

versions as (
    {{ event_versions("type = 'consumer.scored'", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.customer as customer_id,
        object.model as score_model,
        object.currency,
        object.horizon_days,
        object.purchases as purchase_days,
        object.p_alive,
        object.expected_purchases,
        object.expected_amount,
        object.value as expected_value
    from versions
)

select * from final
