{{ config(
    unique_key=["device_id", "event_timestamp", "known_at", "event_id", "content_hash"],
    meta={"key": "device_id"},
) }}

with

sessions as (
    select
        device_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        consumer_id as last_consumer_id,
        status as last_session_status,
        ip_country as last_ip_country,
        event_timestamp as last_session_at
    from {{ touched("session_events") }}
),

final as (
    {{ as_states("sessions", "device_id", [
        "last_consumer_id", "last_session_status", "last_ip_country", "last_session_at",
    ]) | indent(4) }}
)

select * from final
