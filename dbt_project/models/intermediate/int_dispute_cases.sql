{{ config(unique_key="dispute_id") }}

{#- One row per dispute: when it was an inquiry, when a dispute, what it came to, and what was charged. -#}
with

disputes as (
    select * from {{ ref("disputes") }}
),

statuses as (
    select
        dispute_id,
        min(status_since) filter (where starts_with(status, 'warning_')) as asked_at,
        min(status_since) filter (where not starts_with(status, 'warning_')) as disputed_at,
        min(status_since) filter (where status in ('won', 'lost', 'prevented', 'charge_refunded')) as closed_at
    from {{ ref("dispute_status_history") }}
    group by dispute_id
),

warnings as (
    select charge_id, min(event_timestamp) as warned_at
    from {{ ref("stg_early_fraud_warnings") }}
    where known_until is null and not retracted and charge_id is not null
    group by charge_id
),

charges as (
    select charge_id, charged_at, charged_month, currency, first_status
    from {{ ref("charges") }}
    where charge_id in (select charge_id from disputes)
),

dated as (
    select
        disputes.*,
        statuses.asked_at,
        -- The opening stands, but for what began as an inquiry: that is a dispute once its status says so.
        case when statuses.asked_at is null then disputes.disputed_at else statuses.disputed_at end as opened_at,
        statuses.closed_at
    from disputes
    left join statuses on statuses.dispute_id = disputes.dispute_id
),

final as (
    select
        dated.dispute_id,
        dated.charge_id,
        dated.reason,
        dated.amount,
        dated.currency,
        dated.asked_at,
        {{ reporting_month("dated.asked_at") }} as asked_month,
        dated.opened_at,
        {{ reporting_month("dated.opened_at") }} as opened_month,
        case
            when dated.opened_at is null then 'inquiry'
            when dated.status in ('won', 'lost', 'prevented') then dated.status
            -- Of older API versions: the charge was refunded, which ends the dispute without a verdict.
            when dated.status = 'charge_refunded' then 'prevented'
            else 'open'
        end as outcome,
        case when dated.status in ('won', 'lost', 'prevented', 'charge_refunded') then dated.closed_at end as closed_at,
        warnings.warned_at,
        charges.charged_at,
        charges.charged_month,
        charges.currency as charge_currency,
        coalesce(charges.first_status = 'succeeded', false) as charge_succeeded
    from dated
    left join warnings on warnings.charge_id = dated.charge_id
    left join charges on charges.charge_id = dated.charge_id
)

select * from final
