{{ config(unique_key="month") }}

with

months as (
    select * from {{ ref("consumer_months") }}
),

final as (
    select
        month,
        count(*) filter (where activity = 'new') as new_consumers,
        count(*) filter (where activity = 'retained') as retained_consumers,
        count(*) filter (where activity = 'resurrected') as resurrected_consumers,
        count(*) filter (where activity = 'dormant') as dormant_consumers,
        cast(sum(charge_count) as bigint) as charge_count
    from months
    group by month
)

select * from final
