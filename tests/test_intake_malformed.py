"""What is not as it should be: a clear error that names file, line and cause, or a quarantined row with its reason."""

import gzip
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifecycle.errors import IntakeError
from lifecycle.pipeline.intake import files
from tests.intake_feed import as_bytes, ask, charge, counts, reasons, take_in, write

HEADER = b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
LINE = b"536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"
MAPPING = {
    "adapter": "transformations.sources.events:SOURCE",
    "type": "payment.made",
    "columns": {"event_id": "id", "event_timestamp": "at"},
    "fields": {"amount": {"column": "amount", "as": "money"}},
}


@pytest.fixture
def shop(settings):
    """Return settings with a source of the user's own."""
    return replace(settings, sources=settings.sources | {"shop": MAPPING})


def refusal(settings, lake, source, path):
    """Return the error's text; nothing may have been taken in."""
    with pytest.raises(IntakeError) as caught:
        take_in(settings, lake, source, path)
    text = str(caught.value)
    assert str(path) in text
    assert not lake.exists or not ask(lake, "SELECT 1 FROM duckdb_tables() WHERE schema_name = 'raw'")
    return text


@pytest.mark.parametrize("source", ["stripe", "online-retail"])
def test_truncated_gzip(settings, lake, tmp_path, source):
    lines = [charge(f"evt_{n}") for n in range(3000)] if source == "stripe" else [HEADER, *[LINE] * 9000]
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(as_bytes(lines))[:-40])
    text = refusal(settings, lake, source, path)
    assert "the gzip file is truncated" in text
    assert ", line " in text


def test_damaged_gzip(settings, lake, tmp_path):
    content = bytearray(gzip.compress(as_bytes([charge(f"evt_{n}") for n in range(3000)])))
    content[-6] ^= 0xFF
    path = tmp_path / "bad.ndjson.gz"
    path.write_bytes(content)
    assert "the gzip data is damaged" in refusal(settings, lake, "stripe", path)


def test_wrong_columns_of_csv(settings, lake, tmp_path):
    path = write(tmp_path / "a.csv", [HEADER.replace(b"UnitPrice", b"Unit price").replace(b"Country", b"x"), LINE])
    text = refusal(settings, lake, "online-retail", path)
    assert "line 1: the columns 'UnitPrice' or 'Price' (is it 'Unit price'?), 'Country' are missing" in text
    assert "the file has: 'InvoiceNo', 'StockCode'" in text


def test_wrong_columns_of_parquet(settings, lake, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"invoice": ["1"], "StockCode": ["A"]}), path)
    assert "'InvoiceNo' or 'Invoice' (is it 'invoice'?)" in refusal(settings, lake, "online-retail", path)


def test_a_column_twice(settings, lake, tmp_path):
    path = write(tmp_path / "a.csv", [HEADER + b",Country", LINE + b",France"])
    assert "the column 'Country' 2 times" in refusal(settings, lake, "online-retail", path)


def test_not_json_at_all(settings, lake, tmp_path):
    path = write(tmp_path / "a.ndjson", [HEADER, LINE])
    text = refusal(settings, lake, "stripe", path)
    assert "line 1: this is not a file of this source's form: the line is not JSON" in text


def test_another_form(settings, lake, tmp_path):
    path = tmp_path / "a.ndjson"
    pq.write_table(pa.table({"a": [1]}), path)
    assert "form parquet, and the source reads ndjson" in refusal(settings, lake, "stripe", path)
    lines = write(tmp_path / "b", [charge()])
    assert "form ndjson, and the source reads csv or parquet" in refusal(settings, lake, "online-retail", lines)


def test_some_lines_not_json(settings, lake, tmp_path):
    lines = [charge("evt_1"), b'{"id": "evt_2", ', b"[1]", b"NaN", b"[" * 9000, charge("evt_3")]
    [batch] = take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", lines))
    assert counts(batch) == (6, 2, 0, 4)
    assert reasons(lake) == [(2, "not_json"), (3, "not_an_object"), (4, "not_json"), (5, "not_json")]


