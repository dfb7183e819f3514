{%- set object = {
    "case": "VARCHAR",
    "activity": "VARCHAR",
    "transition": "VARCHAR",
    "amount": "BIGINT",
    "currency": "VARCHAR"
} -%}

with

versions as (
    {{ event_versions("type = 'process.activity'", object) }}
),

final as (
    select
        {{ envelope() | indent(4) }},
        object."case" as case_id,
        object.activity,
        object.transition,
        object.amount,
        object.currency
    from versions
)

select * from final
