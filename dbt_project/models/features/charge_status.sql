{{ config(
    unique_key=["charge_id", "event_timestamp"],
    meta={"key": "charge_id", "key_of": {"int_retail_invoices": "invoice_id"}},
) }}

with

charge_versions as (
    select
        charge_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        coalesce(status, case type when 'charge.succeeded' then 'succeeded' when 'charge.failed' then 'failed' end)
            as charge_status,
        amount as charge_amount,
        currency as charge_currency,
        coalesce(amount_refunded, 0) as amount_refunded
    from {{ touched("stg_charges") }}
    where {{ in_force() }}
    union all
    select
        invoice_id as charge_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        'succeeded' as charge_status,
        amount as charge_amount,
        currency as charge_currency,
        0 as amount_refunded
    from {{ touched("int_retail_invoices") }}
    where not is_cancellation
),

dispute_versions as (
    select
        charge_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        status as dispute_status
    from {{ touched("int_disputes") }}
),

warning_versions as (
    select
        charge_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        true as fraud_warning
    from {{ touched("stg_early_fraud_warnings") }}
    where {{ in_force() }}
),

charge_states as (
    {{ as_states("charge_versions", "charge_id", [
        "charge_status", "charge_amount", "charge_currency", "amount_refunded",
    ]) | indent(4) }}
),

dispute_states as (
    {{ as_states("dispute_versions", "charge_id", ["dispute_status"]) | indent(4) }}
),

warning_states as (
    {{ as_states("warning_versions", "charge_id", ["fraud_warning"]) | indent(4) }}
),

final as (
    {{ as_joint_states("charge_id", {
        "charge_states": ["charge_status", "charge_amount", "charge_currency", "amount_refunded"],
        "dispute_states": ["dispute_status"],
        "warning_states": ["fraud_warning"],
    }) | indent(4) }}
)

select * from final
