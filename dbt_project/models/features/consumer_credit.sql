{{ config(
    unique_key=["consumer_id", "event_timestamp", "known_at", "event_id", "content_hash"],
    meta={"key": "consumer_id"},
) }}

with

accounts as (
    select
        consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        status as credit_status,
        days_past_due,
        credit_limit,
        balance,
        currency as credit_currency
    from {{ touched("credit_account_events") }}
),

final as (
    {{ as_states("accounts", "consumer_id", [
        "credit_status", "days_past_due", "credit_limit", "balance", "credit_currency",
    ]) | indent(4) }}
)

select * from final
