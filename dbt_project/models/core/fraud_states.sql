{{ config(unique_key=["consumer_id", "valid_from"], post_hook="{{ create_state_macros('fraud') }}") }}

{{ states_as_known_now("fraud") }}