def test_a_folder(settings, lake, tmp_path):
    assert "is a folder, not a file. Name its files" in refusal(settings, lake, "stripe", tmp_path)


def test_a_missing_file(settings, lake, tmp_path):
    assert "does not exist" in refusal(settings, lake, "stripe", tmp_path / "nothing.ndjson")


@pytest.mark.parametrize(
    ("source", "content"),
    [("stripe", b""), ("stripe", b"\n \n"), ("online-retail", HEADER + b"\n"), ("stripe", gzip.compress(b"", mtime=0))],
)
def test_an_empty_file(settings, lake, tmp_path, source, content):
    path = tmp_path / "empty"
    path.write_bytes(content)
    assert "the file is empty" in refusal(settings, lake, source, path)


def test_an_empty_parquet_file(shop, lake, tmp_path):
    path = tmp_path / "empty.parquet"
    pq.write_table(pa.table({"id": pa.array([], pa.string()), "at": pa.array([], pa.string()), "amount": []}), path)
    assert "the file is empty" in refusal(shop, lake, "shop", path)


def test_damaged_parquet(shop, lake, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["1"], "at": ["2025-01-01"], "amount": ["1"]}), path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "the Parquet file is damaged" in refusal(shop, lake, "shop", path)


def test_mixed_time_zones(shop, lake, tmp_path):
    shop.sources["shop"] = MAPPING | {"time_zone": "Europe/Berlin"}
    rows = [
        b"1,2025-01-02 09:00,1",
        b"2,2025-01-02T09:00+01:00,1",
        b"3,2025-01-02T09:00Z,1",
        b"4,2025-07-02T09:00+01:00,1",
    ]
    [batch] = take_in(shop, lake, "shop", write(tmp_path / "a.csv", [b"id,at,amount", *rows]))
    assert counts(batch) == (4, 2, 0, 2)
    assert reasons(lake) == [(4, "mixed_time_zones"), (5, "mixed_time_zones")]
    assert ask(lake, "SELECT count(DISTINCT event_timestamp) FROM lake.raw.events") == [(1,)]


def test_times_without_offset_where_each_should_carry_one(shop, lake, tmp_path):
    shop.sources["shop"] = MAPPING | {"time_zone": "offset"}
    rows = [b"1,2025-01-02 09:00,1", b"2,2025-01-02T09:00+01:00,1", b"3,2025-01-02T09:00Z,1"]
    [batch] = take_in(shop, lake, "shop", write(tmp_path / "a.csv", [b"id,at,amount", *rows]))
    assert (counts(batch), reasons(lake)) == ((3, 2, 0, 1), [(2, "no_time_zone")])


def test_negative_and_overflowing_amounts(settings, shop, lake, tmp_path):
    amounts = [-1, 2**63, -(2**63) - 1, 10**40, 12.5, "12", 0, 2**63 - 1]
    lines = [charge(f"evt_{n}", amount=amount) for n, amount in enumerate(amounts)]
    [batch] = take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", lines))
    assert counts(batch) == (8, 2, 0, 6)
    assert reasons(lake) == [
        (1, "negative_amount"), (2, "overflow"), (3, "overflow"), (4, "overflow"), (5, "bad_field"), (6, "bad_field"),
    ]  # fmt: skip
    rows = [b"1,2025-01-02,-0.01", b"2,2025-01-02,92233720368547758.08", b"3,2025-01-02,1.005", b"4,2025-01-02,1e9999",
            b"5,2025-01-02,92233720368547758.07", b"6,2025-01-02,nan"]  # fmt: skip
    [batch] = take_in(shop, lake, "shop", write(tmp_path / "a.csv", [b"id,at,amount", *rows]))
    assert counts(batch) == (6, 1, 0, 5)
    assert reasons(lake)[6:] == [
        (2, "negative_amount"), (3, "overflow"), (4, "fraction_of_minor_unit"), (5, "bad_number"), (7, "bad_number"),
    ]  # fmt: skip


