{{ config(
    unique_key=["consumer_id", "event_timestamp", "known_at", "event_id", "content_hash"],
    meta={"key": "consumer_id"},
) }}

with

charges as (
    select
        consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        amount as last_charge_amount,
        currency as last_charge_currency,
        status as last_charge_status,
        failure_code as last_charge_failure_code,
        merchant as last_charge_merchant,
        risk_score as last_charge_risk_score,
        device_id as last_charge_device,
        ip_country as last_charge_ip_country,
        card_country as last_card_country,
        event_timestamp as last_charge_at
    from {{ touched("charge_events") }}
),

final as (
    {{ as_states("charges", "consumer_id", [
        "last_charge_amount", "last_charge_currency", "last_charge_status", "last_charge_failure_code",
        "last_charge_merchant", "last_charge_risk_score", "last_charge_device", "last_charge_ip_country",
        "last_card_country", "last_charge_at",
    ]) | indent(4) }}
)

select * from final
