{{ config(unique_key=["consumer_id", "currency", "grain", "period"], meta={"key": "consumer_id"}) }}

{#- The cohort is the consumer's, whatever the currency; gaps are those of the currency. -#}
with

days as (
    select consumer_id, currency, {{ reporting_day("charged_at") }} as day, sum(amount) as amount
    from {{ touched("charges") }}
    where first_status = 'succeeded' and consumer_id is not null
    group by all
),

periods as (
    {{ active_periods("days", ["consumer_id", "currency"], ["amount"]) | indent(4) }}
),

final as (
    select
        consumer_id,
        currency,
        grain,
        period,
        min(period) over of_consumer as cohort_period,
        cast(number - min(number) over of_consumer as integer) as age,
        gap,
        next_gap,
        amount,
        case when gap = 1 then lag(amount) over in_order else 0 end as previous_amount
    from periods
    window
        of_consumer as (partition by consumer_id, grain),
        in_order as (partition by consumer_id, currency, grain order by number)
)

select * from final
