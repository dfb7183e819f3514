{{ config(unique_key=["consumer_id", "month"]) }}

{#- Zero-priced charges are activity too; see DECISIONS.md. -#}
with

active as (
    select consumer_id, charged_month as month, count(*) as charge_count
    from {{ ref("charges") }}
    where consumer_id is not null and first_status = 'succeeded'
    group by consumer_id, charged_month
),

first_months as (
    select consumer_id, min(month) as cohort_month
    from active
    group by consumer_id
),

last_month as (
    select max(month) as month from active
),

-- Every month from a consumer's first on, so that silence is a row too.
spine as (
    select
        first_months.consumer_id,
        first_months.cohort_month,
        cast(unnest(generate_series(
            first_months.cohort_month::timestamp, last_month.month::timestamp, interval 1 month
        )) as date) as month
    from first_months
    cross join last_month
),

joined as (
    select
        spine.*,
        coalesce(active.charge_count, 0) as charge_count,
        lag(active.charge_count) over (partition by spine.consumer_id order by spine.month) as before
    from spine
    left join active on active.consumer_id = spine.consumer_id and active.month = spine.month
),

final as (
    select
        consumer_id,
        month,
        cohort_month,
        cast(datediff('month', cohort_month, month) as integer) as month_index,
        charge_count,
        case
            when charge_count = 0 then 'dormant'
            when month = cohort_month then 'new'
            when before is not null then 'retained'
            else 'resurrected'
        end as activity
    from joined
)

select * from final
