{{ config(unique_key="credit_account_id", meta={"key": "credit_account_id"}) }}

with

events as (
    select *
    from {{ touched("credit_account_events") }}
    where known_until is null
),

payments as (
    select
        credit_account_id,
        max(event_timestamp) as last_payment_at
    from {{ touched("int_credit_payments") }}
    where type = 'credit.payment.succeeded'
    group by credit_account_id
),

openings as (
    select credit_account_id, {{ begun_at("type = 'credit.account.opened'", "created_at") }} as opened_at
    from {{ touched("stg_credit_accounts") }}
    where known_until is null and not retracted
    group by credit_account_id
),

latest as (
    select *
    from events
    qualify row_number() over (
        partition by credit_account_id order by event_timestamp desc, known_from desc, {{ tie_break() }}
    ) = 1
),

final as (
    select
        latest.credit_account_id,
        latest.consumer_id,
        latest.application_id,
        openings.opened_at,
        latest.status,
        latest.event_timestamp as status_since,
        latest.days_past_due,
        latest.credit_limit,
        latest.balance,
        latest.currency,
        payments.last_payment_at
    from latest
    left join openings on openings.credit_account_id is not distinct from latest.credit_account_id
    left join payments on payments.credit_account_id = latest.credit_account_id
)

select * from final
