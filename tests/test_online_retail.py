"""The whole path on real data: files to marts, frames, online values and pinned releases."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from lifecycle import open_project

REAL = os.environ.get("LIFECYCLE_REAL_DATA", "")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not REAL, reason="LIFECYCLE_REAL_DATA names no folder of real data"),
]
ROOT = Path(__file__).resolve().parents[1]
SPINE = "select charge_id, consumer_id, event_timestamp from features.charge_events order by charge_id"
LABEL = "repurchase_30d"
DAY = pd.Timedelta(days=1)


def _csv():
    return Path(REAL) / "online_retail" / "online_retail.csv.gz"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Release 1 holds the CSV alone, release 2 both files; the frame of release 1 is written before and after."""
    folder = tmp_path_factory.mktemp("retail")
    made = open_project(ROOT, home=folder / "home")
    made.run("online-retail", [_csv()])
    made.training_frame(SPINE, "lifecycle_v1", LABEL, release=1).write_parquet(folder / "before.parquet")
    made.run("online-retail", [Path(REAL) / "online_retail_ii" / "online_retail_ii_2009_2010.parquet"])
    made.training_frame(SPINE, "lifecycle_v1", LABEL, release=1).write_parquet(folder / "after.parquet")
    return made


@pytest.fixture(scope="module")
def invoices():
    """What the file says, read without us: one row per invoice of a known customer that is no cancellation."""
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


def test_the_csv_alone_has_the_published_totals(project):
    query = """
        select count(*) as lines, count(distinct customer_id) as consumers,
            sum(quantity * cast(unit_price as decimal(18, 3)))::decimal(18, 2) as gbp
        from staging.stg_retail_lines
        where not is_cancellation and customer_id is not null
    """
    [row] = project.sql(query, release=1).to_pylist()
    assert (row["lines"], row["consumers"], str(row["gbp"])) == (397_924, 4_339, "8911407.90")


def test_the_first_cohort_is_active_as_published(project):
    query = """
        select active_consumers from metrics.monthly_cohorts
        where cohort_month = date '2010-12-01' order by month_index
    """
    active = [row["active_consumers"] for row in project.sql(query, release=1).to_pylist()]
    assert active == [885, 324, 286, 340, 321, 352, 321, 309, 313, 350, 331, 445, 235]


def test_both_files_together_take_the_overlap_once(project):
    query = "select count(*) as lines, count(distinct customer_id) as consumers from staging.stg_retail_lines"
    assert project.sql(query, release=2).to_pylist() == [{"lines": 1_044_847, "consumers": 5_942}]
    assert project.sql("select count(*) as n from raw.events", release=1).to_pylist() == [{"n": 541_909}]


def test_every_batch_reconciles(project):
    rows = project.sql("select landed, accepted, repeated, rejected from raw.batches order by batch_id").to_pylist()
    assert [tuple(row.values()) for row in rows] == [(541_909, 541_909, 0, 0), (525_461, 502_938, 22_523, 0)]


def test_a_frame_of_every_invoice_equals_brute_force(project, invoices):
    frame = project.training_frame(SPINE, "lifecycle_v1", LABEL, release=1, keep_immature=True).table.to_pandas()
    frame = frame.set_index("charge_id")
    watermark = project.release(1).watermarks["online-retail"]
    by_consumer = dict(iter(invoices.groupby("consumer")))
    for number in np.random.default_rng(7).choice(invoices.index.to_numpy(), 2_000, replace=False):
        mine, row = invoices.loc[number], frame.loc[number]
        own = by_consumer[mine.consumer]
        earlier = own[own["at"] < mine["at"]].reset_index().sort_values(["at", "InvoiceNo"])
        assert (row.consumer_id, row.event_timestamp) == (mine.consumer, mine["at"])
        if earlier.empty:
            assert pd.isna(row.last_charge_amount)
            assert pd.isna(row.last_charge_at)
        else:
            assert row.last_charge_amount == earlier.iloc[-1].pence
            assert row.last_charge_at == earlier.iloc[-1]["at"]
        if mine["at"] + 30 * DAY <= watermark:
            bought = ((own["at"] > mine["at"]) & (own["at"] <= mine["at"] + 30 * DAY)).any()
            assert row[LABEL] == bought
        else:
            assert row[LABEL] is None
            assert row[f"{LABEL}_status"] == "immature"


def test_a_pinned_frame_is_the_same_before_and_after_another_release(project):
    folder = Path(project.settings.lake.home).parent
    before, after = (folder / "before.parquet").read_bytes(), (folder / "after.parquet").read_bytes()
    assert before == after
    newer = project.training_frame(SPINE, "lifecycle_v1", LABEL, release=2)
    assert newer.table.num_rows > pq.read_metadata(folder / "before.parquet").num_rows


def test_online_values_equal_the_frame_at_the_materialization_time(project):
    release = project.release()
    at = max(release.watermarks.values())
    consumers = project.sql("select consumer_id from core.consumers order by hash(consumer_id) limit 1000")
    keys = consumers.to_pandas()
    assert len(keys) == 1_000
    spine = keys.assign(event_timestamp=at)
    frame = project.training_frame(spine, "lifecycle_v1").table.to_pylist()
    online = project.online_features("lifecycle_v1", keys.to_dict("records"))
    for offline, read in zip(frame, online, strict=True):
        assert {name: one.value for name, one in read.items()} == {name: offline[name] for name in read}
