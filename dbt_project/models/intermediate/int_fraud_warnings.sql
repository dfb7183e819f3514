{{ config(unique_key=["event_id", "content_hash", "known_from"], meta={"key": "charge_id"}) }}

{#- Early fraud warnings with what was known of their charge: intervals of both, intersected. -#}
with

warnings as (
    select *
    from {{ touched("stg_early_fraud_warnings") }}
    where {{ in_force() }}
),

charges as (
    {{ known_charges("warnings", ["consumer_id", "event_timestamp as charged_at"]) | indent(4) }}
),

final as (
    select
        warnings.early_fraud_warning_id,
        warnings.charge_id,
        charges.consumer_id,
        charges.charged_at,
        warnings.fraud_type,
        warnings.actionable,
        warnings.event_timestamp,
        greatest(warnings.known_from, charges.known_from) as known_from,
        least(warnings.known_until, charges.known_until) as known_until,
        warnings.sequence, warnings.event_id, warnings.content_hash
    from warnings
    inner join charges
        on charges.charge_id is not distinct from warnings.charge_id
        and charges.known_from < coalesce(warnings.known_until, 'infinity')
        and warnings.known_from < coalesce(charges.known_until, 'infinity')
)

select * from final
