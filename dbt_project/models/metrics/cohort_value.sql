{{ config(unique_key=["grain", "cohort_period", "currency", "age"]) }}

with

sums as (
    select grain, cohort_period, currency, age, sum(amount) as revenue
    from {{ ref("revenue_periods") }}
    where grain in ('week', 'month')
    group by grain, cohort_period, currency, age
),

currencies as (
    select distinct currency from sums
),

final as (
    select
        cohorts.grain,
        cohorts.cohort_period,
        currencies.currency,
        cohorts.age,
        cohorts.period,
        cohorts.is_partial,
        cohorts.cohort_size,
        cast(coalesce(sums.revenue, 0) as bigint) as revenue_so_far,
        case when not cohorts.is_partial then cast(sum(coalesce(sums.revenue, 0)) over by_age as bigint) end
            as cumulative_revenue,
        {{ share("cumulative_revenue", "cohorts.cohort_size") }} as cumulative_revenue_per_consumer
    from {{ ref("retention") }} as cohorts
    cross join currencies
    left join sums
        on sums.grain = cohorts.grain
        and sums.cohort_period = cohorts.cohort_period
        and sums.currency = currencies.currency
        and sums.age = cohorts.age
    where cohorts.grain in ('week', 'month')
    window by_age as (
        partition by cohorts.grain, cohorts.cohort_period, currencies.currency order by cohorts.age
    )
)

select * from final
