{#-
Incremental strategy "difference": the model gives its whole result every time, so that an incremental build
equals a full refresh by construction, and only rows that differ are written, so that the lake's change feed
between two releases holds what changed and nothing else. `unique_key` is the mart's grain: columns never NULL.
-#}
{% macro get_incremental_difference_sql(arg_dict) %}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set result = arg_dict["temp_relation"] -%}
    {%- set columns = get_quoted_csv(arg_dict["dest_columns"] | map(attribute="name")) -%}
    {%- set key = arg_dict["unique_key"] -%}
    {%- set key = [key] if key is string else key -%}
    {%- if not key -%}
        {{ exceptions.raise_compiler_error("the difference strategy needs unique_key: the grain of " ~ target) }}
    {%- endif %}
    delete from {{ target }} as standing
    using (
        select {{ columns }} from {{ target }}
        except
        select {{ columns }} from {{ result }}
    ) as gone
    where {% for column in key %}standing.{{ column }} = gone.{{ column }}{{ " and " if not loop.last }}{% endfor %};

    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ result }}
    except
    select {{ columns }} from {{ target }}
{% endmacro %}
