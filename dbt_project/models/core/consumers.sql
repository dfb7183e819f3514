{{ config(unique_key="consumer_id", meta={"key": "consumer_id", "key_of": {"stg_customers": "customer_id"}}) }}

with

profiles as (
    {{ current_states(touched("consumer_profile"), "consumer_id") | indent(4) }}
),

-- A closing takes the profile away, and the sign-up stays what it was.
sign_ups as (
    select
        customer_id as consumer_id,
        coalesce(min(event_timestamp) filter (where type = 'customer.created'), min(signed_up_at)) as signed_up_at
    from {{ touched("stg_customers") }}
    where known_until is null and not retracted and customer_id is not null
    group by customer_id
),

stages as (
    {{ current_states(touched("consumer_lifecycle"), "consumer_id") | indent(4) }}
),

checks as (
    {{ current_states(touched("consumer_identity"), "consumer_id") | indent(4) }}
),

charges as (
    select
        consumer_id,
        count(*) filter (where status = 'succeeded') as charge_count,
        min(event_timestamp) filter (where status = 'succeeded') as first_charge_at,
        max(event_timestamp) filter (where status = 'succeeded') as last_charge_at
    from {{ touched("charge_events") }}
    where known_until is null and consumer_id is not null
    group by consumer_id
),

-- A consumer exists as soon as anything names them, whether or not their sign-up was taken in.
named as (
    select consumer_id from {{ touched("consumer_profile") }}
    union
    select consumer_id from charges
    union
    select consumer_id from {{ touched("consumer_identity") }}
    union
    select consumer_id from {{ touched("consumer_session") }}
    union
    select consumer_id from {{ touched("consumer_credit_application") }}
    union
    select consumer_id from {{ touched("consumer_credit") }}
),

final as (
    select
        named.consumer_id,
        profiles.country,
        profiles.currency,
        profiles.email_domain,
        profiles.delinquent,
        sign_ups.signed_up_at,
        stages.lifecycle_stage,
        stages.stage_since,
        checks.verification_status,
        coalesce(charges.charge_count, 0) as charge_count,
        charges.first_charge_at,
        charges.last_charge_at
    from named
    left join profiles on profiles.consumer_id = named.consumer_id
    left join sign_ups on sign_ups.consumer_id = named.consumer_id
    left join stages on stages.consumer_id = named.consumer_id
    left join checks on checks.consumer_id = named.consumer_id
    left join charges on charges.consumer_id = named.consumer_id
)

select * from final
