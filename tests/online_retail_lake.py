"""UCI's Online Retail in a lake, once for all tests that read it, and the same file read without us."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lifecycle import open_project

REAL = os.environ.get("LIFECYCLE_REAL_DATA", "")
ROOT = Path(__file__).resolve().parents[1]
SPINE = "select charge_id, consumer_id, event_timestamp from features.charge_events order by charge_id"
LABEL = "repurchase_30d"
needs_real_data = [
    pytest.mark.real,
    pytest.mark.skipif(not REAL, reason="LIFECYCLE_REAL_DATA names no folder of real data"),
]


def _csv():
    return Path(REAL) / "online_retail" / "online_retail.csv.gz"


@pytest.fixture(scope="session")
def retail(tmp_path_factory):
    """Release 1 holds the CSV alone, release 2 both files; the frame of release 1 is written before and after."""
    folder = tmp_path_factory.mktemp("retail")
    made = open_project(ROOT, home=folder / "home")
    made.run("online-retail", [_csv()])
    made.training_frame(SPINE, "lifecycle_v1", LABEL, release=1).write_parquet(folder / "before.parquet")
    made.run("online-retail", [Path(REAL) / "online_retail_ii" / "online_retail_ii_2009_2010.parquet"])
    made.training_frame(SPINE, "lifecycle_v1", LABEL, release=1).write_parquet(folder / "after.parquet")
    return made


@pytest.fixture(scope="session")
def retail_invoices():
    """What the CSV says, read without us: one row per invoice of a known customer that is no cancellation."""
    import numpy as np
    import pandas as pd

    lines = pd.read_csv(_csv(), dtype={"InvoiceNo": str, "UnitPrice": str}, parse_dates=["InvoiceDate"])
    lines = lines[lines.CustomerID.notna() & ~lines.InvoiceNo.str.startswith("C")].copy()
    # In thousandths of a pound: prices have three decimals at most; a line's pence round half away from zero.
    exact = (lines.UnitPrice.astype(float) * 1000).round().astype("int64") * lines.Quantity
    lines["pence"] = np.sign(exact) * ((exact.abs() + 5) // 10)
    lines["at"] = lines.InvoiceDate.dt.tz_localize("Europe/London").dt.tz_convert("UTC")
    lines["consumer"] = lines.CustomerID.astype(int).astype(str)
    return lines.groupby("InvoiceNo").agg(
        consumer=("consumer", "max"), at=("at", "max"), pence=("pence", "sum"), lines=("pence", "size")
    )
