"""
The gate: Great Expectations on raw events and on marts, in SQL on one snapshot of the lake. All or nothing.

Data Docs (HTML) of the last check are in the folder `data_docs` of the project's home; nothing is sent anywhere.
"""

from __future__ import annotations

import os
import shutil
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lifecycle.errors import GateError, UsageError, unknown
from lifecycle.lake import dialect
from lifecycle.pipeline.gate_suites import ROWS, Suite, suites_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from lifecycle.config import Settings
    from lifecycle.lake import Lake

SAMPLES = 5
_NAME = "lake"
_FOR_ALL = {"result_format": "SUMMARY", "partial_unexpected_count": SAMPLES}


@dataclass(frozen=True)
class Failure:
    """
    One expectation that did not hold.

    failing: rows (or groups) that fail, None where the expectation counts none. samples: some of them, each by
    its key and the values that fail. observed: what was found instead, or why it could not be evaluated.
    """

    table: str
    expectation: str
    arguments: Mapping[str, Any]
    severity: str
    failing: int | None
    samples: tuple[str, ...]
    observed: str | None = None

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        text = f"{self.table}: {self.expectation}({given})"
        if self.failing is not None:
            text += f": {self.failing:,} failing"
        if self.observed:
            text += f": {self.observed}"
        return text + "".join(f"\n    {sample}" for sample in self.samples)


@dataclass(frozen=True)
class GateReport:
    """A check that passed: what was checked, on which snapshot, and what deserves a look."""

    snapshot: int
    tables: int
    expectations: int
    warnings: tuple[Failure, ...]
    data_docs: str

    def __str__(self) -> str:
        held = self.expectations - len(self.warnings)
        head = f"{held} of {self.expectations} expectations on {self.tables} tables hold. Data Docs: {self.data_docs}"
        return "\n".join([head, *(f"{one.severity}: {one}" for one in self.warnings)])


def check(settings: Settings, lake: Lake, *, progress: Callable[[str], None] = lambda _: None) -> GateReport:
    """
    Check the lake's head as it is now; later writes change nothing of the answer.

    Raises GateError, with table, expectation and sample rows, when a critical expectation fails or a table is
    missing, and UsageError for a suite that cannot be read.
    """
    connection = lake.connect()
    try:
        snapshot = lake.snapshot(connection)
        suites = suites_for(settings, lake.tables(connection))
    finally:
        connection.close()
    url = dialect.url(replace(settings, lake=lake.settings), snapshot=snapshot)
    docs = lake.settings.home / "data_docs"
    progress("loading Great Expectations")
    with _great_expectations(docs) as context:
        failures = _validate(context, url.render_as_string(hide_password=False), suites, progress)
        shutil.rmtree(docs, ignore_errors=True)
        context.build_data_docs()
    stopping = [one for one in failures if one.severity == "critical"]
    if stopping:
        listed = "\n".join(f"- {one}" for one in stopping)
        raise GateError(
            f"{len(stopping)} of {sum(len(one.checks) for one in suites)} expectations failed, so nothing is "
            f"released:\n{listed}\nData Docs: {docs / 'index.html'}. Mend the data, the model or the expectation, "
            "then run `lifecycle run` again."
        )
    return GateReport(
        snapshot=snapshot,
        tables=len(suites),
        expectations=sum(len(suite.checks) for suite in suites),
        warnings=tuple(failures),
        data_docs=str(docs / "index.html"),
    )


