{{ config(unique_key=["document_country", "document_type"]) }}

with

sessions as (
    select * from {{ ref("int_identity_sessions") }}
),

final as (
    {{ identity_rates("sessions", ["document_country", "document_type"]) | indent(4) }}
)

select * from final
