{{ config(unique_key="session_id", meta={"key": "session_id"}) }}

with

events as (
    select *
    from {{ touched("session_events") }}
    where known_until is null
),

latest as (
    select *, min(event_timestamp) over (partition by session_id) as started_at
    from events
    qualify row_number() over (
        partition by session_id order by event_timestamp desc, known_from desc, {{ tie_break() }}
    ) = 1
),

final as (
    select
        session_id,
        consumer_id,
        started_at,
        status,
        event_timestamp as status_since,
        auth_method,
        merchant,
        device_id,
        device_type,
        device_os,
        ip_country
    from latest
)

select * from final
