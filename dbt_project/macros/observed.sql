{#- What staging relations say of their events beside the content, as one. -#}
{% macro events_of(relations) -%}
{%- for relation in relations %}
select event_id, event_timestamp, known_at, known_until, retracted from {{ relation }}
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
{%- endmacro %}

{#-
Up to when these relations tell what happened: the greatest known time in them, as a scalar subquery (TIMESTAMPTZ).
What has not happened by then is not known not to happen later. Staging relations, so that a model's own feed decides.
exports: whether list exports tell all that is asked, as of beginnings they do. Else they count only where there is nothing
else, for a later one does not make a feed that stopped look complete.
-#}
{% macro observed_until(relations, exports=false) -%}
(
    select coalesce(
        max(known_at) filter (where {{ exports | lower }} or not {{ is_exported() }}),
        max(known_at)
    )
    from (
        {{ events_of(relations) | indent(8) }}
    ) as told
)
{%- endmacro %}

{#-
From when these relations tell what followed: the least event time in them, as a scalar subquery (TIMESTAMPTZ). A list
export reaches back before anything that followed was told, so it does not count.
-#}
{% macro observed_from(relations) -%}
(
    select min(event_timestamp)
    from (
        {{ events_of(relations) | indent(8) }}
    ) as told
    where known_until is null and not retracted and not {{ is_exported() }}
)
{%- endmacro %}

{#- The same for disputes of charges. An export of disputes tells them all, however far it reaches back. -#}
{% macro disputes_observed_from() -%}
(
    select case
        when exists (select 1 from {{ ref("stg_disputes") }} where {{ is_exported() }}) then '-infinity'::timestamptz
        else {{ observed_from([ref("stg_charges"), ref("stg_disputes")]) | indent(8) }}
    end
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
