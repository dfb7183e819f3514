{#- The columns every staging model carries beside its own; see docs/events.md. -#}
{% macro envelope() -%}
    source,
    event_id,
    revision,
    content_hash,
    retracted,
    type,
    event_timestamp,
    known_at,
    known_from,
    known_until,
    sequence,
    batch_id,
    settled_batch,
    account
{%- endmacro %}

{#-
Event versions that satisfy `predicate`, with the payload's object as one typed struct.

object, previous: the kept fields and their DuckDB types, as json_transform takes them.
-#}
{% macro event_versions(predicate, object, previous=none) %}
    {{- config(meta={"rows_of": "events", "where": predicate}) -}}
    {%- set structure = {"account": "VARCHAR", "object": object} -%}
    {%- if previous -%}{%- do structure.update({"previous": previous}) -%}{%- endif -%}
    select
        * exclude (kept),
        kept.account as account,
        kept.object as object{% if previous %},
        kept.previous as previous{% endif %}
    from (
        select * exclude (payload), json_transform(payload, '{{ tojson(structure) }}') as kept
        from {{ touched_rows("events", source("raw", "events")) }}
        where {{ predicate }}
    ) as typed
{% endmacro %}

{#- Whether a version is, or once was, in force: neither a retraction nor superseded before it was known. -#}
{% macro in_force() -%}
    not retracted and (known_until is null or known_from < known_until)
{%- endmacro %}

{#- Whether an event was made of a list export's object: it tells of a beginning, and of nothing that follows. -#}
{% macro is_exported() -%}
    starts_with(event_id, 'object:')
{%- endmacro %}

{#- The last of the order that decides between rows, after event time and known time. -#}
{% macro tie_break(prefix="") -%}
    {{ prefix }}sequence desc nulls last, {{ prefix }}event_id desc, {{ prefix }}content_hash desc
{%- endmacro %}

{#- A Unix time in seconds, whole or fractional, as TIMESTAMPTZ: exact to the microsecond. -#}
{% macro unix_time(seconds) -%}
    make_timestamptz(cast({{ seconds }} * 1000000 as bigint))
{%- endmacro %}
