{{ config(unique_key=["event_id", "content_hash", "known_from"], meta={"key": "charge_id"}) }}

{#- Dispute versions with what was known of their charge: intervals of both, intersected. -#}
with

disputes as (
    select *
    from {{ touched("stg_disputes") }}
    where {{ in_force() }}
),

charges as (
    {{ known_charges("disputes", ["consumer_id", "event_timestamp as charged_at", "device_id", "card_hash"]) | indent(4) }}
),

final as (
    select
        disputes.dispute_id,
        disputes.charge_id,
        charges.consumer_id,
        charges.device_id,
        charges.card_hash,
        charges.charged_at,
        disputes.type,
        disputes.amount,
        disputes.currency,
        disputes.reason,
        -- An export's objects tell no status, for it changes; the feed's creation without one is of an open dispute.
        case
            when disputes.status is not null or {{ is_exported() }} then disputes.status
            when disputes.type = 'charge.dispute.created' then 'needs_response'
        end as status,
        coalesce(disputes.created_at, disputes.event_timestamp) as disputed_at,
        disputes.event_timestamp,
        greatest(disputes.known_from, charges.known_from) as known_from,
        least(disputes.known_until, charges.known_until) as known_until,
        -- The order of the events stays as it is, and before them all comes an export of the same moment, which tells less.
        case when not {{ is_exported() }} then coalesce(disputes.sequence, -9223372036854775808) end as sequence,
        disputes.event_id, disputes.content_hash
    from disputes
    inner join charges
        on charges.charge_id is not distinct from disputes.charge_id
        and charges.known_from < coalesce(disputes.known_until, 'infinity')
        and disputes.known_from < coalesce(charges.known_until, 'infinity')
)

select * from final
