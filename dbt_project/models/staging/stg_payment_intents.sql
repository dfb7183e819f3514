{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "amount": "BIGINT",
    "currency": "VARCHAR",
    "customer": "VARCHAR",
    "status": "VARCHAR",
    "payment_method": "VARCHAR",
    "last_payment_error": {
        "code": "VARCHAR",
        "decline_code": "VARCHAR"
    }
} -%}

with

versions as (
    {{ event_versions("starts_with(type, 'payment_intent.')", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as payment_intent_id,
        object.customer as customer_id,
        object.payment_method as payment_method_id,
        {{ unix_time('object.created') }} as created_at,
        object.amount,
        object.currency,
        object.status,
        object.last_payment_error.code as error_code,
        object.last_payment_error.decline_code as decline_code
    from versions
)

select * from final
