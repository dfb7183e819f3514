{{ config(
    unique_key=["consumer_id", "valid_from"],
    meta={"key": "consumer_id", "key_of": {"stg_customers": "customer_id"}},
    post_hook="{{ create_state_macros('credit') }}",
) }}

{{ states_as_known_now("credit", touched) }}
