{{ config(unique_key=["event_id", "content_hash", "known_from"]) }}

{#- No source tells a takeover; DECISIONS.md says what counts as one. Its time is the charge's, its known time the report's. -#}
with

charges as (
    select charge_id, consumer_id, device_id, event_timestamp as charged_at, known_from, known_until
    from {{ ref("charge_events") }}
    where status = 'succeeded' and consumer_id is not null and device_id is not null
),

reports as (
    select
        charge_id, 'dispute' as report, event_timestamp as reported_at,
        known_from, known_until, sequence, event_id, content_hash
    from {{ ref("dispute_events") }}
    where reason = 'fraudulent'
    union all
    select
        charge_id, 'early_fraud_warning' as report, event_timestamp as reported_at,
        known_from, known_until, sequence, event_id, content_hash
    from {{ ref("stg_early_fraud_warnings") }}
    where type = 'radar.early_fraud_warning.created' and {{ in_force() }}
),

reported as (
    select
        reports.* exclude (known_from, known_until),
        charges.consumer_id,
        charges.device_id,
        charges.charged_at,
        greatest(reports.known_from, charges.known_from) as known_from,
        least(reports.known_until, charges.known_until) as known_until
    from reports
    inner join charges
        on charges.charge_id = reports.charge_id
        and charges.known_from < coalesce(reports.known_until, 'infinity')
        and reports.known_from < coalesce(charges.known_until, 'infinity')
),

logins as (
    select consumer_id, device_id, event_timestamp as login_at, known_from as login_known
    from {{ ref("session_events") }}
    where status = 'authenticated' and consumer_id in (select consumer_id from reported) and device_id is not null
),

-- From when each kind of login before the charge was known. A login once known goes on counting.
seen as (
    select
        reported.*,
        min(login_known) filter (
            where logins.device_id = reported.device_id and login_at >= charged_at - interval 7 day
        ) as new_device_known,
        min(login_known) filter (
            where logins.device_id = reported.device_id and login_at < charged_at - interval 7 day
        ) as old_device_known,
        min(login_known) filter (
            where logins.device_id <> reported.device_id and login_at < charged_at - interval 7 day
        ) as own_device_known
    from reported
    inner join logins
        on logins.consumer_id = reported.consumer_id
        and logins.login_at <= reported.charged_at
    group by all
),

final as (
    select
        charge_id, consumer_id, device_id, report, reported_at,
        charged_at as event_timestamp,
        greatest(known_from, new_device_known, own_device_known) as known_from,
        least(known_until, old_device_known) as known_until,
        sequence, event_id, content_hash
    from seen
    where new_device_known is not null and own_device_known is not null
)

select * from final
where known_until is null or known_from < known_until
