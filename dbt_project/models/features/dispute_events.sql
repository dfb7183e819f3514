{{ config(unique_key=["dispute_id", "known_from"], meta={"key": "dispute_id"}) }}

with

tellings as (
    select
        coalesce(dispute_id, event_id) as fact_id,
        * exclude (type)
    from {{ touched("int_disputes") }}
    where type = 'charge.dispute.created'
),

facts as (
    {{ as_facts("tellings") | indent(4) }}
),

final as (
    select
        dispute_id, charge_id, consumer_id, device_id, card_hash, amount, currency, reason, status, charged_at,
        event_timestamp, known_from, known_until, sequence, event_id, content_hash
    from facts
)

select * from final
