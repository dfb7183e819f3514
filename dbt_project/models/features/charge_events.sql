{{ config(
    unique_key=["charge_id", "known_from"],
    meta={"key": "charge_id", "key_of": {"int_retail_invoices": "invoice_id"}},
) }}

with

charges as (
    select
        charge_id as fact_id,
        charge_id,
        customer_id as consumer_id,
        device as device_id,
        card_fingerprint_hash as card_hash,
        ip_prefix_hash,
        ip_country,
        merchant,
        category,
        payment_method_id,
        card_country,
        amount,
        currency,
        case type when 'charge.succeeded' then 'succeeded' else 'failed' end as status,
        failure_code,
        risk_score,
        event_timestamp, known_from, known_until, sequence, event_id, content_hash
    from {{ touched("stg_charges") }}
    where type in ('charge.succeeded', 'charge.failed') and {{ in_force() }}
),

invoices as (
    select
        invoice_id as fact_id,
        invoice_id as charge_id,
        consumer_id,
        amount,
        currency,
        'succeeded' as status,
        event_timestamp, known_from, known_until, sequence, event_id, content_hash
    from {{ touched("int_retail_invoices") }}
    where not is_cancellation
),

tellings as (
    select * from charges
    union all by name
    select * from invoices
),

facts as (
    {{ as_facts("tellings") | indent(4) }}
),

final as (
    select
        charge_id, consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        device_id, card_hash, ip_prefix_hash, ip_country, merchant, category, payment_method_id, card_country,
        amount, currency, status, status = 'failed' as failed, failure_code, risk_score
    from facts
)

select * from final
