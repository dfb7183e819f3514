{{ config(unique_key="consumer_id", meta={"key": "consumer_id"}) }}

with

happened as (
    select consumer_id as entity, 'signed_up' as step, signed_up_at as happened_at
    from {{ touched("consumers") }}
    where signed_up_at is not null
    union all
    select consumer_id as entity, 'closed' as step, stage_since as happened_at
    from {{ touched("consumers") }}
    where lifecycle_stage = 'closed'
    union all
    select
        consumer_id as entity,
        case type
            when 'identity.verification_session.processing' then 'identity_submitted' else 'verified'
        end as step,
        event_timestamp as happened_at
    from {{ touched("verification_events") }}
    where known_until is null
        and type in ('identity.verification_session.processing', 'identity.verification_session.verified')
    union all
    select consumer_id as entity, 'paid' as step, charged_at as happened_at
    from {{ touched("charges") }}
    where first_status = 'succeeded'
    union all
    select consumer_id as entity, 'credit_opened' as step, opened_at as happened_at
    from {{ touched("credit_accounts") }}
),

ways as (
    {{ funnel_times("happened", consumer_funnel_steps(), var("consumer_funnel_days"), left_by="closed") | indent(4) }}
),

final as (
    select
        entity as consumer_id,
        {{ reporting_month("signed_up_at") }} as cohort_month,
        * exclude (entity)
    from ways
)

select * from final
