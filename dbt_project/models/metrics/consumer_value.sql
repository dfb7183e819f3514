{{ config(unique_key=["consumer_id", "currency"], meta={"key": "consumer_id"}) }}

with

charges as (
    select *
    from {{ touched("charges") }}
    where first_status = 'succeeded' and consumer_id is not null
),

final as (
    select
        consumer_id,
        currency,
        count(*) as charge_count,
        count(distinct {{ reporting_day("charged_at") }}) as active_days,
        cast(sum(amount) as bigint) as amount,
        min(charged_at) as first_charge_at,
        max(charged_at) as last_charge_at
    from charges
    group by consumer_id, currency
)

select * from final
