{{ config(unique_key=["refund_id", "known_from"]) }}

with

tellings as (
    select * from {{ ref("int_refunds") }}
),

facts as (
    {{ as_facts("tellings") | indent(4) }}
),

final as (
    select
        refund_id, charge_id, consumer_id, amount, currency, reason,
        event_timestamp, known_from, known_until, sequence, event_id, content_hash
    from facts
)

select * from final
