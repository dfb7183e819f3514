{{ config(unique_key=["event_id", "content_hash", "known_from"], meta={"rows_of": "stg_link_sessions"}) }}

with

versions as (
    select *
    from {{ touched("stg_link_sessions") }}
    where {{ in_force() }}
),

final as (
    select
        link_session_id as session_id,
        customer_id as consumer_id,
        device_id,
        status,
        auth_method,
        merchant,
        device_type,
        device_os,
        ip_hash,
        ip_prefix_hash,
        ip_country,
        event_timestamp, known_from, known_until, sequence, event_id, content_hash
    from versions
)

select * from final
