{{ config(unique_key=["consumer_id", "grain", "period"], meta={"key": "consumer_id"}) }}

{#- Zero-priced charges are activity too; see DECISIONS.md. -#}
with

days as (
    select consumer_id, {{ reporting_day("charged_at") }} as day, count(*) as charge_count
    from {{ touched("charges") }}
    where first_status = 'succeeded' and consumer_id is not null
    group by all
),

periods as (
    {{ active_periods("days", ["consumer_id"], ["charge_count"]) | indent(4) }}
),

final as (
    select
        consumer_id,
        grain,
        period,
        first_value(period) over in_order as cohort_period,
        cast(number - first_value(number) over in_order as integer) as age,
        gap,
        next_gap,
        charge_count
    from periods
    window in_order as (partition by consumer_id, grain order by number)
)

select * from final
