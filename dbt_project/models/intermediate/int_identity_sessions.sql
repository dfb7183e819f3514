{{ config(unique_key="session_id", meta={"key": "session_id"}) }}

{#- One row per identity check, with what its attempts came to. -#}
with

events as (
    select *, row(event_timestamp, known_from, event_id) as place
    from {{ touched("verification_events") }}
    where known_until is null and session_id is not null
),

attempts as (
    select
        session_id,
        count(*) as attempt_count,
        bool_or(passed and attempt_number = 1) as first_attempt_passed,
        min(decided_at) filter (where passed) as verified_at
    from {{ touched("int_identity_attempts") }}
    group by session_id
),

sessions as (
    select
        session_id,
        arg_max(consumer_id, place) as consumer_id,
        {{ begun_at("type = 'identity.verification_session.created'", "created_at") }} as started_at,
        coalesce(arg_max(document_country, place), 'unknown') as document_country,
        coalesce(arg_max(document_type, place), 'unknown') as document_type,
        bool_or(type = 'identity.verification_session.canceled') as canceled
    from events
    group by session_id
),

final as (
    select
        sessions.session_id,
        sessions.consumer_id,
        sessions.started_at,
        {{ reporting_month("sessions.started_at") }} as started_month,
        sessions.document_country,
        sessions.document_type,
        sessions.canceled,
        coalesce(attempts.attempt_count, 0) as attempt_count,
        coalesce(attempts.first_attempt_passed, false) as first_attempt_passed,
        attempts.verified_at
    from sessions
    left join attempts on attempts.session_id = sessions.session_id
)

select * from final
