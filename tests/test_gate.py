from __future__ import annotations

import sys

import pytest

from lifecycle.errors import GateError, PlatformError, UsageError
from lifecycle.pipeline.gate import check
from tests.lake_content import CHARGES, RAW, release, write

CORE = """
core.charges:
  key: [charge_id]
  expectations:
    - type: expect_column_values_to_be_between
      column: amount
      min_value: 0
    - type: expect_column_values_to_be_in_set
      column: currency
      value_set: [usd]
      severity: warning
    - type: expect_table_row_count_to_be_between
      min_value: 1
"""


@pytest.fixture
def project(bare_project, lake):
    """Return settings of a project with a suite on core.charges, whose lake holds raw and core, all as it should be."""
    write(lake, *RAW, *CHARGES)
    settings = bare_project(lake.settings)
    declare(settings, CORE)
    return settings


def declare(settings, text):
    (settings.dbt_project / "expectations" / "core.yml").write_text(text)


def refused(settings, lake):
    with pytest.raises(GateError) as caught:
        check(settings, lake)
    return str(caught.value)


def test_a_lake_that_is_as_it_should_be_passes_without_a_release(project, lake):
    said = []
    report = check(project, lake, progress=said.append)
    assert (report.tables, report.warnings) == (4, ())
    assert report.expectations > 25
    assert f"{report.expectations} of {report.expectations} expectations on 4 tables hold" in str(report)
    assert "checking core.charges" in said


def test_data_docs_are_written_under_home_and_nothing_else_anywhere(project, lake):
    source = sorted(path for path in project.root.rglob("*") if lake.settings.home not in path.parents)
    report = check(project, lake)
    index = lake.settings.home / "data_docs" / "index.html"
    assert report.data_docs == str(index)
    assert "core.charges" in index.read_text(encoding="utf-8")
    pages = list((index.parent / "validations").rglob("*.html"))
    assert len(pages) == 4
    assert sorted(path for path in project.root.rglob("*") if lake.settings.home not in path.parents) == source
    check(project, lake)
    assert len(list((index.parent / "validations").rglob("*.html"))) == 4


def test_a_failure_names_expectation_table_count_sample_rows_and_data_docs(project, lake):
    write(lake, "UPDATE lake.core.charges SET amount = -5 WHERE charge_id IN ('ch_3', 'ch_4')")
    message = refused(project, lake)
    assert "1 of " in message
    assert "nothing is released" in message
    assert "core.charges: expect_column_values_to_be_between(column='amount', min_value=0" in message
    assert "2 failing" in message
    assert "charge_id='ch_3', amount=-5" in message
    assert f"Data Docs: {lake.settings.home / 'data_docs' / 'index.html'}" in message
    assert (lake.settings.home / "data_docs" / "index.html").is_file()


def test_every_failure_is_told_and_samples_are_few(project, lake):
    write(lake, "UPDATE lake.core.charges SET amount = -1", "UPDATE lake.raw.batches SET landed = 99")
    message = refused(project, lake)
    assert "2 of " in message
    assert "10 failing" in message
    assert message.count("charge_id='ch_") == 5
    assert "landed = accepted + repeated + rejected" in message
    assert "batch_id=1, file='one.ndjson', landed=99, accepted=10" in message


def test_a_key_is_unique_and_never_null(project, lake):
    write(lake, "INSERT INTO lake.core.charges FROM lake.core.charges WHERE charge_id = 'ch_7'")
    message = refused(project, lake)
    assert "unique by charge_id" in message
    assert "charge_id='ch_7', rows=2" in message
    write(lake, "UPDATE lake.core.charges SET charge_id = NULL WHERE charge_id = 'ch_7'")
    assert "expect_column_values_to_not_be_null(column='charge_id'): 2 failing" in refused(project, lake)


def test_a_warning_is_reported_and_stops_nothing(project, lake):
    write(lake, "UPDATE lake.core.charges SET currency = 'eur' WHERE charge_id = 'ch_1'")
    report = check(project, lake)
    [warning] = report.warnings
    assert (warning.table, warning.failing, warning.severity) == ("core.charges", 1, "warning")
    assert warning.samples == ("charge_id='ch_1', currency='eur'",)
    assert "warning: core.charges: expect_column_values_to_be_in_set" in str(report)


def test_a_column_that_is_not_there_stops_the_release_even_as_a_warning(project, lake):
    declare(project, CORE.replace("column: currency", "column: curency"))
    message = refused(project, lake)
    assert "column='curency'" in message
    assert 'column "curency"' in message


ROWS = """
core.charges:
  expectations:
    - type: unexpected_rows_expectation
      unexpected_rows_query: |
        %s
"""


def test_sql_that_duckdb_refuses_is_told(project, lake):
    declare(project, ROWS % "SELECT nothing FROM {batch} AS b WHERE no_such_function(amount)")
    assert "no_such_function" in refused(project, lake)


def test_sql_may_hold_colons_and_braces_when_escaped(project, lake):
    declare(
        project, ROWS % r"SELECT currency[\:2] AS head FROM {batch} WHERE NOT regexp_full_match(currency, '[a-t]{{3}}')"
    )
    message = refused(project, lake)
    assert "10 failing" in message
    assert "head='us'" in message


