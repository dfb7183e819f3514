{#-
The record of builds: which model was built with which code from which snapshot of the lake. It is written in the
transaction that writes the model's rows, so that after a failed build each model goes on from where it stands.

`lifecycle build` runs all models in one session and one transaction (src/lifecycle/pipeline/one_transaction.py). Then the lake is asked
once what changed in it before; what models of this build write is told by the session's own temporary tables. Plain dbt has a session
and a transaction for each model, which asks for itself.
-#}
{% macro builds() -%}
    {{ target.database }}.raw.built_models
{%- endmacro %}

{% macro in_one_transaction() %}
    {{ return(env_var("LIFECYCLE_DBT_ONE_TRANSACTION", "") == "true") }}
{% endmacro %}

{#- What a table of the lake is called here. -#}
{% macro table_name(relation) %}
    {{ return(relation.schema ~ "." ~ relation.identifier) }}
{% endmacro %}

{#- Run before all models. Records that others have followed are dropped when there are many. -#}
{% macro prepare_builds() -%}
    create table if not exists {{ builds() }} (model varchar not null, snapshot bigint not null, code varchar not null);
    delete from {{ builds() }}
    where (select count(*) from {{ builds() }}) > 10000
        and (model, snapshot) not in (select (model, max(snapshot)) from {{ builds() }} group by model);
    {{ ask_the_lake() if in_one_transaction() }}
{%- endmacro %}

{#- Run after all models: what they noted down goes into the lake at once. After an error there is nothing to keep. -#}
{% macro keep_records(results) -%}
    {%- set errors = results | selectattr("status", "equalto", "error") | list if execute else [] -%}
    {%- if not errors and in_one_transaction() -%}
    insert into {{ builds() }} from new_records;
    {%- endif -%}
{%- endmacro %}

{#- After a model of a build in one transaction: what it did to its table, for the models after it. -#}
{% macro record_build(standing, change) -%}
    {%- if standing.shared -%}
    insert into new_records values ('{{ this }}', {{ standing.now + 1 }}, '{{ model_code() }}');
    {% if change -%}
    insert into changed_now values ('{{ table_name(this) }}', '{{ change }}');
    {%- endif %}
    {%- else -%}
    insert into {{ builds() }} values ('{{ this }}', {{ standing.now }}, '{{ model_code() }}');
    {%- endif -%}
{%- endmacro %}

{#- What a model's code is told by, besides the code of its macros, which `lifecycle build` watches. -#}
{% macro model_code() %}
    {{ return(local_md5(model.raw_code ~ tojson(invocation_args_dict.get("vars") or {}))) }}
{% endmacro %}

{#-
How this model stands to its inputs: {"now": the lake's snapshot, "built": the snapshot it was last built from, or none,
"same_code": whether that was with this code, "changed": the inputs with other rows than then, by name, as {"first",
"last"}: the snapshots between which they changed, both none where only this build changed them, and "now": whether it did;
"unclear": whether some input was replaced or rewritten, so that its change feed does not reach back; "empty": the
inputs without rows; "kept": the changes that this session has read already; "shared": whether all models share a transaction}.
-#}
{% macro model_standing() %}
    {%- set shared = in_one_transaction() -%}
    {%- if not shared -%}
        {%- do run_query(ask_the_lake()) -%}
    {%- endif -%}
    {%- set found = run_query(standing_query()).rows[0] -%}
    {%- set changed, unclear = {}, [] -%}
    {%- for name, relation in model_inputs().items() -%}
        {%- for change in fromjson(found["changes"]) if change.table == table_name(relation) -%}
            {%- set known = changed.get(name, change) -%}
            {%- do changed.update({name: {
                "first": [known.first, change.first] | reject("none") | min | default(none),
                "last": [known.last, change.last] | reject("none") | max | default(none),
                "now": known.now or change.now,
            }}) -%}
            {%- if change.kind not in [
                "tables_inserted_into", "tables_deleted_from", "inlined_insert", "inlined_delete", "difference"
            ] -%}
                {%- do unclear.append(name) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return({
        "now": found["now"], "built": found["built"], "same_code": found["code"] == model_code(),
        "changed": changed, "unclear": unclear | length > 0, "empty": fromjson(found["empty"]),
        "kept": fromjson(found["kept"]), "shared": shared,
    }) }}
{% endmacro %}

{#- Whether the change feed tells all that the model needs to know of its inputs. -#}
{% macro feed_tells(standing) %}
    {%- set tells = standing.built is not none and standing.same_code and not standing.unclear -%}
    {%- for name in standing.changed if promise("key") and not key_of(name) -%}
        {{ return(false) }}
    {%- endfor -%}
    {{ return(tells) }}
{% endmacro %}

{#-
Temporary tables of what the lake says of itself: its tables, its snapshots, which of them changed which table, and the builds before this
one; and empty ones for what this build does. Tables are told apart by schema and name, for a release settles views into tables that
are called as the models behind them. A snapshot names the tables that it changed by number, and those that it created by name too.
-#}
{% macro ask_the_lake() %}
    create temporary table if not exists known_tables as
    select schemas.schema_name || '.' || tables.table_name as name, tables.table_id::varchar as number, tables.file_count
    from ducklake_table_info('{{ target.database }}') as tables
    inner join __ducklake_metadata_{{ target.database }}.ducklake_schema as schemas
        on schemas.schema_id = tables.schema_id and schemas.end_snapshot is null;

    create temporary table if not exists known_snapshots as
    select snapshot_id, changes from ducklake_snapshots('{{ target.database }}');

    create temporary table if not exists known_changes as
    with

    entries as (
        select snapshot_id, unnest(map_entries(changes)) as change from known_snapshots
    ),

    named as (
        select snapshot_id, change.key as kind, replace(unnest(change.value), '"', '') as named
        from entries
    )

    select named.snapshot_id, named.kind, coalesce(known_tables.name, named.named) as table_name
    from named
    left join known_tables on known_tables.number = named.named;

    create temporary table if not exists known_builds as
    select model, max(snapshot) as snapshot, arg_max(code, snapshot) as code from {{ builds() }} group by model;

    create temporary table if not exists kept_changes (name varchar);
    create temporary table if not exists changed_now (table_name varchar, kind varchar);
    create temporary table if not exists new_records (model varchar, snapshot bigint, code varchar);
{% endmacro %}

{% macro standing_query() %}
    {%- set inputs = [] -%}
    {%- for relation in model_inputs().values() -%}
        {%- do inputs.append("'" ~ table_name(relation) ~ "'") -%}
    {%- endfor -%}
    with

    record as (
        select snapshot, code from known_builds where model = '{{ this }}'
    ),

    changes as (
        select table_name as table, kind, min(snapshot_id) as first, max(snapshot_id) as last, false as now
        from known_changes
        where snapshot_id > (select snapshot from record) and table_name in ({{ inputs | join(", ") or "null" }})
        group by table_name, kind
        union all
        select table_name, kind, null, null, true
        from changed_now
        where table_name in ({{ inputs | join(", ") or "null" }})
    )

    select
        (select max(snapshot_id) from known_snapshots) as now,
        (select snapshot from record where snapshot in (select snapshot_id from known_snapshots)) as built,
        (select code from record) as code,
        (select coalesce(to_json(list(changes)), '[]') from changes) as changes,
        (
            -- A build keeps no rows in the catalog, so without files there are none.
            select coalesce(to_json(list(name)), '[]') from known_tables
            where file_count = 0
                and name in ({{ inputs | join(", ") or "null" }}) and name not in (select table_name from changed_now)
        ) as empty,
        (select coalesce(to_json(list(name)), '[]') from kept_changes) as kept
{% endmacro %}
