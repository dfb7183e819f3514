{{ config(unique_key=["charged_month", "currency"], meta={"key": "charged_month"}) }}

{#- Succeeded card charges of a month: what dispute rates are shares of. Retail invoices cannot be disputed. -#}
with

charges as (
    select charged_month, currency, amount
    from {{ touched("charges") }}
    where first_status = 'succeeded' and line_count is null and currency is not null
),

final as (
    select
        charged_month,
        currency,
        count(*) as charge_count,
        cast(sum(amount) as bigint) as charge_amount
    from charges
    group by charged_month, currency
)

select * from final
