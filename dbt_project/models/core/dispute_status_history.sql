{{ config(unique_key=["dispute_id", "status_since"], meta={"key": "dispute_id"}) }}

with

-- Several events of one moment: the last of them is what the dispute was from then on.
moments as (
    select *
    from {{ touched("int_disputes") }}
    where known_until is null and status is not null
    qualify row_number() over (
        partition by dispute_id, event_timestamp order by known_from desc, {{ tie_break() }}
    ) = 1
),

steps as (
    select *
    from moments
    qualify status is distinct from lag(status) over (partition by dispute_id order by event_timestamp)
),

final as (
    select
        dispute_id,
        charge_id,
        status,
        event_timestamp as status_since,
        lead(event_timestamp) over (partition by dispute_id order by event_timestamp) as status_until,
        known_from as known_at
    from steps
)

select * from final
