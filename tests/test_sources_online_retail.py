"""The two UCI files: overlap as a multiset, exact pence, London's time; and the real files' own numbers."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.intake_feed import ask, counts, payloads, reasons, take_in, write

REAL = os.environ.get("LIFECYCLE_REAL_DATA", "")
real = pytest.mark.skipif(not REAL, reason="LIFECYCLE_REAL_DATA names no folder of real data")
HEADER = b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
AMOUNT = "(payload->>'$.object.amount')::BIGINT"


def line(
    invoice="536365", stock="A", what="HOLDER", quantity="6", at="2010-12-01 08:26:00", price="2.55", who="17850.0"
):
    return f"{invoice},{stock},{what},{quantity},{at},{price},{who},UK".encode()


def parquet(path, *rows):
    """Write rows of (invoice, stock, description, quantity, time, price, customer) as the second file has them."""
    names = ("Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID")
    columns = dict(zip(names, (list(column) for column in zip(*rows, strict=True)), strict=True))
    columns["InvoiceDate"] = pa.array(
        [datetime.fromisoformat(one) for one in columns["InvoiceDate"]], pa.timestamp("ns")
    )
    columns["Customer ID"] = pa.array(columns["Customer ID"], pa.float64())
    pq.write_table(pa.table(columns | {"Country": ["UK"] * len(rows)}), path)
    return path


def test_a_line(settings, lake, tmp_path):
    path = write(
        tmp_path / "a.csv", [HEADER, line(), line("C536366", "B", "", "-1", "2011-07-01 08:26:00", "7.50", "")]
    )
    take_in(settings, lake, "online-retail", path)
    (kind, first), (_, second) = payloads(lake)
    assert kind == "retail.line"
    assert first["object"].pop("id").startswith("536365:")
    assert first["object"] == {
        "invoice": "536365", "cancellation": False, "line": 1, "stock_code": "A", "description": "HOLDER",
        "quantity": 6, "unit_price": "2.55", "amount": 1530, "currency": "gbp", "customer": "17850", "country": "UK",
    }  # fmt: skip
    assert second["object"]["id"].startswith("C536366:")
    expected = {"cancellation": True, "quantity": -1, "unit_price": "7.5", "amount": -750, "customer": None}
    assert {name: second["object"][name] for name in expected} == expected
    assert second["object"]["description"] is None
    assert ask(lake, "SELECT event_timestamp, known_at FROM lake.raw.events ORDER BY 1") == [
        (datetime(2010, 12, 1, 8, 26, tzinfo=UTC),) * 2,
        (datetime(2011, 7, 1, 7, 26, tzinfo=UTC),) * 2,
    ]


@pytest.mark.parametrize(
    ("quantity", "price", "pence"),
    [("1", "0.005", 1), ("-1", "0.005", -1), ("3", "0.001", 0), ("5", "0.001", 1), ("1", "-11062.06", -1106206),
     ("80995", "2.08", 16846960), ("1", "1.005", 101)],
)  # fmt: skip
def test_pence_are_exact_and_round_half_away_from_zero(settings, lake, tmp_path, quantity, price, pence):
    take_in(settings, lake, "online-retail", write(tmp_path / "a.csv", [HEADER, line(quantity=quantity, price=price)]))
    assert ask(lake, f"SELECT {AMOUNT} FROM lake.raw.events") == [(pence,)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_overlap_of_two_files_is_taken_once_as_a_multiset(settings, lake, tmp_path, order):
    csv = write(tmp_path / "a.csv", [HEADER, line(), line(), line(), line(stock="B", what="", price="0.0", who="")])
    at = "2010-12-01T08:26:00"
    one = ("536365", "A", "HOLDER", 6, at, 2.55, 17850.0)
    other = ("536365", "B", "nan", 6, at, 0.0, None)
    table = parquet(tmp_path / "b.parquet", other, one, one, ("1", *one[1:]))
    batches = take_in(settings, lake, "online-retail", *[(csv, table)[n] for n in order])
    assert [batch.repeated for batch in batches] == [0, 3]
    assert ask(lake, "SELECT payload->>'$.object.invoice', count(*) FROM lake.raw.events GROUP BY 1 ORDER BY 1") == [
        ("1", 1), ("536365", 4),
    ]  # fmt: skip
    assert ask(lake, "SELECT count(*) FROM lake.raw.events WHERE known_until IS NOT NULL") == [(0,)]


def test_what_is_rejected(settings, lake, tmp_path):
    lines = [
        line(), line(invoice=""), line(stock=""), line(quantity=""), line(quantity="1.5"), line(price="x"),
        line(price="1e400"), line(who="x"), line(who="1.5"), line(at=""), line(at="soon"),
        line(at="2011-03-27 01:30:00"), line(at="2011-07-01T01:30:00+05:00"),
    ]  # fmt: skip
    [batch] = take_in(settings, lake, "online-retail", write(tmp_path / "a.csv", [HEADER, *lines]))
    assert counts(batch) == (13, 1, 0, 12)
    assert [reason for _, reason in reasons(lake)] == [
        "missing_field", "missing_field", "missing_field", "bad_number", "bad_number", "bad_number", "bad_number",
        "bad_number", "missing_field", "bad_time", "no_such_local_time", "mixed_time_zones",
    ]  # fmt: skip


@real
@pytest.mark.real
@pytest.mark.parametrize("newest_first", [True, False])
def test_the_real_files(settings, lake, newest_first):
    new = Path(REAL) / "online_retail" / "online_retail.csv.gz"
    old = Path(REAL) / "online_retail_ii" / "online_retail_ii_2009_2010.parquet"
    batches = take_in(settings, lake, "online-retail", *((new, old) if newest_first else (old, new)))
    landed = {batch.file: batch.landed for batch in batches}
    assert landed == {new.name: 541_909, old.name: 525_461}
    assert [counts(batch)[2:] for batch in batches] == [(0, 0), (22_523, 0)]
    assert ask(
        lake,
        "SELECT count(*), count(DISTINCT payload->>'$.object.invoice'), "
        "count(DISTINCT payload->>'$.object.customer'), count(known_until) FROM lake.raw.events",
    ) == [(1_044_847, 53_628, 5_942, 0)]
    if newest_first:
        assert ask(
            lake,
            f"SELECT count(*), count(DISTINCT payload->>'$.object.customer'), sum({AMOUNT})::BIGINT "
            "FROM lake.raw.events WHERE batch_id = 1 AND (payload->>'$.object.cancellation') = 'false' "
            "AND (payload->>'$.object.customer') IS NOT NULL",
        ) == [(397_924, 4_339, 891_140_790)]
        assert ask(lake, f"SELECT sum({AMOUNT})::BIGINT FROM lake.raw.events WHERE batch_id = 1") == [(974_774_793,)]
