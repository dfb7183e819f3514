{#-
Up to when these relations tell what happened: the greatest known time in them, as a scalar subquery (TIMESTAMPTZ).
What has not happened by then is not known not to happen later. Staging relations, so that a model's own feed decides.
-#}
{% macro observed_until(relations) -%}
(
    select max(known_at)
    from (
        {%- for relation in relations %}
        select max(known_at) as known_at from {{ relation }}
        {%- if not loop.last %}
        union all
        {%- endif %}
        {%- endfor %}
    ) as told
)
{%- endmacro %}

{#- The moment at which a day (the first of a period) begins in the reporting time zone. -#}
{% macro reporting_start(day) -%}
    timezone('{{ var("reporting_time_zone") }}', cast({{ day }} as timestamp))
{%- endmacro %}

{#- Whole seconds from one moment to another, rounded down. -#}
{% macro seconds_between(start, stop) -%}
    (epoch_us({{ stop }}) - epoch_us({{ start }})) // 1000000
{%- endmacro %}

{#- A part of a whole, computed last from two integers; NULL of nothing. -#}
{% macro share(part, whole) -%}
    {{ part }} / nullif({{ whole }}, 0)
{%- endmacro %}

{#-
Whether everything that the days after a month can bring to it is known at observed_until: the month, so many further
days of 24 hours and the feeds' delivery are over. The same rule as a label's maturity (transformations/labels.py).
-#}
{% macro is_complete(month, days) -%}
    {{ reporting_start(month ~ " + interval 1 month") }}
        + to_hours(24 * ({{ days }} + {{ var("delivery_days") }})) <= observed_until
{%- endmacro %}
