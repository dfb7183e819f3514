{{ config(unique_key="refund_id") }}

with

refunds as (
    select *
    from {{ ref("refund_events") }}
    where known_until is null
),

final as (
    select
        refund_id,
        charge_id,
        consumer_id,
        event_timestamp as refunded_at,
        {{ reporting_month("event_timestamp") }} as refunded_month,
        amount,
        currency,
        reason
    from refunds
)

select * from final
