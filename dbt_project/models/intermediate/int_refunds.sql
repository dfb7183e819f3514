{{ config(unique_key=["event_id", "content_hash", "known_from"]) }}

{#- Every telling of a refund, with the charge's consumer where the telling does not carry it. -#}
with

-- A charge's refund is the step of amount_refunded; the object is the charge, so it names the consumer.
steps as (
    select
        'step:' || event_id as fact_id,
        event_id as refund_id,
        charge_id,
        customer_id as consumer_id,
        amount_refunded - coalesce(previous_amount_refunded, 0) as amount,
        currency,
        cast(null as varchar) as reason,
        event_timestamp, known_from, known_until, sequence, event_id, content_hash
    from {{ ref("stg_charges") }}
    where type = 'charge.refunded' and {{ in_force() }}
),

-- The feed's charge.refund.updated tells of a change to a refund that a step told before; a list export's
-- tells of the refund itself.
listed as (
    select *
    from {{ ref("stg_refunds") }}
    where {{ is_exported() }} and {{ in_force() }}
),

-- A list export of days that the feed also covers tells the same refund: the same amount of the same charge, within
-- a day. It then shares the step's fact.
matched as (
    select listed.event_id, listed.content_hash, min(steps.fact_id) as fact_id
    from listed
    inner join steps
        on steps.charge_id = listed.charge_id
        and steps.amount = listed.amount
        and abs(epoch_us(steps.event_timestamp) - epoch_us(listed.event_timestamp)) <= 86400000000
    group by all
),

charges as (
    {{ known_charges("listed", ["consumer_id"]) | indent(4) }}
),

objects as (
    select
        coalesce(matched.fact_id, listed.refund_id) as fact_id,
        listed.refund_id,
        listed.charge_id,
        charges.consumer_id,
        listed.amount,
        listed.currency,
        listed.reason,
        listed.event_timestamp,
        greatest(listed.known_from, charges.known_from) as known_from,
        least(listed.known_until, charges.known_until) as known_until,
        listed.sequence, listed.event_id, listed.content_hash
    from listed
    inner join charges
        on charges.charge_id is not distinct from listed.charge_id
        and charges.known_from < coalesce(listed.known_until, 'infinity')
        and listed.known_from < coalesce(charges.known_until, 'infinity')
    left join matched
        on matched.event_id = listed.event_id and matched.content_hash = listed.content_hash
),

cancellations as (
    select
        invoice_id as fact_id,
        invoice_id as refund_id,
        cast(null as varchar) as charge_id,
        consumer_id,
        -amount as amount,
        currency,
        'cancellation' as reason,
        event_timestamp, known_from, known_until, sequence, event_id, content_hash
    from {{ ref("int_retail_invoices") }}
    where is_cancellation
),

final as (
    select * from steps
    union all by name
    select * from objects
    union all by name
    select * from cancellations
)

select * from final
