{{ config(unique_key="started_month") }}

with

sessions as (
    select * from {{ ref("int_identity_sessions") }}
),

final as (
    {{ identity_rates("sessions", ["started_month"]) | indent(4) }}
)

select * from final
