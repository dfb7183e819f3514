{#- The day that a moment falls in, in the reporting time zone. -#}
{% macro reporting_day(moment) -%}
    cast(timezone('{{ var("reporting_time_zone") }}', {{ moment }}) as date)
{%- endmacro %}

{#- The first day of the day, week or month that a date lies in; weeks begin on first_day_of_week. -#}
{% macro period_start(grain, date) -%}
    {%- if grain == "day" -%}
        {{ date }}
    {%- elif grain == "week" -%}
        {{ date }} - cast((isodow({{ date }}) + 7 - {{ var("first_day_of_week") }}) % 7 as integer)
    {%- else -%}
        cast(date_trunc('month', {{ date }}) as date)
    {%- endif -%}
{%- endmacro %}

{#- A number for each period: the next one's is greater by one. -#}
{% macro period_number(grain, period) -%}
    {%- if grain == "day" -%}
        {{ period }} - date '0001-01-01'
    {%- elif grain == "week" -%}
        ({{ period }} - date '0001-01-01') // 7
    {%- else -%}
        year({{ period }}) * 12 + month({{ period }})
    {%- endif -%}
{%- endmacro %}

{#-
Each key's active days, weeks and months, and the distance from one to the next.

days: a relation or CTE with the key's columns, day (DATE) and the `measures`, which are summed (BIGINT).
The result has the key, grain, period (its first day), number (of the period), the measures, and `gap` and `next_gap`:
the distance in periods to the active one before and after, 1 for neighbours, NULL where there is none.
-#}
{% macro active_periods(days, key, measures) -%}
with

periods as (
    {%- for grain in ["day", "week", "month"] %}
    select
        {{ key | join(", ") }},
        '{{ grain }}' as grain,
        {{ period_start(grain, "day") }} as period,
        {{ period_number(grain, "period") }} as number,
        {%- for measure in measures %}
        cast(sum({{ measure }}) as bigint) as {{ measure }}{{ "," if not loop.last }}
        {%- endfor %}
    from {{ days }}
    group by all
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
)

select
    *,
    cast(number - lag(number) over in_order as integer) as gap,
    cast(lead(number) over in_order - number as integer) as next_gap
from periods
window in_order as (partition by {{ key | join(", ") }}, grain order by number)
{%- endmacro %}
