{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "customer": "VARCHAR",
    "related_customer": "VARCHAR",
    "client_reference_id": "VARCHAR",
    "type": "VARCHAR",
    "status": "VARCHAR",
    "last_error": {
        "code": "VARCHAR"
    },
    "document_type": "VARCHAR",
    "country": "VARCHAR"
} -%}

with

versions as (
    {{ event_versions("starts_with(type, 'identity.verification_session.')", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as verification_session_id,
        object.customer as customer_id,
        {{ unix_time('object.created') }} as created_at,
        object.type as verification_type,
        object.status,
        object.last_error.code as error_code,
        object.document_type,
        object.country as document_country
    from versions
)

select * from final
