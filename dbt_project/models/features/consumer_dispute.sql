{{ config(
    unique_key=["consumer_id", "event_timestamp", "known_at", "event_id", "content_hash"],
    meta={"key": "consumer_id"},
) }}

with

disputes as (
    select
        consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        amount as last_dispute_amount,
        currency as last_dispute_currency,
        reason as last_dispute_reason,
        status as last_dispute_status,
        disputed_at as last_dispute_at
    from {{ touched("int_disputes") }}
),

final as (
    {{ as_states("disputes", "consumer_id", [
        "last_dispute_amount", "last_dispute_currency", "last_dispute_reason", "last_dispute_status",
        "last_dispute_at",
    ]) | indent(4) }}
)

select * from final
