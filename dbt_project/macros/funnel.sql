{#-
Funnels: ordered steps, each within a window from the entry. One join on the entity per step, nothing quadratic.

events: a relation or CTE with entity, step and happened_at (TIMESTAMPTZ): each time that an entity did something.
steps: the funnel's steps in order, each step's name -> the event that makes it, such as
    {"first_payment": "payment", "repeat_payment": "payment"}.
days: the window. A step counts when it comes no later than so many days of 24 hours after the entry.
-#}

{#-
Each entity's way through the funnel: one row per entity that entered.

The entry is the entity's first event of the first step. Every further step is its first event at or after the
step before it, and later than every earlier step that the same event makes: one payment is not both the first and
the repeat. A step that was skipped ends the way, whatever follows.
left_by: the event, if any, by which an entity leaves for good; `left_at` is its first at or after the entry.
Columns: entity, <step>_at of each step (NULL: not reached), left_at.
-#}
{% macro funnel_times(events, steps, days, left_by=none) -%}
{%- set names = steps.keys() | list -%}
with

way_1 as (
    select entity, min(happened_at) as {{ names[0] }}_at
    from {{ events }}
    where step = '{{ steps[names[0]] }}' and entity is not null
    group by entity
),
{% for name in names[1:] %}
{%- set before = names[:loop.index] %}
way_{{ loop.index + 1 }} as (
    select
        way.entity,
        {%- for step in before %}
        any_value(way.{{ step }}_at) as {{ step }}_at,
        {%- endfor %}
        min(following.happened_at) as {{ name }}_at
    from way_{{ loop.index }} as way
    left join {{ events }} as following
        on following.entity = way.entity
        and following.step = '{{ steps[name] }}'
        and following.happened_at >= way.{{ before[-1] }}_at
        and following.happened_at <= way.{{ names[0] }}_at + interval {{ days * 24 }} hour
        {%- for step in before if steps[step] == steps[name] %}
        and following.happened_at > way.{{ step }}_at
        {%- endfor %}
    group by way.entity
),
{% endfor %}
leaving as (
    select way.entity, min(following.happened_at) as left_at
    from way_1 as way
    inner join {{ events }} as following
        on following.entity = way.entity and following.happened_at >= way.{{ names[0] }}_at
    where following.step = {{ "'" ~ left_by ~ "'" if left_by else "null" }}
    group by way.entity
)

select way.*, leaving.left_at
from way_{{ names | length }} as way
left join leaving on leaving.entity = way.entity
{%- endmacro %}

{#-
The funnel's counts, rates and times: one row per step and value of `by`.

times: what funnel_times made, with the columns of `by` and observed_until beside it.

entered: entities that entered. reached_before, reached: those that reached the step before, and this one.
under_way: reached the step before, not this one, have not left, and their window was open at observed_until.
step_rate = reached / reached_before, overall_rate = reached / entered: while some are under way, lower bounds.

Times are whole seconds from the step before, and from the entry. Who did not reach the step is censored where the
window or the observation ended, whichever came first. Who left stays at risk until then too: they could have been
seen to reach the step and did not, so 1 - survival is the share of all that reached it by a time, and nothing is
assumed of what the leavers would have done.
median_*: the least time by which at least half of those who reached the step had reached it.
km_median_*: the least time by which half of all are estimated to reach it (kaplan_meier, below); NULL where the
estimate does not fall to half. The two agree where nobody is censored.
-#}
{% macro funnel_steps(times, steps, days, by=[]) -%}
{%- set names = steps.keys() | list -%}
{%- set key = by + ["step_number"] -%}
with

entries as (
    select
        *,
        left_at is null and closes_at > observed_until as is_open,
        least(closes_at, observed_until) as censored_at
    from (select *, {{ names[0] }}_at + interval {{ days * 24 }} hour as closes_at from {{ times }})
),

stages as (
    {%- for name in names %}
    select
        {{ (by + [loop.index ~ " as step_number"]) | join(", ") }},
        '{{ name }}' as step,
        {{ names[0] }}_at as entered_at,
        {{ names[[loop.index0 - 1, 0] | max] }}_at as before_at,
        {{ name }}_at as reached_at,
        is_open,
        censored_at
    from entries
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

counts as (
    select
        {{ key | join(", ") }},
        step,
        count(*) as entered,
        count(before_at) as reached_before,
        count(reached_at) as reached,
        count(before_at) filter (where reached_at is null and is_open) as under_way
    from stages
    group by {{ key | join(", ") }}, step
),

waits as (
    {%- for from_entry, origin in {"false": "before_at", "true": "entered_at"}.items() %}
    select
        {{ key | join(", ") }},
        {{ from_entry }} as from_entry,
        {{ origin }} as origin_at,
        coalesce(reached_at, censored_at) as end_at,
        reached_at is not null as happened
    from stages
    where step_number > 1 and {{ origin }} is not null
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

durations as (
    select
        {{ key | join(", ") }},
        from_entry,
        greatest({{ seconds_between("origin_at", "end_at") }}, 0) as seconds,
        happened
    from waits
),

totals as (
    select
        {{ key | join(", ") }},
        from_entry,
        max(seconds) filter (where happened) as last_seconds,
        quantile_disc(seconds, 0.5) filter (where happened) as median_seconds
    from durations
    group by {{ key | join(", ") }}, from_entry
),

-- The estimate is least where all that are censored before the last event are taken out at once. Where even that stays
-- above half, there is no median to be found, and no need to put the durations in order.
halving as (
    select {{ key | join(", ") }}, from_entry
    from durations
    inner join totals using ({{ key | join(", ") }}, from_entry)
    where happened or seconds >= last_seconds
    group by {{ key | join(", ") }}, from_entry
    having 2 * count(*) filter (where happened) >= count(*)
),

followed as (
    select durations.*
    from durations
    semi join halving using ({{ key | join(", ") }}, from_entry)
),

survival as (
    {{ kaplan_meier("followed", key + ["from_entry"]) | indent(4) }}
),

km_medians as (
    select {{ key | join(", ") }}, from_entry, {{ km_median_seconds() }} as km_median_seconds
    from survival
    group by {{ key | join(", ") }}, from_entry
),

medians as (
    select
        {{ key | join(", ") }}
        {%- for origin, from in {"before": "not from_entry", "entry": "from_entry"}.items() %},
        any_value(median_seconds) filter (where {{ from }}) as median_seconds_from_{{ origin }},
        any_value(km_median_seconds) filter (where {{ from }}) as km_median_seconds_from_{{ origin }}
        {%- endfor %}
    from totals
    left join km_medians using ({{ key | join(", ") }}, from_entry)
    group by {{ key | join(", ") }}
)

select
    {% for column in by %}counts.{{ column }},
    {% endfor -%}
    counts.step_number,
    counts.step,
    counts.entered,
    counts.reached_before,
    counts.reached,
    counts.under_way,
    {{ share("counts.reached", "counts.reached_before") }} as step_rate,
    {{ share("counts.reached", "counts.entered") }} as overall_rate,
    medians.median_seconds_from_before,
    medians.km_median_seconds_from_before,
    medians.median_seconds_from_entry,
    medians.km_median_seconds_from_entry
from counts
left join medians
    on {% for column in key %}medians.{{ column }} = counts.{{ column }}{{ " and " if not loop.last }}{% endfor %}
{%- endmacro %}

{#-
The Kaplan-Meier estimate (Kaplan & Meier 1958): one row per value of `by` and distinct duration at which something happened.

durations: a relation or CTE with the columns of `by`, seconds (BIGINT, not negative) and happened (BOOLEAN; false:
censored after that time). What happens at a time comes before what is censored at it.
Columns: by, seconds, at_risk (duration not shorter), happened (how many) and survival: the product of
1 - happened / at_risk up to and including this time.
-#}
{% macro kaplan_meier(durations, by) -%}
{%- set key = by | join(", ") -%}
select
    *,
    -- Where all that are left happen, nobody is left: that is the last moment, and its logarithm would be NULL.
    case
        when at_risk = happened then 0.0
        else exp(sum(ln(nullif(at_risk - happened, 0) / at_risk)) over (partition by {{ key }} order by seconds))
    end as survival
from (
    select {{ key }}, seconds, any_value(everyone - place + 1) as at_risk, count(*) as happened
    from (
        select *, rank() over (partition by {{ key }} order by seconds) as place
        from {{ durations }}
    ) as ranked
    inner join (select {{ key }}, count(*) as everyone from {{ durations }} group by {{ key }}) as groups using ({{ key }})
    where happened
    group by {{ key }}, seconds
) as moments
{%- endmacro %}

{#-
An aggregate over what kaplan_meier made; NULL where the estimate does not fall to half. The allowance is for the rounding
of the product, which stays below it for any number of moments seen here.
-#}
{% macro km_median_seconds() -%}
    min(case when survival <= 0.5 + 1e-9 then seconds end)
{%- endmacro %}
