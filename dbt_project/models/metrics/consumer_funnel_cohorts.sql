{{ config(unique_key=["cohort_month", "step_number"]) }}

{#- Who signed up before the feeds began may have done anything since, unseen: no cohort of theirs. -#}
{%- set feeds = [
    ref("stg_customers"), ref("stg_verification_sessions"), ref("stg_charges"), ref("stg_credit_accounts"),
] -%}
with

observed as (
    select
        {{ observed_until(feeds) | indent(8) }} as observed_until,
        {{ observed_from(feeds) | indent(8) }} as observed_from
),

entrants as (
    select *
    from {{ ref("consumer_funnel") }}
    cross join observed
    where signed_up_at >= observed_from
),

final as (
    {{ funnel_steps("entrants", consumer_funnel_steps(), var("consumer_funnel_days"), by=["cohort_month"]) | indent(4) }}
)

select * from final
