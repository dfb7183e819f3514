{{ config(unique_key=["started_month", "document_country", "document_type", "error_code"]) }}

with

sessions as (
    select * from {{ ref("int_identity_sessions") }}
),

failures as (
    select *
    from {{ ref("int_identity_attempts") }}
    where not passed
),

final as (
    select
        sessions.started_month,
        sessions.document_country,
        sessions.document_type,
        failures.error_code,
        count(*) as failed_attempts,
        count(*) filter (where failures.attempt_number = 1) as failed_first_attempts,
        count(*) filter (where sessions.verified_at > failures.decided_at) as recovered_attempts
    from failures
    inner join sessions on sessions.session_id = failures.session_id
    group by all
)

select * from final