@contextmanager
def _great_expectations(docs: Path) -> Iterator[Any]:
    """Give a context of Great Expectations that lives in memory, sends nothing and writes Data Docs to `docs`."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when the package is imported
    with warnings.catch_warnings():
        # Deprecations inside Great Expectations are not the user's to mend.
        warnings.simplefilter("ignore")
        import great_expectations as gx
        from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

        site = {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        }
        config = DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            data_docs_sites={_NAME: site},
            analytics_enabled=False,
            progress_bars={"globally": False},
        )
        yield gx.get_context(mode="ephemeral", project_config=config)


def _validate(context: Any, url: str, suites: list[Suite], progress: Callable[[str], None]) -> list[Failure]:
    from great_expectations.core.run_identifier import RunIdentifier

    source = context.data_sources.add_sql(_NAME, connection_string=url)
    run = RunIdentifier(run_name="gate")
    failures: list[Failure] = []
    try:
        for suite in suites:
            progress(f"checking {suite.table}")
            batches, expected = _declare(context, source, suite)
            result = expected.run(result_format=_FOR_ALL, run_id=run)
            failures += [_explain(batches, suite, one) for one in result.results if not one.success]
    finally:
        source.get_execution_engine().engine.dispose()
    return failures


def _declare(context: Any, source: Any, suite: Suite) -> tuple[Any, Any]:
    import great_expectations as gx

    schema, table = suite.table.split(".")
    asset = source.add_table_asset(suite.table, table_name=table, schema_name=schema)
    batches = asset.add_batch_definition_whole_table("whole table")
    expectations = [_expectation(one.type, {**one.arguments, "severity": one.severity}, suite) for one in suite.checks]
    declared = context.suites.add(gx.ExpectationSuite(name=suite.table, expectations=expectations))
    validation = gx.ValidationDefinition(name=suite.table, data=batches, suite=declared)
    return batches, context.validation_definitions.add(validation)


def _expectation(kind: str, arguments: Mapping[str, Any], suite: Suite) -> Any:
    from great_expectations.compatibility.pydantic import ValidationError
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    try:
        return get_expectation_impl(kind)(**arguments)
    except ExpectationNotFoundError:
        possible = list_registered_expectation_implementations()
        raise UsageError(f"{suite.origin}: {unknown('expectation', kind, possible)}") from None
    except ValidationError as error:
        raise UsageError(f"{suite.origin}, {kind}: {error}") from error


def _explain(batches: Any, suite: Suite, result: Any) -> Failure:
    """Ask again for sample rows: the pass over everything asks for numbers only."""
    kind, arguments, severity = _said(result)
    expectation = _expectation(kind, {**arguments, "severity": severity}, suite)
    form: dict[str, Any] = {"result_format": "COMPLETE"} if kind == ROWS else dict(_FOR_ALL)
    if suite.key and kind != ROWS:
        form["unexpected_index_column_names"] = list(suite.key)
    found = batches.get_batch().validate(expectation, result_format=form)
    errors = [one for one in _exceptions(found.exception_info) if one]
    answer = found.result
    counted = answer.get("unexpected_count")
    if kind == ROWS:
        counted = answer.get("observed_value")
    return Failure(
        table=suite.table,
        expectation=kind,
        arguments=arguments,
        severity="critical" if errors else severity,
        failing=counted,
        samples=tuple(_samples(answer)),
        observed=errors[0] if errors else _observed(answer, counted),
    )


def _said(result: Any) -> tuple[str, dict[str, Any], str]:
    config = result.expectation_config
    arguments = {name: value for name, value in config.kwargs.items() if name != "batch_id"}
    if config.description:
        arguments["description"] = config.description
    return config.type, arguments, config.severity.value


def _exceptions(info: dict[str, Any]) -> list[str | None]:
    one_per_metric = [info] if "raised_exception" in info else list(info.values())
    return [one["exception_message"] for one in one_per_metric if one["raised_exception"]]


def _observed(answer: dict[str, Any], counted: int | None) -> str | None:
    return f"found {answer['observed_value']!r}" if counted is None and "observed_value" in answer else None


def _samples(answer: dict[str, Any]) -> list[str]:
    rows = (
        answer.get("details", {}).get("unexpected_rows")
        or answer.get("partial_unexpected_index_list")
        or answer.get("partial_unexpected_list")
        or []
    )
    return [_sample(row) for row in rows[:SAMPLES]]


def _sample(row: Any) -> str:
    if hasattr(row, "items"):
        return ", ".join(f"{name}={_plain(value)}" for name, value in row.items())
    return _plain(row)


def _plain(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)
