{{ config(
    unique_key=["consumer_id", "event_timestamp", "known_at", "event_id", "content_hash"],
    meta={"key": "consumer_id"},
) }}

with

sessions as (
    select
        consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        status as session_status,
        auth_method,
        device_id,
        device_type,
        device_os,
        ip_country as session_ip_country,
        merchant as session_merchant,
        event_timestamp as session_at
    from {{ touched("session_events") }}
),

final as (
    {{ as_states("sessions", "consumer_id", [
        "session_status", "auth_method", "device_id", "device_type", "device_os", "session_ip_country",
        "session_merchant", "session_at",
    ]) | indent(4) }}
)

select * from final
