{{ config(unique_key=["source", "month", "currency", "from_bucket", "to_bucket"]) }}

with

steps as (
    select * replace (coalesce(currency, 'unknown') as currency)
    from {{ ref("int_credit_months") }}
),

final as (
    {{ roll_rates("steps", ["source", "currency"]) | indent(4) }}
)

select * from final
