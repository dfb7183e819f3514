{{ config(unique_key=["consumer_id", "valid_from"], post_hook="{{ create_state_macros('identity') }}") }}

{{ states_as_known_now("identity") }}
