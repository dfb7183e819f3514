{{ config(unique_key=["event_id", "content_hash", "known_from"], meta={"rows_of": "stg_credit_accounts"}) }}

with

versions as (
    select *
    from {{ touched("stg_credit_accounts") }}
    where {{ in_force() }}
),

final as (
    select
        credit_account_id,
        customer_id as consumer_id,
        credit_application_id as application_id,
        status,
        days_past_due,
        credit_limit,
        balance,
        currency,
        event_timestamp, known_from, known_until, sequence, event_id, content_hash
    from versions
)

select * from final
