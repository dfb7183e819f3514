{{ config(unique_key=["source", "credit_account_id", "month"], meta={
    "key": "credit_account_id",
    "also_touched": "{{ credit_accounts_of_a_new_month(this) }}",
}) }}

{#-
One row per credit account and complete month, as it stood at the month's end: the platform's own accounts by their
last events, and accounts that a monthly tape tells of. An account's months end with the one it was charged off in, or
paid off in for good.
-#}
with

last_month as (
    select {{ last_credit_month() | indent(4) }} as month
),

-- A closing with money owed changes nothing but what is owed.
account_events as (
    select
        source, credit_account_id, customer_id, event_timestamp, known_from, event_id, balance, credit_limit, currency, created_at,
        case when type = 'credit.account.opened' then event_timestamp end as opening_at,
        case when not {{ closes_owing("status", "balance") }} then status end as status,
        case
            when not {{ closes_owing("status", "balance") }} then {{ cycles_past_due("status", "days_past_due") }}
        end as cycles
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

-- The last of each thing that a month's events say; arg_max leaves NULLs out. A charge-off stands whatever follows it.
reported as (
    select
        source,
        credit_account_id,
        month,
        arg_max(customer_id, place) as consumer_id,
        case when bool_or(status = 'charged_off') then 'charged_off' else arg_max(status, place) end as status,
        arg_max(cycles, place) as cycles,
        arg_max(balance, place) as balance,
        arg_max(credit_limit, place) as credit_limit,
        arg_max(currency, place) as currency,
        min(opening_at) as opening_at,
        min(created_at) as created_at,
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
        -- An account that the feed met in mid-life was opened before.
        least(
            min(case when status is not null then month end) over of_account,
            {{ reporting_month("coalesce(min(opening_at) over of_account, min(created_at) over of_account)") }}
        ) as opened_month,
        lead(month) over upto as following_month
    from reported
    window
        of_account as (partition by source, credit_account_id),
        upto as (
            partition by source, credit_account_id order by month
            rows between unbounded preceding and current row
        )
),

bucketed as (
    select
        *,
        {{ delinquency_bucket("status", "cycles", "balance") | indent(8) }} as bucket
    from filled
    where status is not null
),

-- Charged off is over; paid off is over where nothing else follows, for an account can be used again.
settled as (
    select
        *,
        bucket = 'charged_off' or bool_and(bucket = 'paid_off') over (
            partition by source, credit_account_id order by month
            rows between current row and unbounded following
        ) as is_over
    from bucketed
),

ended as (
    select
        *,
        min(case when is_over then month end) over (partition by source, credit_account_id) as ended_month
    from settled
),

own as (
    select
        source,
        credit_account_id as account,
        consumer_id,
        cast(unnest(generate_series(
            ended.month::timestamp,
            least(
                coalesce(following_month - interval 1 month, last_month.month),
                coalesce(ended_month, last_month.month),
                last_month.month
            )::timestamp,
            interval 1 month
        )) as date) as month,
        ended.month as reported_month,
        opened_month,
        currency,
        bucket,
        balance,
        credit_limit,
        was_seriously_late
    from ended
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
        {{ delinquency_bucket("status", "cycles_past_due", "balance") | indent(8) }} as bucket,
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
