{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "currency": "VARCHAR",
    "delinquent": "BOOLEAN",
    "country": "VARCHAR",
    "email_hash": "VARCHAR",
    "email_normalised_hash": "VARCHAR",
    "email_domain": "VARCHAR",
    "phone_hash": "VARCHAR",
    "name_hash": "VARCHAR"
} -%}

with

versions as (
    {{ event_versions("type in ('customer.created', 'customer.updated', 'customer.deleted')", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as customer_id,
        {{ unix_time('object.created') }} as signed_up_at,
        object.currency,
        object.country,
        object.delinquent,
        object.email_hash,
        object.email_normalised_hash,
        object.email_domain,
        object.phone_hash,
        object.name_hash
    from versions
)

select * from final
