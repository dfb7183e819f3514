{{ config(unique_key=["source", "month", "currency", "bucket"]) }}

with

months as (
    select * from {{ ref("int_credit_months") }}
),

counts as (
    select
        source,
        month,
        coalesce(currency, 'unknown') as currency,
        bucket,
        count(*) as account_count,
        coalesce(cast(sum(greatest(balance, 0)) as bigint), 0) as exposure,
        coalesce(cast(sum(greatest(balance, 0)) filter (where credit_limit > 0) as bigint), 0) as drawn,
        coalesce(cast(sum(credit_limit) filter (where credit_limit > 0) as bigint), 0) as credit_limit,
        coalesce(cast(sum(greatest(credit_limit - greatest(balance, 0), 0)) filter (
            where bucket not in ('charged_off', 'paid_off')
        ) as bigint), 0) as undrawn,
        count(defaults_next_month) as followed_accounts,
        count(*) filter (where defaults_next_month) as defaulted_accounts
    from months
    group by all
),

final as (
    select
        *,
        {{ share("drawn", "credit_limit") }} as utilisation,
        {{ share("defaulted_accounts", "followed_accounts") }} as default_rate
    from counts
)

select * from final
