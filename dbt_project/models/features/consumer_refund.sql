{{ config(
    unique_key=["consumer_id", "event_timestamp", "known_at", "event_id", "content_hash"],
    meta={"key": "consumer_id"},
) }}

with

refunds as (
    select
        consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        amount as last_refund_amount,
        currency as last_refund_currency,
        event_timestamp as last_refund_at
    from {{ touched("refund_events") }}
),

final as (
    {{ as_states("refunds", "consumer_id", [
        "last_refund_amount", "last_refund_currency", "last_refund_at",
    ]) | indent(4) }}
)

select * from final
