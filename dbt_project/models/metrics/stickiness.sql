{{ config(unique_key="day") }}

{#-
A consumer active on a day is in the window of that day and of the days after, until the window has passed or the
next active day takes over: one entry and one exit per active day give rolling distinct counts in one pass.
-#}
{%- set windows = {"wau": 7, "mau": 30} -%}
with

active as (
    select period as day, next_gap
    from {{ ref("consumer_periods") }}
    where grain = 'day'
),

entries as (
    select day, count(*) as entered
    from active
    group by day
),
{% for name, days in windows.items() %}
exits_{{ name }} as (
    select day + least(coalesce(next_gap, {{ days }}), {{ days }}) as day, count(*) as left_window
    from active
    group by all
),
{% endfor %}
rolling as (
    select
        periods.period as day,
        periods.is_partial,
        coalesce(entries.entered, 0) as dau,
        {%- for name, days in windows.items() %}
        case
            when row_number() over in_order >= {{ days }}
                then cast(sum(coalesce(entries.entered, 0) - coalesce(exits_{{ name }}.left_window, 0)) over in_order as bigint)
        end as {{ name }}{{ "," if not loop.last }}
        {%- endfor %}
    from {{ ref("reporting_periods") }} as periods
    left join entries on entries.day = periods.period
    {%- for name in windows %}
    left join exits_{{ name }} on exits_{{ name }}.day = periods.period
    {%- endfor %}
    where periods.grain = 'day'
    window in_order as (order by periods.period)
),

final as (
    select
        day,
        is_partial,
        dau,
        wau,
        mau,
        {{ share("dau", "wau") }} as dau_per_wau,
        {{ share("dau", "mau") }} as dau_per_mau,
        {{ share("wau", "mau") }} as wau_per_mau
    from rolling
)

select * from final
