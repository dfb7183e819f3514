{#- Within `group_by`, each part adds up to its whole: parts: column -> the column that says the sum. -#}
{% test rows_add_up(model, group_by, parts) %}
    select {{ group_by | join(", ") }}
    from {{ model }}
    group by all
    having false
        {%- for part, whole in parts.items() %}
        or sum({{ part }}) is distinct from max({{ whole }}) or min({{ whole }}) is distinct from max({{ whole }})
        {%- endfor %}
{% endtest %}
