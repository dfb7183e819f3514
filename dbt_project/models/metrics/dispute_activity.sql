{{ config(unique_key=["month", "currency"]) }}

with

cases as (
    select * from {{ ref("int_dispute_cases") }}
),

disputes as (
    select
        opened_month as month,
        currency,
        count(*) as dispute_count,
        cast(sum(amount) as bigint) as dispute_amount,
        count(*) filter (where reason = 'fraudulent') as fraud_dispute_count
    from cases
    where opened_month is not null and currency is not null
    group by all
),

inquiries as (
    select
        asked_month as month,
        currency,
        count(*) as inquiry_count,
        count(opened_at) as escalated_inquiries
    from cases
    where asked_month is not null and currency is not null
    group by all
),

charges as (
    select charged_month as month, currency, charge_count, charge_amount
    from {{ ref("int_charge_months") }}
),

observed as (
    select
        {{ observed_until([ref("stg_charges"), ref("stg_disputes")]) | indent(8) }} as observed_until,
        {{ disputes_observed_from() | indent(8) }} as observed_from
),

final as (
    select
        month,
        currency,
        coalesce(charges.charge_count, 0) as charge_count,
        coalesce(charges.charge_amount, 0) as charge_amount,
        coalesce(disputes.dispute_count, 0) as dispute_count,
        coalesce(disputes.dispute_amount, 0) as dispute_amount,
        coalesce(disputes.fraud_dispute_count, 0) as fraud_dispute_count,
        coalesce(inquiries.inquiry_count, 0) as inquiry_count,
        coalesce(inquiries.escalated_inquiries, 0) as escalated_inquiries,
        {{ is_complete("month", 0) }} and {{ is_followed("month") }} as is_complete,
        {{ share("coalesce(disputes.dispute_count, 0)", "charges.charge_count") }} as activity_rate
    from charges
    full join disputes using (month, currency)
    full join inquiries using (month, currency)
    cross join observed
)

select * from final
