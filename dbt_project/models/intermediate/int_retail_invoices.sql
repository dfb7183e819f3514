{{ config(unique_key=["source", "invoice_id"], meta={"key": "invoice_id"}) }}

{#- Lines have no revisions, so an invoice is what its lines that stand now say. -#}
with

lines as (
    select *
    from {{ touched("stg_retail_lines") }}
    where known_until is null and not retracted
),

final as (
    select
        source,
        invoice_id,
        is_cancellation,
        max(customer_id) as consumer_id,
        max(country) as country,
        max(currency) as currency,
        cast(sum(amount) as bigint) as amount,
        count(*) as line_count,
        cast(sum(quantity) as bigint) as quantity,
        max(event_timestamp) as event_timestamp,
        max(known_from) as known_from,
        cast(null as timestamptz) as known_until,
        cast(null as bigint) as sequence,
        invoice_id as event_id,
        md5(string_agg(content_hash, ',' order by event_id)) as content_hash
    from lines
    group by source, invoice_id, is_cancellation
)

select * from final
