"""The whole path on real data: files to marts, frames, online values and pinned releases."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from tests.online_retail_lake import LABEL, SPINE, needs_real_data

pytestmark = needs_real_data
DAY = pd.Timedelta(days=1)


def test_the_csv_alone_has_the_published_totals(retail):
    query = """
        select count(*) as lines, count(distinct customer_id) as consumers,
            sum(quantity * cast(unit_price as decimal(18, 3)))::decimal(18, 2) as gbp
        from staging.stg_retail_lines
        where not is_cancellation and customer_id is not null
    """
    [row] = retail.sql(query, release=1).to_pylist()
    assert (row["lines"], row["consumers"], str(row["gbp"])) == (397_924, 4_339, "8911407.90")


def test_the_first_cohort_is_active_as_published(retail):
    query = """
        select active_so_far, active_consumers from metrics.retention
        where grain = 'month' and cohort_period = date '2010-12-01' order by age
    """
    rows = retail.sql(query, release=1).to_pylist()
    assert [row["active_so_far"] for row in rows] == [885, 324, 286, 340, 321, 352, 321, 309, 313, 350, 331, 445, 235]
    assert rows[-1]["active_consumers"] is None  # the file ends on 9 December


def test_both_files_together_take_the_overlap_once(retail):
    query = "select count(*) as lines, count(distinct customer_id) as consumers from staging.stg_retail_lines"
    assert retail.sql(query, release=2).to_pylist() == [{"lines": 1_044_847, "consumers": 5_942}]
    assert retail.sql("select count(*) as n from raw.events", release=1).to_pylist() == [{"n": 541_909}]


def test_every_batch_reconciles(retail):
    rows = retail.sql("select landed, accepted, repeated, rejected from raw.batches order by batch_id").to_pylist()
    assert [tuple(row.values()) for row in rows] == [(541_909, 541_909, 0, 0), (525_461, 502_938, 22_523, 0)]


def test_a_frame_of_every_invoice_equals_brute_force(retail, retail_invoices):
    frame = retail.training_frame(SPINE, "lifecycle_v1", LABEL, release=1, keep_immature=True).table.to_pandas()
    frame = frame.set_index("charge_id")
    watermark = retail.release(1).watermarks["online-retail"]
    by_consumer = dict(iter(retail_invoices.groupby("consumer")))
    for number in np.random.default_rng(7).choice(retail_invoices.index.to_numpy(), 2_000, replace=False):
        mine, row = retail_invoices.loc[number], frame.loc[number]
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


def test_a_pinned_frame_is_the_same_before_and_after_another_release(retail):
    folder = Path(retail.settings.lake.home).parent
    before, after = (folder / "before.parquet").read_bytes(), (folder / "after.parquet").read_bytes()
    assert before == after
    newer = retail.training_frame(SPINE, "lifecycle_v1", LABEL, release=2)
    assert newer.table.num_rows > pq.read_metadata(folder / "before.parquet").num_rows


def test_online_values_equal_the_frame_at_the_materialization_time(retail):
    release = retail.release()
    at = max(release.watermarks.values())
    consumers = retail.sql("select consumer_id from core.consumers order by hash(consumer_id) limit 1000")
    keys = consumers.to_pandas()
    assert len(keys) == 1_000
    spine = keys.assign(event_timestamp=at)
    frame = retail.training_frame(spine, "lifecycle_v1").table.to_pylist()
    online = retail.online_features("lifecycle_v1", keys.to_dict("records"))
    for offline, read in zip(frame, online, strict=True):
        assert {name: one.value for name, one in read.items()} == {name: offline[name] for name in read}
