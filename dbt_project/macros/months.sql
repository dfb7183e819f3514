{#- The first day of the month that a moment falls in, in the reporting time zone. -#}
{% macro reporting_month(moment) -%}
    cast(date_trunc('month', timezone('{{ var("reporting_time_zone") }}', {{ moment }})) as date)
{%- endmacro %}
