{{ config(unique_key="charge_id", meta={"key": "charge_id", "key_of": {"int_retail_invoices": "invoice_id"}}) }}

with

charges as (
    select *
    from {{ touched("charge_events") }}
    where known_until is null
),

statuses as (
    {{ current_states(touched("charge_status"), "charge_id") | indent(4) }}
),

invoices as (
    select invoice_id, line_count
    from {{ touched("int_retail_invoices") }}
),

final as (
    select
        charges.charge_id,
        charges.consumer_id,
        charges.event_timestamp as charged_at,
        {{ reporting_month("charges.event_timestamp") }} as charged_month,
        charges.amount,
        charges.currency,
        charges.status as first_status,
        coalesce(statuses.charge_status, charges.status) as status,
        coalesce(statuses.amount_refunded, 0) as amount_refunded,
        statuses.dispute_status,
        coalesce(statuses.fraud_warning, false) as fraud_warning,
        charges.failure_code,
        charges.risk_score,
        charges.merchant,
        charges.category,
        charges.device_id,
        charges.payment_method_id,
        charges.card_country,
        charges.ip_country,
        invoices.line_count
    from charges
    left join statuses on statuses.charge_id = charges.charge_id
    left join invoices on invoices.invoice_id = charges.charge_id
)

select * from final
