{{ config(unique_key="step_number") }}

with

observed as (
    select
        *,
        (
            select max(known_at)
            from {{ ref("stg_process_events") }}
            where source = 'bpi2012'
        ) as observed_until
    from {{ ref("loan_funnel") }}
),

final as (
    {{ funnel_steps("observed", loan_funnel_steps(), var("loan_funnel_days")) | indent(4) }}
)

select * from final
