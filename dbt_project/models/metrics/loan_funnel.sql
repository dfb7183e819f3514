{{ config(unique_key="application_id") }}

{#- The loan applications of the BPI Challenge 2012 log: its activities are the steps. -#}
with

happened as (
    select
        case_id as entity,
        case when activity in ('A_DECLINED', 'A_CANCELLED') then 'left' else activity end as step,
        event_timestamp as happened_at,
        activity,
        amount
    from {{ ref("stg_process_events") }}
    where source = 'bpi2012' and transition = 'COMPLETE' and known_until is null and not retracted
),

ways as (
    {{ funnel_times("happened", loan_funnel_steps(), var("loan_funnel_days"), left_by="left") | indent(4) }}
),

-- Without an end an application is undecided, however old it is.
applications as (
    select
        entity,
        max(amount) as amount,
        case
            when bool_or(activity = 'A_APPROVED') then 'approved'
            when bool_or(activity = 'A_DECLINED') then 'declined'
            when bool_or(activity = 'A_CANCELLED') then 'canceled'
            else 'undecided'
        end as outcome
    from happened
    group by entity
),

final as (
    select
        ways.entity as application_id,
        applications.amount,
        applications.outcome,
        ways.* exclude (entity)
    from ways
    inner join applications on applications.entity = ways.entity
)

select * from final
