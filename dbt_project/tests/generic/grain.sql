{#- The mart's grain: `columns` together are unique, and none is ever NULL. Returns what breaks it. -#}
{% test grain(model, columns) %}
    select {{ columns | join(", ") }}, count(*) as row_count
    from {{ model }}
    group by all
    having count(*) > 1 {% for column in columns %} or {{ column }} is null{% endfor %}
{% endtest %}
