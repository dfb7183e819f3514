{{ config(unique_key=["grain", "period"]) }}

with

counts as (
    select
        grain,
        period,
        count(*) as active_consumers,
        count(*) filter (where gap is null) as new_consumers,
        count(*) filter (where gap = 1) as returning_consumers,
        count(*) filter (where gap > 1) as resurrecting_consumers,
        count(*) filter (where next_gap is null or next_gap > 1) as leaving_consumers,
        sum(charge_count) as charge_count
    from {{ ref("consumer_periods") }}
    group by grain, period
),

every_period as (
    select
        periods.grain,
        periods.period,
        periods.is_partial,
        {%- for column in [
            "active_consumers", "new_consumers", "returning_consumers", "resurrecting_consumers", "charge_count",
        ] %}
        cast(coalesce(counts.{{ column }}, 0) as bigint) as {{ column }},
        {%- endfor %}
        coalesce(lag(counts.leaving_consumers) over in_order, 0) as dormant_consumers,
        coalesce(lag(counts.active_consumers) over in_order, 0) as active_before,
        cast(coalesce(sum(counts.new_consumers) over in_order, 0) as bigint) as ever_active_consumers
    from {{ ref("reporting_periods") }} as periods
    left join counts on counts.grain = periods.grain and counts.period = periods.period
    window in_order as (partition by periods.grain order by periods.period)
),

final as (
    select
        grain,
        period,
        is_partial,
        active_consumers,
        new_consumers,
        returning_consumers,
        resurrecting_consumers,
        dormant_consumers,
        ever_active_consumers,
        charge_count,
        {{ share("(new_consumers + resurrecting_consumers)", "dormant_consumers") }} as quick_ratio,
        {{ share("dormant_consumers", "active_before") }} as gross_churn,
        {{ share("(dormant_consumers - resurrecting_consumers)", "active_before") }} as net_churn
    from every_period
)

select * from final