def test_overflow_of_quantity_times_price(settings, lake, tmp_path):
    rows = [LINE.replace(b",6,", b",9223372036854775807,"), LINE.replace(b",6,", b",six,"), LINE]
    [batch] = take_in(settings, lake, "online-retail", write(tmp_path / "a.csv", [HEADER, *rows]))
    assert (counts(batch), reasons(lake)) == ((3, 1, 0, 2), [(2, "overflow"), (3, "bad_number")])


def test_invalid_utf8(settings, lake, tmp_path):
    lines = [charge("evt_1"), b'{"id": "\xff"}', charge("evt_2", description="\u00e9")]
    [batch] = take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", lines))
    assert (counts(batch), reasons(lake)) == ((3, 2, 0, 1), [(2, "bad_utf8")])
    rows = [LINE, LINE.replace(b"HOLDER", b"H\xe9LDER"), LINE]
    [batch] = take_in(settings, lake, "online-retail", write(tmp_path / "a.csv", [HEADER, *rows]))
    assert (counts(batch), reasons(lake)[1:]) == ((3, 2, 0, 1), [(3, "bad_utf8")])


def test_rows_of_another_width_and_bad_quotes(settings, lake, tmp_path):
    rows = [LINE, LINE + b",more", b'536365,"a"b,x,6,2010-12-01 08:26:00,2.55,1.0,UK', b"", LINE]
    [batch] = take_in(settings, lake, "online-retail", write(tmp_path / "a.csv", [HEADER, *rows]))
    assert (counts(batch), reasons(lake)) == ((4, 2, 0, 2), [(3, "wrong_field_count"), (4, "bad_csv")])


def test_a_quote_that_never_closes(settings, lake, tmp_path):
    path = write(tmp_path / "a.csv", [HEADER, LINE, LINE.replace(b"HOLDER", b'"HOLDER'), LINE])
    assert "line 3: a quote that opens in this record never closes" in refusal(settings, lake, "online-retail", path)


def test_a_record_over_several_lines_keeps_its_place(settings, lake, tmp_path):
    rows = [LINE.replace(b"HOLDER", b'"two\nlines"'), LINE.replace(b",6,", b",six,")]
    take_in(settings, lake, "online-retail", write(tmp_path / "a.csv", [HEADER, *rows]))
    assert reasons(lake) == [(4, "bad_number")]


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(settings, lake, tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"\xef\xbb\xbf" + as_bytes([charge("evt_1"), charge("evt_2")]).replace(b"\n", b"\r\n"))
    table = tmp_path / "a.csv"
    table.write_bytes(b"\xef\xbb\xbf" + as_bytes([HEADER, LINE]).replace(b"\n", b"\r\n"))
    [first] = take_in(settings, lake, "stripe", path)
    [second] = take_in(settings, lake, "online-retail", table)
    assert (counts(first), counts(second)) == ((2, 2, 0, 0), (1, 1, 0, 0))


def test_chunks_do_not_show(settings, lake, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 700)
    lines = [charge(f"evt_{n}", amount=n - 3) for n in range(40)]
    path = tmp_path / "a.ndjson"
    path.write_bytes(as_bytes(lines).rstrip(b"\n"))
    [batch] = take_in(settings, lake, "stripe", path)
    assert (counts(batch), reasons(lake)) == ((40, 37, 0, 3), [(n, "negative_amount") for n in (1, 2, 3)])


def test_a_line_without_end_is_refused(settings, lake, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(files, "LONGEST_LINE", 3000)
    path = tmp_path / "a.ndjson"
    path.write_bytes(as_bytes([charge()]) + b"x" * 9000)
    assert "line 2: the line is longer than" in refusal(settings, lake, "stripe", path)
