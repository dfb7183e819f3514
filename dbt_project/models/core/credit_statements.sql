{{ config(
    unique_key="statement_id",
    meta={
        "key": "statement_id",
        "key_of": {"stg_credit_statements": "credit_statement_id", "int_credit_payments": "credit_statement_id"},
    },
) }}

with

statements as (
    select *
    from {{ touched("stg_credit_statements") }}
    where known_until is null and not retracted
    qualify row_number() over (
        partition by credit_statement_id order by event_timestamp desc, known_from desc, {{ tie_break() }}
    ) = 1
),

payments as (
    select
        credit_statement_id,
        cast(sum(amount) as bigint) as paid_amount
    from {{ touched("int_credit_payments") }}
    where type = 'credit.payment.succeeded'
    group by credit_statement_id
),

final as (
    select
        statements.credit_statement_id as statement_id,
        statements.credit_account_id,
        statements.customer_id as consumer_id,
        statements.event_timestamp as issued_at,
        statements.period_start,
        statements.period_end,
        statements.due_at,
        statements.balance,
        statements.minimum_due,
        coalesce(payments.paid_amount, 0) as paid_amount,
        statements.currency
    from statements
    left join payments on payments.credit_statement_id = statements.credit_statement_id
)

select * from final
