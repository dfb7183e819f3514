{{ config(unique_key="day") }}

-- Fixed ends, so that the calendar is the same whatever the data: MetricFlow joins it where a metric needs every day.
select cast(days.day as date) as day
from generate_series(timestamp '1995-01-01', timestamp '2049-12-31', interval '1 day') as days(day)
