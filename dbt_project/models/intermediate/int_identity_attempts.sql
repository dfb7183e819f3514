{{ config(unique_key=["session_id", "attempt_number"], meta={"key": "session_id"}) }}

{#- One row per attempt of an identity check: a submission that was decided. -#}
with

decisions as (
    select
        session_id,
        event_timestamp as decided_at,
        type = 'identity.verification_session.verified' as passed,
        case when type <> 'identity.verification_session.verified' then error_code end as error_code,
        known_from,
        event_id
    from {{ touched("verification_events") }}
    where known_until is null
        and session_id is not null
        and (
            type = 'identity.verification_session.verified'
            or type = 'identity.verification_session.requires_input' and error_code is not null
        )
),

final as (
    select
        session_id,
        row_number() over (partition by session_id order by decided_at, known_from, event_id) as attempt_number,
        decided_at,
        passed,
        error_code
    from decisions
)

select * from final
