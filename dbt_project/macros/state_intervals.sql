{#-
A subject's states as intervals, from the fact versions in force at one known time.

facts: a relation or CTE of state_facts(subject), narrowed to the versions in force. rules: as state_subjects has them.
The result has consumer_id, state, valid_from, valid_to (NULL: the last), known_at and event_id (the fact that begins
the interval). Intervals of a consumer follow each other without a gap, and neighbours differ.
-#}
{% macro state_intervals(subject, facts, rules=none) -%}
{%- set rules = rules or state_subjects()[subject] -%}
with

{% if subject == "lifecycle" -%}
{{ lifecycle_marks(facts) }}
{%- else -%}
{{ case_marks(facts, rules["before"], rules["standing"]) }}
{%- endif %},

steps as (
    select *
    from marks
    qualify state is distinct from lag(state) over (partition by consumer_id order by valid_from)
)

select
    consumer_id,
    state,
    valid_from,
    lead(valid_from) over (partition by consumer_id order by valid_from) as valid_to,
    greatest(valid_from, known_from) as known_at,
    event_id
from steps
{%- endmacro %}

{#- The order of a consumer's facts. Where several stand at one moment, the last says what was from then on. -#}
{% macro fact_order() -%}
event_timestamp, position, known_from, sequence nulls first, event_id, content_hash
{%- endmacro %}

{#-
Marks of the lifecycle: what each fact makes of the consumer, and what silence does after a charge.

The first charge of all activates; a charge after silence of dormant_after_days, or after a closing, resurrects; any
other charge makes active. Signing up and being verified show as long as nothing was charged. A closing lasts until
the next fact. Silence marks stand where they will be if nothing more comes, even ahead of the data: so
a consumer's marks follow from that consumer's facts alone.
-#}
{% macro lifecycle_marks(facts) -%}
{%- if var("dormant_after_days") >= var("churned_after_days") -%}
    {{ exceptions.raise_compiler_error("dormant_after_days must be less than churned_after_days") }}
{%- endif -%}
{%- set dormant_after = "interval " ~ var("dormant_after_days") * 24 ~ " hours" -%}
{%- set churned_after = "interval " ~ var("churned_after_days") * 24 ~ " hours" -%}
before as (
    select
        *,
        max(event_timestamp) filter (where fact = 'charged') over earlier as charged_at,
        max(event_timestamp) filter (where fact = 'verified') over earlier as verified_at,
        coalesce(max(event_timestamp) filter (where fact = 'closed') over earlier, '-infinity') as closed_at
    from {{ facts }}
    window earlier as (
        partition by consumer_id order by {{ fact_order() }} rows between unbounded preceding and 1 preceding
    )
),

told as (
    select
        consumer_id, position, event_timestamp, known_from, sequence, event_id, content_hash,
        fact = 'charged' as is_charge,
        case
            when fact = 'closed' then 'closed'
            when fact = 'charged' and charged_at is null then 'activated'
            when fact = 'charged' and (charged_at <= closed_at or event_timestamp >= charged_at + {{ dormant_after }})
                then 'resurrected'
            when fact = 'charged' then 'active'
            when charged_at > closed_at then null
            when fact = 'verified' then 'verified'
            when fact = 'signed_up' and coalesce(verified_at <= closed_at, true) then 'signed_up'
        end as said
    from before
),

until as (
    select *, lead(event_timestamp) over (partition by consumer_id order by {{ fact_order() }}) as next_at
    from told
    where said is not null
),

possible as (
    select
        consumer_id, event_timestamp, next_at, known_from, event_id,
        unnest(
            case
                when is_charge then [
                    {state: said, valid_from: event_timestamp},
                    {state: 'dormant', valid_from: event_timestamp + {{ dormant_after }}},
                    {state: 'churned', valid_from: event_timestamp + {{ churned_after }}}
                ]
                else [{state: said, valid_from: event_timestamp}]
            end,
            recursive := true
        )
    from until
),

marks as (
    select consumer_id, state, valid_from, known_from, event_id
    from possible
    where next_at is null or valid_from < next_at
)
{%- endmacro %}

{#-
Marks of states that follow from several cases (sessions, accounts, disputes) of one consumer.

A case is in the state that its last fact said. As long as any case is in one of the `standing` states the consumer is in the
first such state of the list; otherwise the consumer is in the state that the last fact said, and `before` any.
-#}
{% macro case_marks(facts, before, standing) -%}
-- Before anything of the subject: the first that is known of the consumer at all.
presence as (
    select
        consumer_id, '' as case_id, 0 as position, '{{ before }}' as fact,
        unnest(
            min({event_timestamp: event_timestamp, known_from: known_from, event_id: event_id, content_hash: content_hash})
        ),
        cast(null as bigint) as sequence
    from {{ facts }}
    where position = 0
    group by consumer_id
),

cases as (
    select
        consumer_id, position, fact, event_timestamp, known_from, sequence, event_id, content_hash,
        lag(fact) over (partition by consumer_id, case_id order by {{ fact_order() }}) as fact_before
    from (
        select * exclude (known_until) from {{ facts }} where position > 0
        union all by name
        select * from presence
    ) as first_and_further
),

counted as (
    select
        consumer_id, fact, position, event_timestamp, known_from, event_id,
        {%- for one in standing %}
        sum((fact = '{{ one }}')::integer - (fact_before is not distinct from '{{ one }}')::integer)
            over in_order as in_{{ one }},
        {%- endfor %}
        lag(position) over in_order is null as is_first,
        lead(event_timestamp) over in_order as next_at
    from cases
    window in_order as (partition by consumer_id order by {{ fact_order() }})
),

marks as (
    select
        consumer_id,
        case
            {%- for one in standing %}
            when in_{{ one }} > 0 then '{{ one }}'
            {%- endfor %}
            else fact
        end as state,
        event_timestamp as valid_from,
        known_from,
        event_id
    from counted
    where (next_at is null or event_timestamp < next_at) and (position > 0 or is_first)
)
{%- endmacro %}

{#- The subject's intervals as now known: what core.<subject>_states holds. -#}
{% macro states_as_known_now(subject, of=ref) -%}
with

facts as (
    select *
    from (
        {{ state_facts(subject, of) | indent(8) }}
    ) as versions
    where known_until is null
),

final as (
    {{ state_intervals(subject, "facts") | indent(4) }}
)

select * from final
{%- endmacro %}

{#- The subject's states at the moment `t`, from the fact versions in force at `known_by`; both are SQL. -#}
{% macro states_as_of(subject, t, known_by, facts, rules=none) -%}
with

facts_believed as (
    select *
    from {{ facts }}
    where known_from <= {{ known_by }} and (known_until is null or known_until > {{ known_by }})
        and event_timestamp <= {{ t }}
),

intervals_believed as (
    {{ state_intervals(subject, "facts_believed", rules) | indent(4) }}
)

select consumer_id, state, valid_from, known_at, event_id
from intervals_believed
where valid_from <= {{ t }} and (valid_to is null or valid_to > {{ t }})
{%- endmacro %}

{#-
Macros in the lake itself, for SQL users of a release:

core.<subject>_as_of(t, known_by := 'infinity'): each consumer's state at t, as it was believed at known_by; 'infinity' is
what the release knows.
core.<subject>_changes(t, reported_at, known_by := 'infinity'): consumers whose state at t is another by what was known at
known_by than by what was known at reported_at, one row per consumer and fact that came or was withdrawn in
between: reported_state, state, fact (what it says), change, event_id, event_timestamp, known_from, known_until.
-#}
{% macro create_state_macros(subject) -%}
{%- set create = "create or replace macro" if should_full_refresh() else "create macro if not exists" -%}
{{ create }} {{ this.database }}.{{ this.schema }}.{{ subject }}_as_of(t, known_by := 'infinity') as table
with

facts as (
    {{ state_facts(subject) | indent(4) }}
),

final as (
    {{ states_as_of(subject, "t::timestamptz", "known_by::timestamptz", "facts") | indent(4) }}
)

select * from final;

{{ create }} {{ this.database }}.{{ this.schema }}.{{ subject }}_changes(
    t, reported_at, known_by := 'infinity'
) as table
with

facts as (
    {{ state_facts(subject) | indent(4) }}
),

later as (
    select
        *,
        case when known_from > reported_at::timestamptz then 'came' else 'withdrawn' end as change
    from facts
    where event_timestamp <= t::timestamptz and (
        known_from > reported_at::timestamptz and known_from <= known_by::timestamptz
            and (known_until is null or known_until > known_by::timestamptz)
        or known_from <= reported_at::timestamptz and known_until > reported_at::timestamptz
            and known_until <= known_by::timestamptz
    )
    -- That the consumer was there at all explains only what no fact of the subject does.
    qualify position > 0 or max(position) over (partition by consumer_id) = 0
),

concerned as (
    select * from facts where consumer_id in (select consumer_id from later)
),

reported as (
    {{ states_as_of(subject, "t::timestamptz", "reported_at::timestamptz", "concerned") | indent(4) }}
),

believed as (
    {{ states_as_of(subject, "t::timestamptz", "known_by::timestamptz", "concerned") | indent(4) }}
),

final as (
    select
        consumer_id, reported.state as reported_state, believed.state as state, later.fact, later.change,
        later.event_id, later.event_timestamp, later.known_from, later.known_until
    from reported
    full join believed using (consumer_id)
    inner join later using (consumer_id)
    where reported.state is distinct from believed.state
)

select * from final
{%- endmacro %}
