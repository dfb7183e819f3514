{#-
Materialization "difference": a model gives its whole result, or in an incremental build what macros/touched.sql narrows it to, and only
rows that differ are written, so that the lake's change feed between two releases holds what changed and nothing else. They stay
in temporary tables until the session ends, for the models of a build that read this one's table.
A model none of whose inputs changed is left alone. `unique_key` is the table's grain.
-#}
{% materialization difference, adapter="duckdb" %}
    {%- set relation = this.incorporate(type="table") -%}
    {%- if not config.get("unique_key") -%}
        {{ exceptions.raise_compiler_error("a model needs unique_key: the grain of " ~ this) }}
    {%- endif -%}
    {%- set standing = model_standing() -%}
    {%- set anew = load_cached_relation(this) is none or should_full_refresh() or not standing.same_code -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {%- if not anew and standing.built is not none and not standing.changed -%}
        {% call noop_statement("main", "nothing new", "OK", "0") %}{% endcall %}
    {%- else -%}
        {{ run_hooks(pre_hooks, inside_transaction=True) }}
        {%- set touched = find_touched(standing) if is_increment() -%}
        {%- set differing = find_difference(relation, sql, touched, standing) if not anew -%}
        {% call statement("main", auto_begin=not standing.shared) %}
            {% if anew %}
            drop table if exists {{ relation }};
            {{ create_table_as(False, relation, sql) }};
            {% else %}
            {{ write_difference(relation, differing) }}
            {% endif %}
            {{ record_build(standing, "created" if anew else "difference" if differing.new or differing.gone else none) }}
        {% endcall %}
        {{ run_hooks(post_hooks, inside_transaction=True) }}
        {% do adapter.commit() if not standing.shared %}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({"relations": [relation]}) }}
{% endmaterialization %}

{#-
Find which rows of `relation` are gone and which are new by `sql`, and keep them as written_now(); returns how many there are. Rows are
compared as sets, by the names of their columns: a row that both sides have is left alone.
-#}
{% macro find_difference(relation, sql, touched, standing) %}
    {%- if touched["keys"] == 0 and not touched["rows"] -%}
        {{ return({"new": 0, "gone": 0}) }}
    {%- endif -%}
    {%- set differing, sql = "differing_" ~ model.name, skip_empty(sql, standing.empty) -%}
    {%- set filter = with_touched_key("given", key_of()) if promise("key") else "" -%}
    {%- set key = row_key() if promise("rows_of") else key_of() -%}
    {%- set statements -%}
    create or replace temporary table {{ differing }} as
    {% if touched["keys"] == 0 -%}
    select *, null::bigint[] as lake_rows from (
        {{ sql }}
    );
    {%- else -%}
    select * exclude (lake_row), list(lake_row) filter (lake_row is not null) as lake_rows
    from (
        select given.*, null::bigint as lake_row from (
            {{ sql }}
        ) as given {{ filter }}
        union all by name
        select given.*, rowid as lake_row from {{ relation }} as given {{ with_touched_key("given", key) if key }}
    )
    group by all
    having count(lake_row) in (0, count(*));
    {%- endif %}

    create or replace temporary view {{ written_now("insertions", relation) }} as
    select * exclude (lake_rows), null::bigint as lake_row, {{ standing.now + 1 }} as lake_snapshot
    from {{ differing }}
    where lake_rows is null;

    create or replace temporary view {{ written_now("deletions", relation) }} as
    select * exclude (lake_rows), unnest(lake_rows) as lake_row, {{ standing.now + 1 }} as lake_snapshot
    from {{ differing }}
    where lake_rows is not null;

    select count(*) filter (lake_rows is null) as new, count(lake_rows) as gone from {{ differing }}
    {%- endset -%}
    {{ return(run_query(statements).rows[0]) }}
{% endmacro %}

{% macro write_difference(relation, differing) %}
    {%- if differing.gone %}
    delete from {{ relation }} where rowid in (select lake_row from {{ written_now("deletions", relation) }});
    {%- endif %}
    {%- if differing.new %}
    insert into {{ relation }} by name
    select * exclude (lake_row, lake_snapshot) from {{ written_now("insertions", relation) }};
    {%- endif %}
{% endmacro %}
