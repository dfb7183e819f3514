{#-
What a model computes in an incremental build, and how it says so; docs/adr/0004 tells why. The lake's change feed
tells which rows of its inputs came and went since the model was last built. Then a model that declares

nothing
    is computed whole;
a key, `meta={"key": "consumer_id"}`
    promises that each of its rows depends only on input rows with the same key. Its inputs are read by
    `touched("charge_events")`: only rows whose key any input gained or lost. A row that moved from one key to
    another touches both. `key_of` names the key's columns in inputs that call them otherwise (none: any change there
    touches every key), `also_touched` is a query of further keys;
rows of an input, `meta={"rows_of": "stg_charges"}`
    promises that each of its rows is made of one row of that input alone, and has the same `unique_key` and `known_from`.
    It reads what the input gained, by `touched` too. `where` narrows the input's rows.
-#}

{% macro promise(name) %}
    {{ return((config.get("meta") or {}).get(name)) }}
{% endmacro %}

{% macro as_list(value) %}
    {{ return([value] if value is string else value) }}
{% endmacro %}

{#- The columns of the model's key in its result, or in one of its inputs; none where there are none. -#}
{% macro key_of(name=none) %}
    {{ return(as_list((promise("key_of") or {}).get(name, promise("key")))) }}
{% endmacro %}

{#- Temporary tables that live while the model is built: the touched keys, as key_1, key_2, ...; and the gained rows. -#}
{% macro touched_keys() -%}
    touched_{{ model.name }}
{%- endmacro %}

{% macro gained_rows() -%}
    gained_{{ model.name }}
{%- endmacro %}

{#- Whether the model is compiled for a table that stands. -#}
{% macro is_increment() %}
    {{ return(execute and model.resource_type == "model" and not should_full_refresh()
        and load_relation(this) is not none) }}
{% endmacro %}

{#- An input: all of it, or in an incremental build what the model's promise needs of it. -#}
{% macro touched(name) -%}
    {{ touched_rows(name, ref(name)) }}
{%- endmacro %}

{% macro touched_rows(name, relation) -%}
    {%- if not is_increment() -%}
        {{ relation }}
    {%- elif promise("rows_of") == name -%}
        {{ gained_rows() }}
    {%- elif key_of(name) -%}
        (select input.* from {{ relation }} as input {{ with_touched_key("input", key_of(name)) }} {{ where_empty(name) }})
    {%- else -%}
        {{ relation }}
    {%- endif -%}
{%- endmacro %}

{#- Where skip_empty() puts in that an input has no rows: DuckLake plans a scan of a table without files slowly, 3 ms a column. -#}
{% macro where_empty(name) -%}
    /* {{ name }} */
{%- endmacro %}

{#- Models only: they alone say when this build fills them. -#}
{% macro skip_empty(sql, tables) %}
    {%- set found = namespace(sql=sql) -%}
    {%- for id in model.depends_on.nodes if id.startswith("model.") -%}
        {%- set node = graph.nodes[id] -%}
        {%- if node.schema ~ "." ~ (node.get("alias") or node.name) in tables -%}
            {%- set found.sql = found.sql | replace(where_empty(node.name), "where false") -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found.sql) }}
{% endmacro %}

{#-
A join, for EXISTS with NOT DISTINCT would first collect the distinct keys of all rows. `known_from` is never NULL, and rows lie about in
its order: by equality, the scan leaves out what is older than all touched rows.
-#}
{% macro with_touched_key(alias, columns) -%}
    semi join {{ touched_keys() }} as touched_key
        on {% for column in columns -%}
            touched_key.key_{{ loop.index }} {{ "=" if column == "known_from" else "is not distinct from" }} {{ alias }}.{{ column }}
            {{- " and " if not loop.last }}
        {%- endfor %}
{%- endmacro %}

{#- What tells a row from others in a model that is made of rows of an input, and there; versions keep their `known_from`. -#}
{% macro row_key() %}
    {%- set key = as_list(config.get("unique_key")) -%}
    {{ return(key if "known_from" in key else key + ["known_from"]) }}
{% endmacro %}

{#- The tables that this model reads, as relations by name. -#}
{% macro model_inputs() %}
    {%- set inputs = {} -%}
    {%- for id in model.depends_on.nodes -%}
        {%- set node = graph.sources[id] if id.startswith("source.") else graph.nodes[id] -%}
        {%- do inputs.update({node.name: api.Relation.create(
            database=node.database, schema=node.schema, identifier=node.get("alias") or node.get("identifier") or node.name
        )}) -%}
    {%- endfor -%}
    {{ return(inputs) }}
{% endmacro %}

{#- Make touched_keys() and gained_rows(); returns how many there are, none for what is not narrowed. -#}
{% macro find_touched(standing) %}
    {%- set tells = feed_tells(standing) -%}
    {%- if tells and (promise("rows_of") or promise("key")) -%}
        {%- do keep_changes(standing) -%}
    {%- endif -%}
    {%- set rows = "null" -%}
    {%- set statements -%}
    {%- if promise("rows_of") -%}
        {%- set rows = "(select count(*) from " ~ gained_rows() ~ ")" -%}
        {{ find_rows(standing, promise("rows_of"), tells) }}
    {%- elif promise("key") -%}
        create or replace temporary table {{ touched_keys() }} as {{ changed_keys(standing) if tells else every_key() }};
    {%- endif -%}
    select count(*) as keys, {{ rows }} as rows from {{ touched_keys() }}
    {%- endset -%}
    {%- set counts = run_query(statements).rows[0] if promise("rows_of") or promise("key") -%}
    {{ return(counts if tells and counts else {"keys": none, "rows": none}) }}
{% endmacro %}

{% macro find_rows(standing, name, tells) %}
    {%- set relation, key = model_inputs()[name], row_key() -%}
    {%- set filter = "where " ~ promise("where") if promise("where") else "" -%}
    {%- if tells -%}
    create or replace temporary table {{ gained_rows() }} as
    select gained.*
    from {{ changes("insertions", name, standing) }} as gained
    anti join {{ changes("deletions", name, standing) }} as lost
        on lost.lake_row = gained.lake_row and lost.lake_snapshot > gained.lake_snapshot
    {{ filter }};
    create or replace temporary table {{ touched_keys() }} as
    select distinct {{ as_key(key) }} from {{ changes("deletions", name, standing) }} {{ filter }};
    {%- else -%}
    create or replace temporary view {{ gained_rows() }} as from {{ relation }};
    create or replace temporary table {{ touched_keys() }} as select {{ as_key(key) }} from {{ this }};
    {%- endif -%}
{% endmacro %}

{% macro every_key() %}
    {%- for name, relation in model_inputs().items() if key_of(name) -%}
    select {{ as_key(key_of(name)) }} from {{ relation }}
    union
    {% endfor -%}
    select {{ as_key(key_of()) }} from {{ this }}
{% endmacro %}

{% macro changed_keys(standing) %}
    {%- for name in standing.changed -%}
    {%- for way in ["insertions", "deletions"] -%}
    select {{ as_key(key_of(name)) }} from {{ changes(way, name, standing) }}
    {% if not loop.last %}union{% endif %}
    {% endfor -%}
    {% if not loop.last %}union{% endif %}
    {% endfor -%}
    {%- if promise("also_touched") %}
    union
    select * from ({{ render(promise("also_touched")) }})
    {%- endif %}
{% endmacro %}

{% macro as_key(columns) -%}
    {% for column in columns %}{{ column }} as key_{{ loop.index }}{{ ", " if not loop.last }}{% endfor %}
{%- endmacro %}

{#-
The rows that an input gained ("insertions") or lost ("deletions") since the model was built, with their numbers in the lake
(`lake_row`) and the snapshot that brought or took them (`lake_snapshot`); lost rows without their payload. What this build itself
wrote lies in the session's temporary tables; of what came before, models that read the same input share one copy.
-#}
{% macro changes(way, name, standing) -%}
    {%- set between = standing.changed[name] -%}
    {%- set relation = model_inputs()[name] -%}
    {%- if between.first is none -%}
    {{ written_now(way, relation) }}
    {%- else -%}
    {{ way }}_{{ relation.schema }}_{{ relation.identifier }}_{{ between.first }}_{{ between.last }}{{ "_now" if between.now }}
    {%- endif -%}
{%- endmacro %}

{#- The temporary table of the rows that this build put into a table, or took out of it. -#}
{% macro written_now(way, relation) -%}
    {{ {"insertions": "new", "deletions": "gone"}[way] }}_{{ relation.schema }}_{{ relation.identifier }}
{%- endmacro %}

{#- Binding a change feed costs more than reading what is kept of it, so what is kept is asked first. -#}
{% macro keep_changes(standing) %}
    {%- set inputs = model_inputs() -%}
    {%- for name, between in standing.changed.items() if between.first is not none -%}
    {%- for way in ["insertions", "deletions"] -%}
    {%- set relation, table = inputs[name], changes(way, name, standing) -%}
    {%- if table not in standing.kept -%}
    {%- set statements -%}
    create temporary table {{ table }} as
    select {{ "columns(one -> one <> 'payload')" if way == "deletions" else "*" }}, rowid as lake_row, snapshot_id as lake_snapshot
    from ducklake_table_{{ way }}(
        '{{ relation.database }}', '{{ relation.schema }}', '{{ relation.identifier }}',
        {{ between.first }}, {{ between.last }}
    )
    {%- if between.now %}
    union all by name
    from {{ written_now(way, relation) }}
    {%- endif %};
    insert into kept_changes values ('{{ table }}')
    {%- endset -%}
    {%- do run_query(statements) -%}
    {%- endif -%}
    {%- endfor -%}
    {%- endfor -%}
{% endmacro %}
