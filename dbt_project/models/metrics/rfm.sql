{{ config(unique_key=["consumer_id", "currency"]) }}

{#- Scores are NTILE's: five groups as equal as can be, 5 the best; see DECISIONS.md for ties. -#}
with

groups as (
    select
        *,
        ntile(5) over (partition by currency order by last_charge_at, consumer_id) as recency_score,
        ntile(5) over (partition by currency order by charge_count, last_charge_at, consumer_id) as frequency_score,
        ntile(5) over (partition by currency order by amount, last_charge_at, consumer_id) as monetary_score
    from {{ ref("consumer_value") }}
),

final as (
    select
        consumer_id,
        currency,
        last_charge_at,
        charge_count,
        amount,
        cast(recency_score as integer) as recency_score,
        cast(frequency_score as integer) as frequency_score,
        cast(monetary_score as integer) as monetary_score
    from groups
)

select * from final
