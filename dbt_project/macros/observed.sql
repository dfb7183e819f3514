{#- Whether an event was made of a list export's object: it tells of a beginning, and of nothing that follows. -#}
{% macro is_exported() -%}
    starts_with(event_id, 'object:')
{%- endmacro %}

{#-
Up to when these relations tell what happened: the greatest known time in them, as a scalar subquery (TIMESTAMPTZ).
What has not happened by then is not known not to happen later. Staging relations, so that a model's own feed decides. List
exports count only where there is nothing else: a later one of them does not make a feed that stopped look complete.
-#}
{% macro observed_until(relations) -%}
(
    select coalesce(max(followed_until), max(told_until))
    from (
        {%- for relation in relations %}
        select
            max(known_at) filter (where not {{ is_exported() }}) as followed_until,
            max(known_at) as told_until
        from {{ relation }}
        {%- if not loop.last %}
        union all
        {%- endif %}
        {%- endfor %}
    ) as told
)
{%- endmacro %}

{#-
From when these relations tell what happened: the least event time, as a scalar subquery (TIMESTAMPTZ). `entries` are the relations that
tell who was there to begin with; a list export of those reaches back before anything else was told, and does not count.
-#}
{% macro observed_from(entries, relations) -%}
(
    select min(event_timestamp)
    from (
        {%- for relation in entries %}
        select min(event_timestamp) filter (where not {{ is_exported() }}) as event_timestamp from {{ relation }}
        union all
        {%- endfor %}
        {%- for relation in relations %}
        select min(event_timestamp) as event_timestamp from {{ relation }}
        {%- if not loop.last %}
        union all
        {%- endif %}
        {%- endfor %}
    ) as told
)
{%- endmacro %}

{#- Whether a month is one that what tells of it had begun in, by observed_from. -#}
{% macro is_followed(month) -%}
    coalesce({{ month }} >= {{ reporting_month("observed_from") }}, false)
{%- endmacro %}

{#-
An aggregate over an object's events: when it began. The time of the event that tells of the beginning; where none was told, the time of
creation that the object itself bears (whole seconds at Stripe), but no later than its first event.
-#}
{% macro begun_at(beginning, created) -%}
    coalesce(
        min(event_timestamp) filter (where {{ beginning }}),
        least(min({{ created }}), min(event_timestamp))
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
