{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "credit_account": "VARCHAR",
    "customer": "VARCHAR",
    "period_start": "DECIMAL(20,6)",
    "period_end": "DECIMAL(20,6)",
    "due_date": "DECIMAL(20,6)",
    "balance": "BIGINT",
    "minimum_due": "BIGINT",
    "currency": "VARCHAR"
} -%}

with

versions as (
    {{ event_versions("starts_with(type, 'credit.statement.')", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as credit_statement_id,
        object.credit_account as credit_account_id,
        object.customer as customer_id,
        {{ unix_time('object.created') }} as created_at,
        {{ unix_time('object.period_start') }} as period_start,
        {{ unix_time('object.period_end') }} as period_end,
        {{ unix_time('object.due_date') }} as due_at,
        object.balance,
        object.minimum_due,
        object.currency
    from versions
)

select * from final
