"""Days, weeks and months of macros/periods.sql, for every first day of a week."""

from __future__ import annotations

from datetime import date, timedelta

import duckdb
import pytest

from tests import dbt_sql

DAYS = [date(2023, 12, 1) + timedelta(days=number) for number in range(800)]


def periods(grain, monkeypatch, first_day):
    monkeypatch.setattr(
        dbt_sql,
        "variable",
        lambda name, given=dbt_sql.variable: first_day if name == "first_day_of_week" else given(name),
    )
    start = dbt_sql.render(f'period_start("{grain}", "d::date")')
    number = dbt_sql.render(f'period_number("{grain}", "start")')
    with duckdb.connect() as con:
        return con.execute(f"""
            SELECT start, {number} FROM (
                SELECT d, {start} AS start FROM range(DATE '2023-12-01', DATE '2026-02-08', INTERVAL 1 DAY) AS t(d)
            ) ORDER BY d""").fetchall()


@pytest.mark.parametrize("first_day", range(1, 8))
def test_weeks_begin_where_the_project_says(monkeypatch, first_day):
    found = periods("week", monkeypatch, first_day)
    for day, (start, number) in zip(DAYS, found, strict=True):
        assert start.isoweekday() == first_day
        assert timedelta(0) <= day - start < timedelta(days=7)
        assert number - found[0][1] == (start - found[0][0]).days // 7


def test_months_are_calendar_months(monkeypatch):
    for day, (start, number) in zip(DAYS, periods("month", monkeypatch, 1), strict=True):
        assert start == day.replace(day=1)
        assert number == day.year * 12 + day.month
