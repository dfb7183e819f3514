{{ config(
    unique_key=["event_id", "content_hash", "known_from"],
    meta={"key": "session_id", "key_of": {"stg_verification_sessions": "verification_session_id"}},
) }}

with

-- A list export tells of a session's creation, as the feed does: one fact. Every other event is a fact of its own.
tellings as (
    select
        case type
            when 'identity.verification_session.created' then 'created:' || coalesce(verification_session_id, event_id)
            else 'event:' || event_id
        end as fact_id,
        verification_session_id as session_id,
        customer_id as consumer_id,
        coalesce(status, case type when 'identity.verification_session.created' then 'requires_input' end) as status,
        verification_type,
        error_code,
        document_type,
        document_country,
        type,
        created_at,
        event_timestamp, known_from, known_until, sequence, event_id, content_hash
    from {{ touched("stg_verification_sessions") }}
    where {{ in_force() }}
),

facts as (
    {{ as_facts("tellings") | indent(4) }}
),

final as (
    select * exclude (fact_id) from facts
)

select * from final
