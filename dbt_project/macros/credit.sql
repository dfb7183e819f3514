{#-
Delinquency of accounts by month, over any relation with one row per account and month: the platform's own accounts
(int_credit_months) and a monthly tape alike.

months: a relation or CTE with account, month (DATE, first day), bucket, balance (minor units), and the columns of `by`,
which tell portfolios apart that are never added up, such as source and currency.
Buckets: current, dpd_1_29, dpd_30_59, dpd_60_89, dpd_90_119, dpd_120_plus, charged_off, paid_off.
-#}

{#-
Days past due as cycles: 0 for none, then 1 for 1 to 29 days, 2 for 30 to 59 and so on. NULL where no days are told: only the
status `current` says that there are none.
-#}
{% macro cycles_past_due(status, days) -%}
    case when {{ days }} > 0 then {{ days }} // 30 + 1 when {{ days }} <= 0 or {{ status }} = 'current' then 0 end
{%- endmacro %}

{#- A closing with money still owed, which leaves an account as it was (credit_state says so too). -#}
{% macro closes_owing(status, balance) -%}
    coalesce({{ status }} = 'closed' and {{ balance }} > 0, false)
{%- endmacro %}

{#- An account's bucket, by what its ledger says first and by its cycles past due then. -#}
{% macro delinquency_bucket(status, cycles, balance) -%}
    case
        when {{ status }} = 'charged_off' then 'charged_off'
        when {{ status }} in ('paid_off', 'closed') and not {{ closes_owing(status, balance) }} then 'paid_off'
        when {{ cycles }} >= 5 then 'dpd_120_plus'
        when {{ cycles }} = 4 then 'dpd_90_119'
        when {{ cycles }} = 3 then 'dpd_60_89'
        when {{ cycles }} = 2 then 'dpd_30_59'
        when {{ cycles }} = 1 or {{ status }} = 'past_due' then 'dpd_1_29'
        else 'current'
    end
{%- endmacro %}

{#- `months` with next_bucket: the same account's bucket in the month after; NULL where it has no row then. -#}
{% macro next_buckets(months, by) -%}
select
    *,
    case
        when lead(month) over account_months = month + interval 1 month then lead(bucket) over account_months
    end as next_bucket
from {{ months }}
window account_months as (partition by {{ (by + ["account"]) | join(", ") }} order by month)
{%- endmacro %}

{#-
The roll-rate matrix of each month: of the accounts in a bucket, how many are in which bucket a month later.

steps: what next_buckets made. Only accounts with a row in both months count, so the rates of a row add up to 1. What
is charged off or paid off has left: it is a bucket to go to. balance is what the accounts owed in the first month, a
credit balance counting as nothing, so that its rates add up to 1 as well.
-#}
{% macro roll_rates(steps, by) -%}
with

cells as (
    select
        {{ (by + ["month"]) | join(", ") }},
        bucket as from_bucket,
        next_bucket as to_bucket,
        count(*) as account_count,
        cast(sum(greatest(balance, 0)) as bigint) as balance
    from {{ steps }}
    where next_bucket is not null and bucket not in ('charged_off', 'paid_off')
    group by all
),

totals as (
    select
        *,
        cast(sum(account_count) over (
            partition by {{ (by + ["month", "from_bucket"]) | join(", ") }}
        ) as bigint) as from_accounts,
        cast(sum(balance) over (partition by {{ (by + ["month", "from_bucket"]) | join(", ") }}) as bigint) as from_balance
    from cells
)

select
    *,
    {{ share("account_count", "from_accounts") }} as account_rate,
    {{ share("balance", "from_balance") }} as balance_rate
from totals
{%- endmacro %}

{#-
Vintage curves: of the accounts opened in a month, how many had ever been 90 or more days past due, or charged off, by
each number of months on book (0: the opening month).

months: as above, with opened_month (NULL: unknown, and in no vintage) and seriously_late (BOOLEAN: so late at any time in
the month). Every account of the cohort stays in the denominator. A curve ends with the last month that its portfolio
has: ages that the cohort has not reached have no row. A cohort opened before the portfolio's first month has no curve:
nothing tells who of it was late, or had left, by then.
-#}
{% macro vintages(months, by) -%}
with

accounts as (
    select
        {{ (by + ["account"]) | join(", ") }},
        min(opened_month) as cohort_month,
        datediff('month', min(opened_month), min(month) filter (where seriously_late)) as late_age
    from {{ months }}
    where opened_month is not null
    group by all
),

ends as (
    select {{ by | join(", ") }}, min(month) as first_month, max(month) as last_month
    from {{ months }}
    group by all
),

cohorts as (
    select {{ (by + ["cohort_month"]) | join(", ") }}, count(*) as account_count
    from accounts
    group by all
),

ages as (
    select
        cohorts.*,
        cast(unnest(range(datediff('month', cohort_month, last_month) + 1)) as integer) as months_on_book
    from cohorts
    inner join ends using ({{ by | join(", ") }})
    where cohort_month >= first_month
),

lates as (
    select {{ (by + ["cohort_month"]) | join(", ") }}, late_age as months_on_book, count(*) as late_accounts
    from accounts
    where late_age is not null
    group by all
),

curves as (
    select
        {{ (by + ["cohort_month", "months_on_book"]) | join(", ") }},
        account_count,
        coalesce(cast(sum(late_accounts) over (
            partition by {{ (by + ["cohort_month"]) | join(", ") }} order by months_on_book
        ) as bigint), 0) as ever_90_accounts
    from ages
    left join lates using ({{ (by + ["cohort_month", "months_on_book"]) | join(", ") }})
)

select
    *,
    {{ share("ever_90_accounts", "account_count") }} as ever_90_rate
from curves
{%- endmacro %}

{#- The last month that the platform's own credit feed tells completely (int_credit_months). -#}
{% macro last_credit_month() -%}
    cast(date_trunc('month', timezone(
        '{{ var("reporting_time_zone") }}',
        {{ observed_until([
            ref("stg_credit_accounts"), ref("stg_credit_statements"), ref("stg_credit_payments"),
        ]) | indent(8) }} - to_hours(24 * {{ var("delivery_days") }})
    )) - interval 1 month as date)
{%- endmacro %}

{#- When a month was completed since the table was built, every account has a row more. -#}
{% macro credit_accounts_of_a_new_month(standing) -%}
    select distinct credit_account_id
    from {{ ref("stg_credit_accounts") }}
    where {{ last_credit_month() | indent(4) }} is distinct from (
        select max(month) from {{ standing }}
        where source in (select distinct source from {{ ref("stg_credit_accounts") }})
    )
{%- endmacro %}
