{{ config(unique_key=["opened_month", "currency", "reason"]) }}

with

disputes as (
    select * replace (coalesce(reason, 'unknown') as reason)
    from {{ ref("int_dispute_cases") }}
    where opened_month is not null and currency is not null
),

counts as (
    select
        opened_month,
        currency,
        reason,
        count(*) as dispute_count,
        count(*) filter (where outcome = 'won') as won,
        count(*) filter (where outcome = 'lost') as lost,
        count(*) filter (where outcome = 'prevented') as prevented,
        count(*) filter (where outcome = 'open') as open,
        coalesce(cast(sum(amount) as bigint), 0) as dispute_amount,
        coalesce(cast(sum(amount) filter (where outcome = 'won') as bigint), 0) as won_amount,
        coalesce(cast(sum(amount) filter (where outcome = 'lost') as bigint), 0) as lost_amount,
        count(*) filter (where warned_at < opened_at) as warned_before
    from disputes
    group by opened_month, currency, reason
),

final as (
    select
        *,
        {{ share("won", "(won + lost)") }} as win_rate
    from counts
)

select * from final
