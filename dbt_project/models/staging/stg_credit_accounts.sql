{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "customer": "VARCHAR",
    "application": "VARCHAR",
    "status": "VARCHAR",
    "days_past_due": "BIGINT",
    "credit_limit": "BIGINT",
    "balance": "BIGINT",
    "currency": "VARCHAR"
} -%}

with

versions as (
    {{ event_versions("starts_with(type, 'credit.account.')", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as credit_account_id,
        object.customer as customer_id,
        object.application as credit_application_id,
        {{ unix_time('object.created') }} as created_at,
        object.status,
        object.days_past_due,
        object.credit_limit,
        object.balance,
        object.currency
    from versions
)

select * from final
