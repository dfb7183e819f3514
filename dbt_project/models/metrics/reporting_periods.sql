{{ config(unique_key=["grain", "period"]) }}

{#- Every day, week and month from the first charge to where the data ends, so that silence has rows too. -#}
with

observed as (
    select {{ observed_until([ref("stg_charges"), ref("stg_retail_lines")], exports=true) }} as observed_until
),

bounds as (
    select
        {{ reporting_day("min(charged_at)") }} as first_day,
        {{ reporting_day("greatest(max(charged_at), any_value(observed_until))") }} as last_day,
        any_value(observed_until) as observed_until
    from {{ ref("charges") }}
    cross join observed
    where first_status = 'succeeded' and consumer_id is not null
),

periods as (
    {%- for grain in ["day", "week", "month"] %}
    select
        '{{ grain }}' as grain,
        cast(unnest(generate_series(
            cast({{ period_start(grain, "first_day") }} as timestamp),
            cast({{ period_start(grain, "last_day") }} as timestamp),
            interval 1 {{ grain }}
        )) as date) as period,
        cast(period + interval 1 {{ grain }} as date) as next_period,
        observed_until
    from bounds
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

final as (
    select
        grain,
        period,
        next_period,
        {{ reporting_start("next_period") }} > observed_until as is_partial
    from periods
)

select * from final
