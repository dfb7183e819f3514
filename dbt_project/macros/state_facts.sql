{#-
What states are made of: versions of facts, one relation for each subject (lifecycle, identity, credit, fraud).

Every relation has consumer_id, case_id (what the fact is about: a session, an account, a dispute), fact (what it says of
the case), position (0: the consumer was there at all; 1: a fact of the subject; 2: a closing, the last of its moment),
event_timestamp, known_from, known_until, sequence, event_id and content_hash. `of` is ref, or what stands for it in an incremental model.
-#}
{% macro state_facts(subject, of=ref) -%}
{%- if subject == "lifecycle" -%}
{{ lifecycle_facts(of) }}
{%- else -%}
{%- if subject == "identity" -%}{{ identity_facts(of) }}
{%- elif subject == "credit" -%}{{ credit_facts(of) }}
{%- else -%}{{ fraud_facts(of) }}
{%- endif %}
union all by name
select * replace (0 as position)
from (
    {{ lifecycle_facts(of, any_outcome=true) | indent(4) }}
) as presence
{%- endif -%}
{%- endmacro %}

{#-
The subjects, and how a consumer's state follows from those of their cases: `standing` states count as long as any case has
them, the first of the list before the others; where none stands, the last fact decides. `before`: until the first fact.
-#}
{% macro state_subjects() -%}
{{ return({
    "lifecycle": {},
    "identity": {"before": "none", "standing": ["verified"]},
    "credit": {"before": "none", "standing": [
        "charged_off", "dpd_90_119", "dpd_60_89", "dpd_30_59", "dpd_1_29", "current",
    ]},
    "fraud": {"before": "clean", "standing": ["disputed"]},
}) }}
{%- endmacro %}

{#- any_outcome: failed charges and checks that did not pass too, which say that the consumer was there. -#}
{% macro lifecycle_facts(of=ref, any_outcome=false) -%}
select
    customer_id as consumer_id, '' as case_id,
    case type when 'customer.created' then 1 else 2 end as position,
    case type when 'customer.created' then 'signed_up' else 'closed' end as fact,
    event_timestamp, known_from, known_until, sequence, event_id, content_hash
from {{ of("stg_customers") }}
where type in ('customer.created', 'customer.deleted') and {{ in_force() }}
    and customer_id is not null
union all
select
    consumer_id, '' as case_id, 1 as position, '{{ "checked" if any_outcome else "verified" }}' as fact,
    event_timestamp, known_from, known_until, sequence, event_id, content_hash
from {{ of("verification_events") }}
where {{ "" if any_outcome else "type = 'identity.verification_session.verified' and " }}consumer_id is not null
union all
select
    consumer_id, '' as case_id, 1 as position, '{{ "charge_tried" if any_outcome else "charged" }}' as fact,
    event_timestamp, known_from, known_until, sequence, event_id, content_hash
from {{ of("charge_events") }}
where {{ "" if any_outcome else "status = 'succeeded' and " }}consumer_id is not null
{%- endmacro %}

{% macro identity_facts(of=ref) -%}
select
    consumer_id,
    coalesce(session_id, event_id) as case_id,
    1 as position,
    case
        when status = 'requires_input' and error_code is not null then 'failed'
        when status in ('requires_input', 'processing') then 'pending'
        else status
    end as fact,
    event_timestamp, known_from, known_until, sequence, event_id, content_hash
from {{ of("verification_events") }}
where status in ('requires_input', 'processing', 'verified', 'canceled', 'redacted')
    and consumer_id is not null
{%- endmacro %}

{% macro credit_facts(of=ref) -%}
select
    consumer_id,
    'application:' || coalesce(application_id, event_id) as case_id,
    1 as position,
    case status when 'submitted' then 'applied' when 'canceled' then 'none' else status end as fact,
    event_timestamp, known_from, known_until, sequence, event_id, content_hash
from {{ of("credit_application_events") }}
where status in ('submitted', 'approved', 'declined', 'canceled') and consumer_id is not null
union all by name
select
    consumer_id,
    'account:' || coalesce(credit_account_id, event_id) as case_id,
    1 as position,
    {{ credit_state("status", "days_past_due", "balance") }} as fact,
    event_timestamp, known_from, known_until, sequence, event_id, content_hash
from {{ of("credit_account_events") }}
where {{ credit_state("status", "days_past_due", "balance") }} is not null and consumer_id is not null
{%- endmacro %}

{#- What an account's event says; NULL for a closing with money still owed, which leaves the state as it was. -#}
{% macro credit_state(status, days_past_due, balance) -%}
case
    when {{ status }} = 'closed' and coalesce({{ balance }}, 0) > 0 then null
    when {{ status }} in ('closed', 'paid_off') then 'paid_off'
    when {{ status }} = 'charged_off' or {{ days_past_due }} >= {{ var("charged_off_after_days") }} then 'charged_off'
    when {{ days_past_due }} >= 90 then 'dpd_90_119'
    when {{ days_past_due }} >= 60 then 'dpd_60_89'
    when {{ days_past_due }} >= 30 then 'dpd_30_59'
    when {{ days_past_due }} >= 1 or {{ status }} = 'past_due' then 'dpd_1_29'
    when {{ status }} = 'current' then 'current'
end
{%- endmacro %}

{% macro fraud_facts(of=ref) -%}
select
    consumer_id,
    'dispute:' || coalesce(dispute_id, event_id) as case_id,
    1 as position,
    case
        when status = 'warning_closed' then 'clean'
        when starts_with(status, 'warning_') then 'warned'
        when status = 'lost' then 'lost'
        when status in ('won', 'prevented', 'charge_refunded') then 'won'
        else 'disputed'
    end as fact,
    event_timestamp, known_from, known_until, sequence, event_id, content_hash
from {{ of("int_disputes") }}
where status is not null and consumer_id is not null
union all by name
select
    consumer_id,
    'warning:' || coalesce(early_fraud_warning_id, event_id) as case_id,
    1 as position,
    'warned' as fact,
    event_timestamp, known_from, known_until, sequence, event_id, content_hash
from {{ of("int_fraud_warnings") }}
where consumer_id is not null
{%- endmacro %}
