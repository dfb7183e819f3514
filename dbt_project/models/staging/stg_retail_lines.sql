{%- set object = {
    "id": "VARCHAR",
    "invoice": "VARCHAR",
    "cancellation": "BOOLEAN",
    "line": "BIGINT",
    "stock_code": "VARCHAR",
    "description": "VARCHAR",
    "quantity": "BIGINT",
    "unit_price": "DECIMAL(18,6)",
    "amount": "BIGINT",
    "currency": "VARCHAR",
    "customer": "VARCHAR",
    "country": "VARCHAR"
} -%}

with

versions as (
    {{ event_versions("type = 'retail.line'", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as line_id,
        object.invoice as invoice_id,
        object.line,
        object.cancellation as is_cancellation,
        object.customer as customer_id,
        object.stock_code,
        object.description,
        object.quantity,
        object.unit_price,
        object.amount,
        object.currency,
        object.country
    from versions
)

select * from final
