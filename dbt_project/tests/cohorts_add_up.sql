-- A period's active consumers and revenue are those of all cohorts together; a cohort's size is its period's new consumers.
with

active as (
    select grain, period, sum(active_so_far) as active, sum(cohort_size) filter (where age = 0) as new
    from {{ ref("retention") }}
    where grain <> 'day'
    group by grain, period
),

revenue as (
    select grain, period, currency, sum(revenue_so_far) as revenue
    from {{ ref("cohort_value") }}
    group by grain, period, currency
)

select growth.grain, growth.period
from {{ ref("growth_accounting") }} as growth
left join active on active.grain = growth.grain and active.period = growth.period
where growth.grain <> 'day'
    and (coalesce(active.active, 0) <> growth.active_consumers or coalesce(active.new, 0) <> growth.new_consumers)
union all
select growth.grain, growth.period
from {{ ref("revenue_growth") }} as growth
left join revenue
    on revenue.grain = growth.grain and revenue.period = growth.period and revenue.currency = growth.currency
where growth.grain <> 'day' and coalesce(revenue.revenue, 0) <> growth.revenue
