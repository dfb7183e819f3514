{{ config(unique_key=["charged_month", "currency"]) }}

with

-- A dispute whose charge no source told of stands in the month it was opened.
disputes as (
    select
        coalesce(charged_month, opened_month) as charged_month,
        currency,
        count(*) as fraud_disputes,
        coalesce(cast(sum(amount) as bigint), 0) as disputed_amount,
        coalesce(cast(sum(amount) filter (where outcome = 'lost') as bigint), 0) as lost_amount,
        coalesce(cast(sum(amount) filter (
            where outcome = 'lost' and charge_succeeded and charge_currency = currency
        ) as bigint), 0) as lost_charge_amount,
        coalesce(cast(sum(amount) filter (where outcome in ('won', 'prevented')) as bigint), 0) as recovered_amount,
        coalesce(cast(sum(amount) filter (where outcome = 'open') as bigint), 0) as open_amount
    from {{ ref("int_dispute_cases") }}
    where opened_at is not null and reason = 'fraudulent' and currency is not null
    group by all
),

charges as (
    select * from {{ ref("int_charge_months") }}
),

observed as (
    select
        {{ observed_until([ref("stg_charges"), ref("stg_disputes")]) | indent(8) }} as observed_until,
        {{ disputes_observed_from() | indent(8) }} as observed_from
),

joined as (
    select
        charged_month,
        currency,
        {{ is_complete("charged_month", 120) }} and {{ is_followed("charged_month") }} as is_mature,
        coalesce(charges.charge_count, 0) as charge_count,
        coalesce(charges.charge_amount, 0) as charge_amount,
        coalesce(disputes.fraud_disputes, 0) as fraud_disputes,
        coalesce(disputes.disputed_amount, 0) as disputed_amount,
        coalesce(disputes.lost_amount, 0) as lost_amount,
        coalesce(disputes.lost_charge_amount, 0) as lost_charge_amount,
        coalesce(disputes.recovered_amount, 0) as recovered_amount,
        coalesce(disputes.open_amount, 0) as open_amount
    from charges
    full join disputes using (charged_month, currency)
    cross join observed
),

-- Amounts are so far; a rate of what is not mature, or waits for a verdict, would be read as low.
final as (
    select
        *,
        case
            when is_mature and open_amount = 0 then {{ share("lost_charge_amount", "charge_amount") }}
        end as loss_rate
    from joined
)

select * from final
