"""UCI's credit data as a monthly tape, taken in as docs/analytics.md says, against pandas on the file itself."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lifecycle import config
from lifecycle.lake import Lake
from lifecycle.pipeline.build import run_dbt
from lifecycle.pipeline.intake import ingest
from tests.conftest import ROOT

REAL = os.environ.get("LIFECYCLE_REAL_DATA", "")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not REAL, reason="LIFECYCLE_REAL_DATA names no folder of real data"),
]
# The file's columns from April to September.
LATE = ["PAY_6", "PAY_5", "PAY_4", "PAY_3", "PAY_2", "PAY_0"]
OWED = ["BILL_AMT6", "BILL_AMT5", "BILL_AMT4", "BILL_AMT3", "BILL_AMT2", "BILL_AMT1"]
MONTHS = pd.to_datetime([f"2005-{number:02}-01" for number in range(4, 10)])
NAMES = ["current", "dpd_1_29", "dpd_30_59", "dpd_60_89", "dpd_90_119", "dpd_120_plus"]


@pytest.fixture(scope="module")
def clients():
    return pd.read_csv(Path(REAL) / "uci_credit_default" / "UCI_Credit_Card.csv")


@pytest.fixture(scope="module")
def read(tmp_path_factory, clients):
    """A function that returns a table of the marts that the tape makes."""
    folder = tmp_path_factory.mktemp("tape")
    text = (ROOT / "docs" / "analytics.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    [mapping] = re.findall(r"```toml\n(\[sources\.uci-credit\].*?)```", text, flags=re.DOTALL)
    made = {}
    exec(program, made)
    made["tape"](clients).to_parquet(folder / "tape.parquet", index=False)
    settings = config.load(ROOT, home=folder / "home")
    settings = replace(settings, sources={**settings.sources, **tomllib.loads(mapping)["sources"]})
    lake = Lake(settings.lake)
    [batch] = ingest(settings, lake, "uci-credit", [folder / "tape.parquet"])
    assert (batch.landed, batch.accepted) == (180_000, 180_000)
    run_dbt(settings, lake, "run", "--select", "+credit_portfolio", "credit_roll_rates", "credit_vintages")
    connection = lake.connect()
    yield lambda table: connection.execute(f"FROM lake.metrics.{table}").fetch_df()
    connection.close()


def bucket(codes):
    return codes.clip(0, 5).map(dict(enumerate(NAMES)))


def test_the_portfolio_has_every_client_and_the_published_defaults(read, clients):
    portfolio = read("credit_portfolio")
    assert set(portfolio["source"]) == {"uci-credit"}
    totals = portfolio.groupby("month")[["account_count", "exposure", "credit_limit"]].sum()
    assert totals.index.tolist() == MONTHS.tolist()
    assert (totals["account_count"] == 30_000).all()
    assert (totals["credit_limit"] == int(clients["LIMIT_BAL"].sum()) * 100).all()
    assert totals["exposure"].tolist() == [int(clients[owed].clip(lower=0).sum()) * 100 for owed in OWED]
    september = portfolio[portfolio["month"] == MONTHS[-1]].set_index("bucket").sort_index()
    assert (september["followed_accounts"].sum(), september["defaulted_accounts"].sum()) == (30_000, 6_636)
    defaults = clients.groupby(bucket(clients["PAY_0"]))["default.payment.next.month"].agg(["sum", "mean"])
    assert (september["defaulted_accounts"] == defaults["sum"]).all()
    assert (september["default_rate"] - defaults["mean"]).abs().max() < 1e-12


@pytest.mark.parametrize("number", range(5))
def test_roll_rates_equal_a_cross_table_of_the_columns(read, clients, number):
    rates = read("credit_roll_rates")
    assert rates["account_count"].sum() == 5 * 30_000
    mine = rates[rates["month"] == MONTHS[number]].set_index(["from_bucket", "to_bucket"])
    states = bucket(clients[LATE[number]]), bucket(clients[LATE[number + 1]])
    owed = clients[OWED[number]].clip(lower=0).astype("int64") * 100
    steps = owed.groupby(list(states))
    counts, balances = steps.size(), steps.sum()
    assert len(mine) == len(counts)
    assert (mine["account_count"] == counts.reindex(mine.index)).all()
    assert (mine["balance"] == balances.reindex(mine.index)).all()
    rows = counts / counts.groupby(level=0).transform("sum")
    assert (mine["account_rate"] - rows.reindex(mine.index)).abs().max() < 1e-12
    share = balances / balances.groupby(level=0).transform("sum")
    assert (mine["balance_rate"] - share.reindex(mine.index)).abs().max() < 1e-12


def test_a_tape_without_dates_of_opening_has_no_vintages(read):
    assert read("credit_vintages").empty
