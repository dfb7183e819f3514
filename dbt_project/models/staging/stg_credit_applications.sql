{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "customer": "VARCHAR",
    "status": "VARCHAR",
    "amount_requested": "BIGINT",
    "currency": "VARCHAR",
    "term_months": "BIGINT",
    "decline_reason": "VARCHAR"
} -%}

with

versions as (
    {{ event_versions("starts_with(type, 'credit.application.')", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as credit_application_id,
        object.customer as customer_id,
        {{ unix_time('object.created') }} as created_at,
        object.status,
        object.amount_requested,
        object.currency,
        object.term_months,
        object.decline_reason
    from versions
)

select * from final
