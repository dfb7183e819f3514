{#- Intervals of one `key` follow each other without gap or overlap, neighbours differ, and only the last has no end. -#}
{% test intervals_follow(model, key, state) %}
    select {{ key }}, {{ state }}, valid_from, valid_to
    from {{ model }}
    window in_order as (partition by {{ key }} order by valid_from)
    qualify valid_to is distinct from lead(valid_from) over in_order
        or valid_to <= valid_from
        or {{ state }} is not distinct from lead({{ state }}) over in_order
{% endtest %}
