{{ config(unique_key=["source", "credit_account_id", "month"], meta={
    "key": "credit_account_id",
    "also_touched": "{{ credit_accounts_of_a_new_month(this) }}",
}) }}

{#-
One row per credit account and complete month, as it stood at the month's end: the platform's own accounts by their
last events, and accounts that a monthly tape tells of. An account's months end with the one it was charged off or
paid off in.
-#}
with

last_month as (
    select {{ last_credit_month() | indent(4) }} as month
),

account_events as (
    select
        source, credit_account_id, customer_id, event_timestamp, known_from, event_id,
        status, balance, credit_limit, currency,
        {{ cycles_past_due("days_past_due") }} as cycles
    from {{ touched("stg_credit_accounts") }}
    where known_until is null and not retracted and credit_account_id is not null
),

-- A statement tells what is owed, and nothing of the account's status.
events as (
    select * from account_events
    union all by name
    select source, credit_account_id, event_timestamp, known_from, event_id, balance
    from {{ touched("stg_credit_statements") }}
    where known_until is null and not retracted and credit_account_id is not null
),

placed as (
    select
        *,
        {{ reporting_month("event_timestamp") }} as month,
        row(event_timestamp, known_from, event_id) as place
    from events
),

-- The last of each thing that a month's events say; arg_max leaves NULLs out.
reported as (
    select
        source,
        credit_account_id,
        month,
        arg_max(customer_id, place) as consumer_id,
        arg_max(status, place) as status,
        arg_max(cycles, place) as cycles,
        arg_max(balance, place) as balance,
        arg_max(credit_limit, place) as credit_limit,
        arg_max(currency, place) as currency,
        coalesce(bool_or(status = 'charged_off' or cycles >= 4), false) as was_seriously_late
    from placed
    group by source, credit_account_id, month
),

-- What a month does not tell is as it was.
filled as (
    select
        source, credit_account_id, month, was_seriously_late,
        {%- for column in ["consumer_id", "status", "cycles", "balance", "credit_limit", "currency"] %}
        last_value({{ column }} ignore nulls) over upto as {{ column }},
        {%- endfor %}
        min(case when status is not null then month end) over (
            partition by source, credit_account_id
        ) as opened_month,
        lead(month) over upto as following_month
    from reported
    window upto as (
        partition by source, credit_account_id order by month
        rows between unbounded preceding and current row
    )
),

bucketed as (
    select
        *,
        {{ delinquency_bucket("status", "cycles") | indent(8) }} as bucket,
        min(case when status in ('charged_off', 'paid_off', 'closed') then month end) over (
            partition by source, credit_account_id
        ) as ended_month
    from filled
    where status is not null
),

own as (
    select
        source,
        credit_account_id as account,
        consumer_id,
        cast(unnest(generate_series(
            bucketed.month::timestamp,
            least(
                coalesce(following_month - interval 1 month, last_month.month),
                coalesce(ended_month, last_month.month),
                last_month.month
            )::timestamp,
            interval 1 month
        )) as date) as month,
        bucketed.month as reported_month,
        opened_month,
        currency,
        bucket,
        balance,
        credit_limit,
        was_seriously_late
    from bucketed
    cross join last_month
),

tape as (
    select
        source,
        credit_account_id as account,
        customer_id as consumer_id,
        month,
        month as reported_month,
        opened_month,
        currency,
        {{ delinquency_bucket("status", "cycles_past_due") | indent(8) }} as bucket,
        balance,
        credit_limit,
        false as was_seriously_late,
        defaults_next_month
    from {{ touched("stg_credit_months") }}
    where known_until is null and not retracted
),

months as (
    select * from own
    union all by name
    select * from tape
),

steps as (
    {{ next_buckets("months", ["source"]) | indent(4) }}
),

final as (
    select
        source,
        account as credit_account_id,
        consumer_id,
        month,
        opened_month,
        currency,
        bucket,
        balance,
        credit_limit,
        was_seriously_late and month = reported_month
            or bucket in ('dpd_90_119', 'dpd_120_plus', 'charged_off') as seriously_late,
        next_bucket,
        coalesce(defaults_next_month, next_bucket = 'charged_off') as defaults_next_month
    from steps
)

select * from final
