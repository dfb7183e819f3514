{{ config(unique_key=["event_id", "content_hash", "known_from"], meta={"rows_of": "stg_credit_statements"}) }}

with

versions as (
    select *
    from {{ touched("stg_credit_statements") }}
    where {{ in_force() }}
),

final as (
    select
        credit_statement_id as statement_id,
        credit_account_id,
        customer_id as consumer_id,
        due_at,
        balance,
        minimum_due,
        currency,
        event_timestamp, known_from, known_until, sequence, event_id, content_hash
    from versions
)

select * from final
