{#- At every known time at most one version of a fact is in force: a second would count it twice. -#}
{% test intervals_do_not_overlap(model, key) %}
    select {{ key }}, known_from, known_until
    from {{ model }}
    qualify known_from < max(coalesce(known_until, 'infinity')) over (
        partition by {{ key }} order by known_from rows between unbounded preceding and 1 preceding
    )
{% endtest %}
