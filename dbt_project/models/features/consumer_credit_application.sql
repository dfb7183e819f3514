{{ config(
    unique_key=["consumer_id", "event_timestamp", "known_at", "event_id", "content_hash"],
    meta={"key": "consumer_id"},
) }}

with

applications as (
    select
        consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        status as application_status,
        amount_requested,
        term_months,
        event_timestamp as application_at
    from {{ touched("credit_application_events") }}
),

final as (
    {{ as_states("applications", "consumer_id", [
        "application_status", "amount_requested", "term_months", "application_at",
    ]) | indent(4) }}
)

select * from final
