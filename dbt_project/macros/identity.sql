{#-
Identity checks counted three ways: one row per value of `by`, columns of the relation `sessions` (int_identity_sessions).

A consumer counts once, where their first session with an attempt stands, and passed if any of their sessions did.
Sessions without an attempt are counted and stand in no rate. Times are whole seconds from a session's start to its
verification, and for consumers from their first session with an attempt.
-#}
{% macro identity_rates(sessions, by) -%}
with

ranked as (
    select
        *,
        attempt_count > 0 and consumer_id is not null and row_number() over (
            partition by consumer_id order by attempt_count = 0, started_at, session_id
        ) = 1 as is_consumers_first,
        min(verified_at) over (partition by consumer_id) as consumer_verified_at
    from {{ sessions }}
),

counts as (
    select
        {{ by | join(", ") }},
        count(*) as session_count,
        count(*) filter (where attempt_count > 0) as attempted_sessions,
        count(*) filter (where first_attempt_passed) as first_attempt_passed_sessions,
        count(verified_at) as passed_sessions,
        count(*) filter (where canceled) as canceled_sessions,
        cast(sum(attempt_count) as bigint) as attempt_count,
        cast(sum(greatest(attempt_count - 1, 0)) as bigint) as retry_count,
        count(*) filter (where attempt_count > 1) as retried_sessions,
        count(*) filter (where is_consumers_first) as attempted_consumers,
        count(consumer_verified_at) filter (where is_consumers_first) as passed_consumers,
        quantile_disc({{ seconds_between("started_at", "verified_at") }}, 0.5) as median_seconds_to_verify,
        quantile_disc({{ seconds_between("started_at", "consumer_verified_at") }}, 0.5) filter (
            where is_consumers_first
        ) as median_consumer_seconds_to_verify
    from ranked
    group by {{ by | join(", ") }}
)

select
    *,
    {{ share("passed_sessions", "attempted_sessions") }} as session_pass_rate,
    {{ share("first_attempt_passed_sessions", "attempted_sessions") }} as first_attempt_pass_rate,
    {{ share("passed_consumers", "attempted_consumers") }} as consumer_pass_rate
from counts
{%- endmacro %}
