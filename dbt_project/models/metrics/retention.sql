{{ config(unique_key=["grain", "cohort_period", "age"]) }}

{#- Day cohorts are followed for retention_days; what comes later still counts as retained until then. -#}
with

numbered as (
    select *, row_number() over (partition by grain order by period) as number
    from {{ ref("reporting_periods") }}
),

counts as (
    select
        grain,
        cohort_period,
        case grain when 'day' then least(age, {{ var("retention_days") + 1 }}) else age end as age,
        count(*) as active,
        count(*) filter (where next_gap is null) as last_seen
    from {{ ref("consumer_periods") }}
    group by all
),

cohorts as (
    select grain, cohort_period, sum(last_seen) as cohort_size
    from counts
    group by grain, cohort_period
),

ages as (
    select
        cohorts.grain,
        cohorts.cohort_period,
        cast(periods.number - firsts.number as integer) as age,
        periods.period,
        periods.is_partial,
        cohorts.cohort_size
    from cohorts
    inner join numbered as firsts on firsts.grain = cohorts.grain and firsts.period = cohorts.cohort_period
    inner join numbered as periods
        on periods.grain = cohorts.grain
        and periods.number >= firsts.number
        and periods.number <= firsts.number + case cohorts.grain when 'day' then {{ var("retention_days") + 1 }} else 1000000 end
),

followed as (
    select
        ages.*,
        coalesce(counts.active, 0) as active,
        sum(coalesce(counts.last_seen, 0)) over (
            partition by ages.grain, ages.cohort_period order by ages.age desc
        ) as retained
    from ages
    left join counts
        on counts.grain = ages.grain and counts.cohort_period = ages.cohort_period and counts.age = ages.age
),

final as (
    select
        grain,
        cohort_period,
        age,
        period,
        is_partial,
        cast(cohort_size as bigint) as cohort_size,
        active as active_so_far,
        case when not is_partial then active end as active_consumers,
        cast(case when not is_partial then retained end as bigint) as retained_consumers,
        case when not is_partial then {{ share("active", "cohort_size") }} end as bounded_retention,
        case when not is_partial then {{ share("retained", "cohort_size") }} end as unbounded_retention
    from followed
    where grain <> 'day' or age <= {{ var("retention_days") }}
)

select * from final
