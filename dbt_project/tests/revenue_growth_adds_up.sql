-- Revenue of all periods is all revenue, and each period's predecessor is the period before.
with

growth as (
    select *, lag(revenue, 1, 0) over (partition by grain, currency order by period) as previous_revenue
    from {{ ref("revenue_growth") }}
),

totals as (
    select grain, currency, sum(revenue) as revenue
    from growth
    group by grain, currency
),

truth as (
    select currency, sum(amount) as revenue
    from {{ ref("charges") }}
    where first_status = 'succeeded' and consumer_id is not null
    group by currency
)

select grain, currency, cast(period as varchar) as what
from growth
where revenue_before is distinct from previous_revenue
union all
select totals.grain, currency, 'totals' as what
from totals
full join truth using (currency)
where totals.revenue is distinct from truth.revenue
