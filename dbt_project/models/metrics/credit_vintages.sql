{{ config(unique_key=["source", "cohort_month", "months_on_book"]) }}

with

months as (
    select *, credit_account_id as account
    from {{ ref("int_credit_months") }}
),

final as (
    {{ vintages("months", ["source"]) | indent(4) }}
)

select * from final
