{{ config(
    unique_key=["consumer_id", "event_timestamp", "known_at", "event_id", "content_hash"],
    meta={"key": "consumer_id", "key_of": {"stg_customers": "customer_id"}},
) }}

with

customers as (
    select
        customer_id as consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        case type when 'customer.created' then 'signed_up' else 'closed' end as lifecycle_stage
    from {{ touched("stg_customers") }}
    where type in ('customer.created', 'customer.deleted') and {{ in_force() }}
),

checks as (
    select consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash, 'verified' as lifecycle_stage
    from {{ touched("verification_events") }}
    where type = 'identity.verification_session.verified'
),

charges as (
    select consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash, 'active' as lifecycle_stage
    from {{ touched("charge_events") }}
    where status = 'succeeded'
),

versions as (
    select *, event_timestamp as stage_since from customers
    union all by name
    select *, event_timestamp as stage_since from checks
    union all by name
    select *, event_timestamp as stage_since from charges
),

final as (
    {{ as_states("versions", "consumer_id", ["lifecycle_stage", "stage_since"]) | indent(4) }}
)

select * from final
