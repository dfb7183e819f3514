{{ config(unique_key=["grain", "period", "currency"]) }}

with

sums as (
    select
        grain,
        period,
        currency,
        sum(amount) as revenue,
        sum(least(amount, previous_amount)) filter (where gap = 1) as retained,
        sum(amount) filter (where gap is null) as new,
        sum(amount) filter (where gap > 1) as resurrected,
        sum(greatest(amount - previous_amount, 0)) filter (where gap = 1) as expansion,
        sum(greatest(previous_amount - amount, 0)) filter (where gap = 1) as contraction,
        sum(amount) filter (where next_gap is null or next_gap > 1) as leaving
    from {{ ref("revenue_periods") }}
    group by grain, period, currency
),

currencies as (
    select distinct currency from sums
),

every_period as (
    select
        periods.grain,
        periods.period,
        currencies.currency,
        periods.is_partial,
        {%- for column in ["revenue", "retained", "new", "resurrected", "expansion", "contraction"] %}
        cast(coalesce(sums.{{ column }}, 0) as bigint) as {{ column }},
        {%- endfor %}
        cast(coalesce(lag(sums.leaving) over in_order, 0) as bigint) as churned,
        cast(coalesce(lag(sums.revenue) over in_order, 0) as bigint) as revenue_before
    from {{ ref("reporting_periods") }} as periods
    cross join currencies
    left join sums
        on sums.grain = periods.grain and sums.period = periods.period and sums.currency = currencies.currency
    window in_order as (partition by periods.grain, currencies.currency order by periods.period)
),

final as (
    select
        grain,
        period,
        currency,
        is_partial,
        revenue,
        revenue_before,
        retained,
        new,
        resurrected,
        expansion,
        contraction,
        churned,
        {{ share("(new + resurrected + expansion)", "(churned + contraction)") }} as quick_ratio,
        {{ share("(churned + contraction)", "revenue_before") }} as gross_churn,
        {{ share("(churned + contraction - resurrected - expansion)", "revenue_before") }} as net_churn
    from every_period
)

select * from final
