{{ config(unique_key=["charged_month", "currency", "maturity_days"]) }}

with

-- A charge counts once, at its first dispute.
disputed as (
    select
        charge_id,
        charged_month,
        charge_currency as currency,
        min(epoch_us(opened_at) - epoch_us(charged_at)) as delay_us,
        min(epoch_us(opened_at) - epoch_us(charged_at)) filter (where reason = 'fraudulent') as fraud_delay_us
    from {{ ref("int_dispute_cases") }}
    where opened_at is not null and charge_succeeded
    group by all
),

observed as (
    select
        {{ observed_until([ref("stg_charges"), ref("stg_disputes")]) | indent(8) }} as observed_until,
        {{ disputes_observed_from() | indent(8) }} as observed_from
),

cohorts as (
    select
        charges.*,
        maturities.maturity_days,
        {{ is_complete("charges.charged_month", "maturities.maturity_days") }} and {{ is_followed("charges.charged_month") }} as is_mature
    from {{ ref("int_charge_months") }} as charges
    cross join (select unnest([30, 60, 90, 120]) as maturity_days) as maturities
    cross join observed
),

counts as (
    select
        cohorts.charged_month,
        cohorts.currency,
        cohorts.maturity_days,
        cohorts.is_mature,
        cohorts.charge_count,
        count(disputed.charge_id) filter (
            where disputed.delay_us <= cohorts.maturity_days * 86400000000
        ) as disputed_charges,
        count(disputed.charge_id) filter (
            where disputed.fraud_delay_us <= cohorts.maturity_days * 86400000000
        ) as fraud_disputed_charges
    from cohorts
    left join disputed
        on disputed.charged_month = cohorts.charged_month and disputed.currency = cohorts.currency
    group by all
),

-- What is not mature is not known, and it is not low.
final as (
    select
        charged_month,
        currency,
        maturity_days,
        is_mature,
        charge_count,
        case when is_mature then disputed_charges end as disputed_charges,
        case when is_mature then fraud_disputed_charges end as fraud_disputed_charges,
        case when is_mature then {{ share("disputed_charges", "charge_count") }} end as dispute_rate,
        case when is_mature then {{ share("fraud_disputed_charges", "charge_count") }} end as fraud_dispute_rate
    from counts
)

select * from final
