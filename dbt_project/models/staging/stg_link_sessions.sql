{%- set object = {
    "id": "VARCHAR",
    "created": "DECIMAL(20,6)",
    "customer": "VARCHAR",
    "status": "VARCHAR",
    "auth_method": "VARCHAR",
    "merchant": "VARCHAR",
    "device": {
        "id": "VARCHAR",
        "type": "VARCHAR",
        "os": "VARCHAR"
    },
    "ip_hash": "VARCHAR",
    "ip_prefix_hash": "VARCHAR",
    "ip_country": "VARCHAR"
} -%}

with

versions as (
    {{ event_versions("starts_with(type, 'link.session.')", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object.id as link_session_id,
        object.customer as customer_id,
        {{ unix_time('object.created') }} as created_at,
        object.status,
        object.auth_method,
        object.merchant,
        object.device.id as device_id,
        object.device.type as device_type,
        object.device.os as device_os,
        object.ip_hash,
        object.ip_prefix_hash,
        object.ip_country
    from versions
)

select * from final
