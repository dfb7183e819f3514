{#-
Event versions to append-only states.

versions: a relation or CTE with `key`, event_timestamp, known_from, known_until, sequence, event_id,
content_hash and the columns of `values`; retracted versions left out. deleted: an SQL condition under which a
version says that the key has no state any more.

The result has one row per version (known_at = its known_from) and one for each time that an end leaves
something else in force, so that at every t the row with the greatest (event_timestamp, known_at, tie-break) among
those with event_timestamp <= t and known_at <= t holds the values of the version in force at t with the greatest
(event_timestamp, known_from, tie-break), or says `deleted` where none is. Rows are only ever added.

A version that ends while no other begins at that moment for its key and event time would go on winning, so it is
overruled at its own event time: at its end, and whenever the best of what is not later than it changes.
Such ends are few; the range joins below are over them alone.
-#}
{% macro as_states(versions, key, values, deleted="false") -%}
with

state_versions as (
    select
        {{ key }}, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        coalesce({{ deleted }}, false) as deleted,
        {{ values | join(", ") }}
    from {{ versions }}
    where {{ key }} is not null and (known_until is null or known_from < known_until)
),

ended as (
    select
        {{ key }}, event_timestamp,
        min(known_until) as ended_at,
        min({'known_until': known_until, 'event_id': event_id, 'content_hash': content_hash}) as first_ended
    from state_versions as ending
    where known_until is not null and not exists (
        select 1 from state_versions as successor
        where successor.{{ key }} = ending.{{ key }}
            and successor.event_timestamp = ending.event_timestamp
            and successor.known_from = ending.known_until
    )
    group by all
),

breakpoints as (
    select distinct {{ key }}, event_timestamp, first_ended, unnest(bounds) as known_at
    from (
        select
            ended.{{ key }}, ended.event_timestamp, ended.first_ended,
            list_filter([other.known_from, other.known_until], lambda bound: bound >= ended.ended_at) as bounds
        from ended
        inner join state_versions as other
            on other.{{ key }} = ended.{{ key }} and other.event_timestamp <= ended.event_timestamp
    ) as ended_bounds
),

winners as (
    select
        breakpoints.{{ key }},
        breakpoints.event_timestamp as ended_timestamp,
        breakpoints.known_at,
        breakpoints.first_ended,
        inforce.* exclude ({{ key }})
    from breakpoints
    left join state_versions as inforce
        on inforce.{{ key }} = breakpoints.{{ key }}
        and inforce.event_timestamp <= breakpoints.event_timestamp
        and inforce.known_from <= breakpoints.known_at
        -- Without OR, which would make DuckDB compare every pair of rows.
        and coalesce(inforce.known_until, 'infinity') > breakpoints.known_at
    qualify row_number() over (
        partition by breakpoints.{{ key }}, breakpoints.event_timestamp, breakpoints.known_at
        order by
            inforce.event_timestamp desc nulls last, inforce.known_from desc nulls last, {{ tie_break("inforce.") }}
    ) = 1
),

changes as (
    select *
    from winners
    -- The same winner as at the breakpoint before needs no new row.
    qualify row(event_id, content_hash, known_from) is distinct from
        lag(row(event_id, content_hash, known_from)) over (partition by {{ key }}, ended_timestamp order by known_at)
),

overruling as (
    select
        {{ key }}, ended_timestamp as event_timestamp, known_at,
        case when known_from is not null then sequence end as sequence,
        coalesce(event_id, first_ended.event_id) as event_id,
        coalesce(content_hash, first_ended.content_hash) as content_hash,
        coalesce(deleted, true) as deleted,
        {{ values | join(", ") }}
    from changes
    -- A winner that begins here at this event time stands there as its own row already.
    where event_timestamp is distinct from ended_timestamp or known_from is distinct from known_at
),

every as (
    select
        {{ key }}, event_timestamp, known_from as known_at, sequence, event_id, content_hash, deleted,
        {{ values | join(", ") }}
    from state_versions
    union all
    select * from overruling
)

select
    {{ key }}, event_timestamp, known_at, sequence, event_id, content_hash, deleted,
    {%- for value in values %}
    case when not deleted then {{ value }} end as {{ value }}{{ "," if not loop.last }}
    {%- endfor %}
from every
{%- endmacro %}

{#-
One fact may be told by several events (the live feed and a list export; a charge that fails after it succeeded).
Of the versions of one `fact_id`, the one with the greatest (event_timestamp, known_from, tie-break) is in force at each
known time; the others' intervals are cut to what is left, so that a fact never counts twice.
-#}
{% macro as_facts(versions) -%}
with

contested as (
    select fact_id from {{ versions }} group by fact_id having count(*) > 1
),

candidates as (
    select * from {{ versions }} where fact_id in (select fact_id from contested)
),

bounds as (
    select distinct fact_id, unnest([known_from, known_until]) as bound from candidates
),

segments as (
    select fact_id, bound as segment_from, lead(bound) over (partition by fact_id order by bound) as segment_until
    from bounds
    where bound is not null
),

best as (
    select candidates.*, segments.segment_from, segments.segment_until
    from segments
    inner join candidates
        on candidates.fact_id = segments.fact_id
        and candidates.known_from <= segments.segment_from
        and (candidates.known_until is null or candidates.known_until > segments.segment_from)
    qualify row_number() over (
        partition by segments.fact_id, segments.segment_from
        order by candidates.event_timestamp desc, candidates.known_from desc, {{ tie_break("candidates.") }}
    ) = 1
),

-- Neighbouring segments of one version are one interval: number its beginnings.
beginnings as (
    select
        *,
        row(event_id, content_hash, known_from, segment_from) is distinct from
            lag(row(event_id, content_hash, known_from, segment_until))
            over (partition by fact_id order by segment_from) as begins
    from best
),

numbered as (
    select *, sum(begins::integer) over (partition by fact_id order by segment_from) as interval_number
    from beginnings
),

merged as (
    select
        * exclude (begins, interval_number, segment_from, segment_until) replace (
            segment_from as known_from,
            last_value(segment_until) over (
                partition by fact_id, interval_number order by segment_from
                rows between unbounded preceding and unbounded following
            ) as known_until
        )
    from numbered
    qualify row_number() over (partition by fact_id, interval_number order by segment_from) = 1
)

select * from {{ versions }} where fact_id not in (select fact_id from contested)
union all by name
select * from merged
{%- endmacro %}

{#-
What was known of the charges that `relation` names, at every known time: the columns given, and NULLs for the
times when the charge was not known.
-#}
{% macro known_charges(relation, columns) -%}
with

wanted as (
    select distinct charge_id from {{ relation }}
),

known as (
    select charge_id, known_from, known_until, {{ columns | join(", ") }}
    from {{ touched("charge_events") }}
    where charge_id in (select charge_id from wanted)
),

edges as (
    select charge_id, known_from, known_until from known
    union all
    select charge_id, '-infinity'::timestamptz as known_from, '-infinity'::timestamptz as known_until from wanted
),

gaps as (
    select
        charge_id,
        known_until as known_from,
        lead(known_from) over (partition by charge_id order by known_from) as known_until
    from edges
)

select * from known
union all by name
select * from gaps
where known_from is not null and (known_until is null or known_from < known_until)
{%- endmacro %}

{#- The state of each key as it is now known: the last of the rows that as_states made. -#}
{% macro current_states(relation, key) -%}
select *
from {{ relation }}
qualify row_number() over (
    partition by {{ key }} order by event_timestamp desc, known_at desc, {{ tie_break() }}
) = 1
{%- endmacro %}

{#-
Several states of one key as one state. parts: relation (from as_states) -> its value columns.

Each part changes what it says only at the moments when one of its rows becomes visible: the later of its event
time and its known time. At each such moment of any part the result has one row with every part's values as of
then, standing at that moment in both times, so that it is exact as known at every t.
-#}
{% macro as_joint_states(key, parts) -%}
with

visible as (
    {%- for part, values in parts.items() %}
    select
        {{ key }},
        greatest(event_timestamp, known_at) as visible_at,
        '{{ part }}' as part,
        sequence, event_id, content_hash,
        row(event_timestamp, known_at, coalesce(sequence, -9223372036854775808), event_id, content_hash) as standing,
        deleted,
        {{ values | join(", ") }}
    from {{ part }}
    {%- if not loop.last %}
    union all by name
    {%- endif %}
    {%- endfor %}
),

moments as (
    select
        {{ key }}, visible_at, sequence, event_id, content_hash,
        {%- for part, values in parts.items() %}
        arg_max(
            {deleted: deleted{% for value in values %}, {{ value }}: {{ value }}{% endfor %}}, standing
        ) filter (where part = '{{ part }}') over upto as {{ part }}_then{{ "," if not loop.last }}
        {%- endfor %}
    from visible
    window upto as (partition by {{ key }} order by visible_at range between unbounded preceding and current row)
    qualify row_number() over (partition by {{ key }}, visible_at order by standing desc, part) = 1
)

select
    {{ key }}, visible_at as event_timestamp, visible_at as known_at, sequence, event_id, content_hash,
    {% for part in parts %}coalesce({{ part }}_then.deleted, true){{ " and " if not loop.last }}{% endfor %} as deleted,
    {%- for part, values in parts.items() %}
    {%- set last_part = loop.last %}
    {%- for value in values %}
    {{ part }}_then.{{ value }} as {{ value }}{{ "," if not (last_part and loop.last) }}
    {%- endfor %}
    {%- endfor %}
from moments
{%- endmacro %}
