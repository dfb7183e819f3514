{{ config(unique_key=["cohort_month", "month_index"]) }}

with

months as (
    select * from {{ ref("consumer_months") }}
),

final as (
    select
        cohort_month,
        month_index,
        month,
        count(*) as cohort_size,
        count(*) filter (where activity <> 'dormant') as active_consumers
    from months
    group by cohort_month, month_index, month
)

select * from final
