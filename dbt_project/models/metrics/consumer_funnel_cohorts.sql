{{ config(unique_key=["cohort_month", "step_number"]) }}

{#- Who signed up before the feeds began may have done anything since, unseen: no cohort of theirs. -#}
with

observed as (
    select
        {{ observed_until([
            ref("stg_customers"), ref("stg_verification_sessions"), ref("stg_charges"), ref("stg_credit_accounts"),
        ]) | indent(8) }} as observed_until,
        {{ observed_from([ref("stg_customers")], [
            ref("stg_verification_sessions"), ref("stg_charges"), ref("stg_credit_accounts"),
        ]) | indent(8) }} as observed_from
),

entrants as (
    select *
    from {{ ref("consumer_funnel") }}
    cross join observed
    where {{ is_followed("cohort_month") }}
),

final as (
    {{ funnel_steps("entrants", consumer_funnel_steps(), var("consumer_funnel_days"), by=["cohort_month"]) | indent(4) }}
)

select * from final
