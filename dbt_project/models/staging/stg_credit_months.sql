{%- set object = {
    "account": "VARCHAR",
    "customer": "VARCHAR",
    "month": "VARCHAR",
    "opened_month": "VARCHAR",
    "cycles_past_due": "BIGINT",
    "status": "VARCHAR",
    "balance": "BIGINT",
    "credit_limit": "BIGINT",
    "currency": "VARCHAR",
    "defaults_next_month": "BOOLEAN"
} -%}

with

versions as (
    {{ event_versions("type = 'credit.month'", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.account as credit_account_id,
        object.customer as customer_id,
        cast(object.month || '-01' as date) as month,
        cast(object.opened_month || '-01' as date) as opened_month,
        object.cycles_past_due,
        object.status,
        object.balance,
        object.credit_limit,
        object.currency,
        object.defaults_next_month
    from versions
)

select * from final
