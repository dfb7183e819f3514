{{ config(
    unique_key=["consumer_id", "event_timestamp", "known_at", "event_id", "content_hash"],
    meta={"key": "consumer_id", "key_of": {"stg_customers": "customer_id"}},
) }}

with

customers as (
    select
        customer_id as consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        country, currency, email_domain, delinquent, signed_up_at,
        type = 'customer.deleted' as is_gone
    from {{ touched("stg_customers") }}
    where {{ in_force() }}
),

-- A retail customer is known only by invoices: each says where the customer is.
invoices as (
    select
        consumer_id, event_timestamp, known_from, known_until, sequence, event_id, content_hash,
        country, currency, false as is_gone
    from {{ touched("int_retail_invoices") }}
),

versions as (
    select * from customers
    union all by name
    select * from invoices
),

final as (
    {{ as_states("versions", "consumer_id", [
        "country", "currency", "email_domain", "delinquent", "signed_up_at",
    ], deleted="is_gone") | indent(4) }}
)

select * from final
