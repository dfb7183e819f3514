-- The dormant are last period's active who did not return; new consumers and charges add up to all there are.
with

growth as (
    select *, lag(active_consumers, 1, 0) over (partition by grain order by period) as active_before
    from {{ ref("growth_accounting") }}
),

totals as (
    select grain, sum(new_consumers) as new_consumers, sum(charge_count) as charge_count
    from growth
    group by grain
),

truth as (
    select count(distinct consumer_id) as consumers, count(*) as charge_count
    from {{ ref("charges") }}
    where first_status = 'succeeded' and consumer_id is not null
)

select grain, cast(period as varchar) as what
from growth
where dormant_consumers is distinct from active_before - returning_consumers
union all
select totals.grain, 'totals' as what
from totals
cross join truth
where totals.new_consumers <> truth.consumers or totals.charge_count <> truth.charge_count
