{{ config(unique_key="credit_payment_id", meta={"key": "credit_payment_id"}) }}

{#- What each payment's last event says: a returned payment paid nothing. -#}
with

versions as (
    select *
    from {{ touched("stg_credit_payments") }}
    where known_until is null and not retracted
),

final as (
    select *
    from versions
    qualify row_number() over (
        partition by credit_payment_id order by event_timestamp desc, known_from desc, {{ tie_break() }}
    ) = 1
)

select * from final
