{{ config(unique_key=["event_id", "content_hash", "known_from"], meta={"rows_of": "stg_credit_payments"}) }}

with

versions as (
    select *
    from {{ touched("stg_credit_payments") }}
    where {{ in_force() }}
),

final as (
    select
        credit_payment_id,
        credit_account_id,
        customer_id as consumer_id,
        credit_statement_id as statement_id,
        status,
        failure_code,
        amount,
        currency,
        event_timestamp, known_from, known_until, sequence, event_id, content_hash
    from versions
)

select * from final
