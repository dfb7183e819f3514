{#-
The record of builds: which model was built with which code from which snapshot of the lake. It is written in the
transaction that writes the model's rows, so that after a failed build each model goes on from where it stands.
-#}
{% macro builds() -%}
    {{ target.database }}.raw.built_models
{%- endmacro %}

{#- Run before all models. Records that others have followed are dropped when there are many. -#}
{% macro prepare_builds() -%}
    create table if not exists {{ builds() }} (model varchar not null, snapshot bigint not null, code varchar not null);
    delete from {{ builds() }}
    where (select count(*) from {{ builds() }}) > 10000
        and (model, snapshot) not in (select (model, max(snapshot)) from {{ builds() }} group by model);
{%- endmacro %}

{% macro record_build(standing) -%}
    insert into {{ builds() }} values ('{{ this }}', {{ standing.now }}, '{{ model_code() }}')
{%- endmacro %}

{#- What a model's code is told by, besides the code of its macros, which `lifecycle build` watches. -#}
{% macro model_code() %}
    {{ return(local_md5(model.raw_code ~ tojson(invocation_args_dict.get("vars") or {}))) }}
{% endmacro %}

{#-
How this model stands to its inputs: {"now": the lake's snapshot, "built": the snapshot it was last built from, or none,
"same_code": whether that was with this code, "changed": the inputs with other rows than then, by name, as {"first",
"last"}: the snapshots between which they changed; "unclear": whether some input was replaced or rewritten, so that its change feed does not reach back}.
-#}
{% macro model_standing() %}
    {%- set found = run_query(standing_query()).rows[0] -%}
    {%- set by_table = fromjson(found["changes"]) -%}
    {%- set changed, unclear = {}, [] -%}
    {%- for name, relation in model_inputs().items() -%}
        {%- for change in by_table if change.table == relation.identifier -%}
            {%- set known = changed.get(name, change) -%}
            {%- do changed.update({name: {
                "first": [known.first, change.first] | min, "last": [known.last, change.last] | max,
            }}) -%}
            {%- if change.kind not in ["tables_inserted_into", "tables_deleted_from", "inlined_insert", "inlined_delete"] -%}
                {%- do unclear.append(name) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return({
        "now": found["now"], "built": found["built"], "same_code": found["code"] == model_code(),
        "changed": changed, "unclear": unclear | length > 0,
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

{#- A snapshot names the tables that it changed by number, and those that it created or dropped by "schema.name" too. -#}
{% macro standing_query() %}
    with

    record as (
        select max(snapshot) as snapshot, arg_max(code, snapshot) as code from {{ builds() }} where model = '{{ this }}'
    ),

    snapshots as (
        select snapshot_id, changes from ducklake_snapshots('{{ this.database }}')
    ),

    later as (
        select snapshot_id, unnest(map_entries(changes)) as change
        from snapshots
        where snapshot_id > (select snapshot from record)
    ),

    named as (
        select snapshot_id, change.key as kind, replace(split_part(unnest(change.value), '.', -1), '"', '') as named
        from later
    ),

    dated as (
        select kind, named, min(snapshot_id) as first_id, max(snapshot_id) as last_id
        from named
        group by kind, named
    )

    select
        (select max(snapshot_id) from snapshots) as now,
        (select snapshot from record where snapshot in (select snapshot_id from snapshots)) as built,
        (select code from record) as code,
        (
            select coalesce(to_json(list(
                {'kind': kind, 'table': coalesce(table_name, named), 'first': first_id, 'last': last_id}
            )), '[]')
            from dated
            left join ducklake_table_info('{{ this.database }}') as numbered on numbered.table_id::varchar = named
        ) as changes
{% endmacro %}
