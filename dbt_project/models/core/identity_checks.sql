{{ config(unique_key="session_id", meta={"key": "session_id"}) }}

with

events as (
    select *
    from {{ touched("verification_events") }}
    where known_until is null
),

final as (
    select
        session_id,
        arg_max(consumer_id, row(event_timestamp, known_from, event_id)) as consumer_id,
        {{ begun_at("type = 'identity.verification_session.created'", "created_at") }} as started_at,
        arg_max(status, row(event_timestamp, known_from, event_id)) as status,
        max(event_timestamp) as status_since,
        arg_max(verification_type, row(event_timestamp, known_from, event_id)) as verification_type,
        arg_max(error_code, row(event_timestamp, known_from, event_id)) as last_error_code,
        count(*) filter (where error_code is not null) as failed_attempts,
        min(event_timestamp) filter (where status = 'verified') as verified_at
    from events
    group by session_id
)

select * from final
