{{ config(unique_key=["event_id", "content_hash", "known_from"], meta={"rows_of": "stg_credit_applications"}) }}

with

versions as (
    select *
    from {{ touched("stg_credit_applications") }}
    where {{ in_force() }}
),

final as (
    select
        credit_application_id as application_id,
        customer_id as consumer_id,
        status,
        amount_requested,
        currency,
        term_months,
        decline_reason,
        event_timestamp, known_from, known_until, sequence, event_id, content_hash
    from versions
)

select * from final
