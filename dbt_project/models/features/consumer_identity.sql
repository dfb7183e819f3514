{{ config(
    unique_key=["consumer_id", "event_timestamp", "known_at", "event_id", "content_hash"],
    meta={"key": "consumer_id"},
) }}

with

checks as (
    select
        consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        status as verification_status,
        verification_type,
        error_code as verification_error_code,
        document_type,
        document_country,
        event_timestamp as verification_at
    from {{ touched("verification_events") }}
),

final as (
    {{ as_states("checks", "consumer_id", [
        "verification_status", "verification_type", "verification_error_code", "document_type",
        "document_country", "verification_at",
    ]) | indent(4) }}
)

select * from final
