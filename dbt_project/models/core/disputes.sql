{{ config(unique_key="dispute_id", meta={"key": "dispute_id"}) }}

with

-- The opening is the fact that windows and labels count, features.dispute_events; only where none was told, what the object says,
-- and no later than its first event.
versions as (
    select
        * exclude (disputed_at),
        coalesce(
            max(event_timestamp) filter (where type = 'charge.dispute.created') over of_dispute,
            least(min(disputed_at) over of_dispute, min(event_timestamp) over of_dispute)
        ) as disputed_at,
        bool_or(type = 'charge.dispute.created') over of_dispute as is_opening_told
    from {{ touched("int_disputes") }}
    where known_until is null
    window of_dispute as (partition by dispute_id)
),

latest as (
    select *
    from versions
    qualify row_number() over (
        partition by dispute_id order by event_timestamp desc, known_from desc, {{ tie_break() }}
    ) = 1
),

final as (
    select
        dispute_id,
        charge_id,
        consumer_id,
        disputed_at,
        is_opening_told,
        charged_at,
        amount,
        currency,
        reason,
        status,
        event_timestamp as status_since
    from latest
)

select * from final