def test_a_table_expectation_tells_what_it_found(project, lake):
    declare(project, CORE.replace("min_value: 1\n", "min_value: 11\n"))
    message = refused(project, lake)
    assert "expect_table_row_count_to_be_between(min_value=11" in message
    assert "found 10" in message


@pytest.mark.parametrize(
    ("statement", "description"),
    [
        ("INSERT INTO lake.raw.events FROM lake.raw.events LIMIT 1", "a version stands once"),
        ("UPDATE lake.raw.events SET known_until = known_at - INTERVAL 1 SECOND", "no version ends before it begins"),
        ("UPDATE lake.raw.events SET known_from = known_at - INTERVAL 1 SECOND", "begins before it is known"),
        ("UPDATE lake.raw.events SET known_until = known_at + INTERVAL 1 SECOND", "exactly one version of an event"),
        (
            """INSERT INTO lake.raw.events
            SELECT * REPLACE ('other' AS content_hash, known_at + INTERVAL 2 SECOND AS known_until)
            FROM lake.raw.events""",
            "at any time at most one version",
        ),
        ("UPDATE lake.raw.events SET payload = '{' WHERE event_id = 'evt_1'", "payloads are JSON"),
        ("UPDATE lake.raw.batches SET repeated = -1, landed = 10", "landed = accepted + repeated + rejected"),
        ("DELETE FROM lake.raw.events WHERE event_id = 'evt_1'", "every accepted record is in raw.events"),
        ("DELETE FROM lake.raw.quarantine", "every rejected one in raw.quarantine"),
        ("DELETE FROM lake.raw.batches", "every accepted record is in raw.events"),
        ("UPDATE lake.raw.events SET known_at = NULL WHERE event_id = 'evt_1'", "column='known_at'): 1 failing"),
    ],
)
def test_each_rule_on_raw_stops_what_breaks_it(project, lake, statement, description):
    write(lake, statement)
    assert description in refused(project, lake)


def test_superseded_versions_are_as_they_should_be(project, lake):
    write(
        lake,
        "INSERT INTO lake.raw.events SELECT * REPLACE (known_at + INTERVAL 9 SECOND AS known_at, known_at + INTERVAL 9 "
        "SECOND AS known_from, 'later' AS content_hash) FROM lake.raw.events WHERE event_id = 'evt_1'",
        "UPDATE lake.raw.events SET known_until = known_at + INTERVAL 9 SECOND "
        "WHERE event_id = 'evt_1' AND content_hash <> 'later'",
        "UPDATE lake.raw.batches SET landed = 13, accepted = 11",
    )
    assert check(project, lake).warnings == ()


def test_the_head_is_checked_not_the_served_release(project, lake):
    release(lake, 1, write(lake))
    write(lake, "UPDATE lake.core.charges SET amount = -1")
    assert "10 failing" in refused(project, lake)


def test_a_table_that_the_lake_lacks_is_guessed(project, lake):
    declare(project, "core.charge:\n  key: [charge_id]\n")
    message = refused(project, lake)
    assert "core.yml, core.charge expects something of unknown table 'core.charge'" in message
    assert "Did you mean 'core.charges'?" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("core.charges: [", "is not valid YAML"),
        ("- core.charges", "expected a mapping of tables"),
        ("core.charges:\n  keys: [charge_id]\n", "unknown entry of a suite 'keys'. Did you mean 'key'?"),
        ("core.charges:\n  key: charge_id\n", "`key` is a list of column names, found 'charge_id'"),
        ("core.charges:\n  expectations:\n    - column: a\n", "an expectation has no `type`"),
        ("core.charges:\n  expectations:\n    - expect\n", "expected a mapping of an expectation's type"),
        ("core.charges:\n  expectations:\n    - {type: expect_x, severity: fatal}\n", "unknown severity 'fatal'"),
        (
            "core.charges:\n  expectations:\n    - {type: expect_column_value_to_be_in_set}\n",
            "Did you mean 'expect_column_values_to_be_in_set'?",
        ),
        ("core.charges:\n  expectations:\n    - {type: expect_column_values_to_be_unique, colum: a}\n", "colum"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_suite_is_named(project, lake, text, message):
    declare(project, text)
    with pytest.raises(UsageError) as caught:
        check(project, lake)
    assert "core.yml" in str(caught.value)
    assert message in str(caught.value)


def test_two_keys_of_one_table_are_refused(project, lake):
    (project.dbt_project / "expectations" / "more.yml").write_text("core.*:\n  key: [amount]\n")
    with pytest.raises(UsageError, match=r"both give a key for core\.charges"):
        check(project, lake)


def test_a_pattern_reaches_every_table_of_that_name(project, lake):
    write(lake, "CREATE TABLE lake.core.refunds AS SELECT NULL::BIGINT AS amount")
    (project.dbt_project / "expectations" / "more.yml").write_text(
        "core.*:\n  expectations:\n    - {type: expect_column_values_to_not_be_null, columns: [amount]}\n"
    )
    assert "core.refunds: expect_column_values_to_not_be_null(column='amount'): 1 failing" in refused(project, lake)


def test_without_a_lake_the_gate_says_so(bare_project, lake):
    with pytest.raises(PlatformError, match="there is no lake"):
        check(bare_project(lake.settings), lake)


def test_great_expectations_is_not_imported_with_the_gate():
    import subprocess

    code = "import sys, lifecycle.pipeline.gate; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
