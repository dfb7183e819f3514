{{ config(
    unique_key=["payment_method_id", "event_timestamp", "known_at", "event_id", "content_hash"],
    meta={"key": "payment_method_id"},
) }}

with

payment_methods as (
    select
        payment_method_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        card_brand,
        card_country,
        card_funding,
        card_exp_year,
        card_fingerprint_hash,
        case when type <> 'payment_method.detached' then customer_id end as attached_consumer_id
    from {{ touched("stg_payment_methods") }}
    where {{ in_force() }}
),

final as (
    {{ as_states("payment_methods", "payment_method_id", [
        "card_brand", "card_country", "card_funding", "card_exp_year", "card_fingerprint_hash",
        "attached_consumer_id",
    ]) | indent(4) }}
)

select * from final
