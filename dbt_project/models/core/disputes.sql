{{ config(unique_key="dispute_id", meta={"key": "dispute_id"}) }}

with

versions as (
    select *
    from {{ touched("int_disputes") }}
    where known_until is null
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
        charged_at,
        amount,
        currency,
        reason,
        status,
        event_timestamp as status_since
    from latest
)

select * from final
