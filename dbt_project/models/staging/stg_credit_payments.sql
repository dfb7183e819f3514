{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "credit_account": "VARCHAR",
    "customer": "VARCHAR",
    "statement": "VARCHAR",
    "amount": "BIGINT",
    "currency": "VARCHAR",
    "status": "VARCHAR",
    "failure_code": "VARCHAR"
} -%}

with

versions as (
    {{ event_versions("starts_with(type, 'credit.payment.')", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as credit_payment_id,
        object.credit_account as credit_account_id,
        object.customer as customer_id,
        object.statement as credit_statement_id,
        {{ unix_time('object.created') }} as created_at,
        object.amount,
        object.currency,
        object.status,
        object.failure_code
    from versions
)

select * from final
