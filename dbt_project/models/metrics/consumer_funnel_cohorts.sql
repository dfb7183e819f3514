{{ config(unique_key=["cohort_month", "step_number"]) }}

with

observed as (
    select
        *,
        {{ observed_until([
            ref("stg_customers"), ref("stg_verification_sessions"), ref("stg_charges"), ref("stg_credit_accounts"),
        ]) | indent(8) }} as observed_until
    from {{ ref("consumer_funnel") }}
),

final as (
    {{ funnel_steps("observed", consumer_funnel_steps(), var("consumer_funnel_days"), by=["cohort_month"]) | indent(4) }}
)

select * from final
