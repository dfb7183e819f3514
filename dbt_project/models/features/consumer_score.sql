{{ config(unique_key=["consumer_id", "event_timestamp", "known_at", "event_id", "content_hash"]) }}

with

scores as (
    select
        customer_id as consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        score_model,
        currency as value_currency,
        horizon_days,
        purchase_days,
        cast(p_alive as double) as p_alive,
        cast(expected_purchases as double) as expected_purchases,
        expected_amount,
        expected_value,
        event_timestamp as scored_at
    from {{ ref("stg_consumer_scores") }}
    where not retracted
),

final as (
    {{ as_states("scores", "consumer_id", [
        "score_model", "value_currency", "horizon_days", "purchase_days", "p_alive", "expected_purchases",
        "expected_amount", "expected_value", "scored_at",
    ]) | indent(4) }}
)

select * from final
