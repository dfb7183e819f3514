{#-
As-of values in plain SQL, for questions and small spines: every row is compared with every moment asked for. They
give what a training frame gives, and are the DuckDB macros of the same names (lifecycle.lake.macros) for dbt.

at, known_by: SQL of a TIMESTAMPTZ. Where `at` is a column of another relation, the macro stands in a lateral join:

    from spine
    left join lateral (
        select * from ({{ state_as_of(ref("consumer_payment"), "consumer_id", "spine.event_timestamp") }})
    ) as state on state.consumer_id = spine.consumer_id

known_by is `at` unless given: `'infinity'::timestamptz` is today's knowledge of the past.
-#}

{#- The state of each key at `at`: one row per key that has one. key: a column, or a list of them. -#}
{% macro state_as_of(relation, key, at, known_by=none, at_t="include") -%}
{%- set keys = [key] if key is string else key -%}
select *
from (
    select states.*
    from {{ relation }} as states
    where states.event_timestamp {{ "<=" if at_t == "include" else "<" }} {{ at }}
        and coalesce(states.known_at, states.event_timestamp) <= {{ known_by or at }}
    qualify row_number() over (
        partition by {% for one in keys %}states.{{ one }}{{ ", " if not loop.last }}{% endfor %}
        order by
            states.event_timestamp desc, coalesce(states.known_at, states.event_timestamp) desc,
            {{ tie_break("states.") }}
    ) = 1
) as newest_states
where deleted is not true
{%- endmacro %}

{#- The versions of events that a window [at - width, at) holds; all before `at` without a width (SQL of an interval). -#}
{% macro events_as_of(relation, at, width=none, known_by=none) -%}
select versions.*
from {{ relation }} as versions
where versions.event_timestamp < {{ at }}
    {%- if width %}
    and versions.event_timestamp >= {{ at }} - {{ width }}
    {%- endif %}
    and coalesce(versions.known_from <= {{ known_by or at }}, true)
    and coalesce(versions.known_until > {{ known_by or at }}, true)
{%- endmacro %}

{#- The key's columns and `value`, an SQL aggregate, for each key with an event in the window. -#}
{% macro window_as_of(relation, key, aggregate, at, width=none, known_by=none) -%}
{%- set keys = [key] if key is string else key -%}
select {{ keys | join(", ") }}, {{ aggregate }} as value
from ({{ events_as_of(relation, at, width, known_by) }}) as held
group by {{ keys | join(", ") }}
{%- endmacro %}
