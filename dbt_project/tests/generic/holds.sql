{#- The condition is true of every row; a NULL breaks it. Returns the rows of which it is not. -#}
{% test holds(model, expression) %}
    select *
    from {{ model }}
    where ({{ expression }}) is not true
{% endtest %}
