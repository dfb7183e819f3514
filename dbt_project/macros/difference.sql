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
        {% call statement("main") %}
            {% if anew %}
            drop table if exists {{ relation }};
            {{ create_table_as(False, relation, sql) }};
            {% else %}
            {{ write_difference(relation, differing) }}
            {% endif %}
            {{ record_build(standing, "created" if anew else "difference" if differing.new or differing.gone else none) }}
        {% endcall %}
        {{ run_hooks(post_hooks, inside_transaction=True) }}
        {% do adapter.commit() %}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({"relations": [relation]}) }}
{% endmaterialization %}

{#- Find which rows of `relation` are gone and which are new by `sql`; returns the columns and how many there are. -#}
{% macro find_difference(relation, sql, touched, standing) %}
    {%- if touched["keys"] == 0 and not touched["rows"] -%}
        {{ return({"new": 0, "gone": 0}) }}
    {%- endif -%}
    {%- set columns = get_quoted_csv(adapter.get_columns_in_relation(relation) | map(attribute="name")) -%}
    {%- set result, before = "result_" ~ model.name, "before_" ~ model.name -%}
    {%- set new, gone = written_now("insertions", relation), written_now("deletions", relation) -%}
    {%- set filter = with_touched_key("given", key_of()) if promise("key") else "" -%}
    {%- set key = as_list(config.get("unique_key")) if promise("rows_of") else key_of() -%}
    {%- set statements -%}
    create or replace temporary table {{ result }} as
    select {{ columns }} from (
        {{ sql }}
    ) as given {{ filter }};

    create or replace temporary table {{ before }} as
    {% if touched["keys"] == 0 -%}
    select 0 as standing_row, * from {{ result }} limit 0;
    {%- else -%}
    select rowid as standing_row, {{ columns }} from {{ relation }} as given
    {{ with_touched_key("given", key) if key }};
    {%- endif %}

    create or replace temporary table {{ new }} as
    select *, null::bigint as lake_row, {{ standing.now + 1 }} as lake_snapshot
    from (select {{ columns }} from {{ result }} except select {{ columns }} from {{ before }});

    create or replace temporary table {{ gone }} as
    select {{ columns }}, standing_row as lake_row, {{ standing.now + 1 }} as lake_snapshot
    from {{ before }} as standing
    where not exists (
        select 1 from {{ result }} as given
        where {% for column in columns.split(", ") %}given.{{ column }} is not distinct from standing.{{ column }}
            {{- " and " if not loop.last }}{% endfor %}
    );

    drop table {{ result }};
    drop table {{ before }};

    select (select count(*) from {{ new }}) as new, (select count(*) from {{ gone }}) as gone
    {%- endset -%}
    {%- set counts = run_query(statements).rows[0] -%}
    {{ return({"columns": columns, "new": counts["new"], "gone": counts["gone"]}) }}
{% endmacro %}

{% macro write_difference(relation, differing) %}
    {%- if differing.gone %}
    delete from {{ relation }} where rowid in (select lake_row from {{ written_now("deletions", relation) }});
    {%- endif %}
    {%- if differing.new %}
    insert into {{ relation }} ({{ differing.columns }})
    select {{ differing.columns }} from {{ written_now("insertions", relation) }};
    {%- endif %}
{% endmacro %}
