{{ config(unique_key=["warned_month", "currency"]) }}

with

-- A charge is warned of once, however many warnings name it.
warnings as (
    select charge_id, min(event_timestamp) as warned_at
    from {{ ref("stg_early_fraud_warnings") }}
    where known_until is null and not retracted and charge_id is not null
    group by charge_id
),

charges as (
    select charge_id, currency
    from {{ ref("charges") }}
    where charge_id in (select charge_id from warnings)
),

disputes as (
    select charge_id, min(opened_at) as opened_at
    from {{ ref("int_dispute_cases") }}
    where charge_id is not null
    group by charge_id
),

observed as (
    select {{ observed_until([ref("stg_charges"), ref("stg_disputes")]) | indent(4) }} as observed_until
),

joined as (
    select
        {{ reporting_month("warnings.warned_at") }} as warned_month,
        coalesce(charges.currency, 'unknown') as currency,
        warnings.warned_at,
        disputes.opened_at,
        disputes.opened_at > warnings.warned_at as is_ahead
    from warnings
    left join charges on charges.charge_id = warnings.charge_id
    left join disputes on disputes.charge_id = warnings.charge_id
),

final as (
    select
        joined.warned_month,
        joined.currency,
        {{ is_complete("joined.warned_month", 120) }} as is_mature,
        count(*) as warned_charges,
        count(*) filter (where is_ahead) as disputed_after,
        count(*) filter (where not is_ahead) as disputed_before,
        count(*) filter (where opened_at is null) as not_disputed,
        quantile_disc({{ seconds_between("warned_at", "opened_at") }}, 0.5) filter (
            where is_ahead
        ) as median_lead_seconds
    from joined
    cross join observed
    group by all
)

select * from final
