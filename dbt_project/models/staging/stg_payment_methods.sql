{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "customer": "VARCHAR",
    "type": "VARCHAR",
    "card": {
        "brand": "VARCHAR",
        "country": "VARCHAR",
        "exp_month": "BIGINT",
        "exp_year": "BIGINT",
        "funding": "VARCHAR",
        "fingerprint_hash": "VARCHAR"
    }
} -%}

with

versions as (
    {{ event_versions("starts_with(type, 'payment_method.')", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as payment_method_id,
        object.customer as customer_id,
        object.type as method_type,
        {{ unix_time('object.created') }} as created_at,
        object.card.brand as card_brand,
        object.card.country as card_country,
        object.card.funding as card_funding,
        object.card.exp_month as card_exp_month,
        object.card.exp_year as card_exp_year,
        object.card.fingerprint_hash as card_fingerprint_hash
    from versions
)

select * from final
