"""Batches: what lands, what a repeat changes (nothing), and what a failure leaves behind (nothing)."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from filelock import FileLock

from lifecycle.config import KEY_VARIABLE
from lifecycle.errors import IntakeError, LockedError, PlatformError, UsageError
from lifecycle.pipeline.intake import ingest, read_quarantine, watermarks
from lifecycle.pipeline.intake.adapter import EVENTS, REJECTED, Converted, Source
from tests.intake_feed import CREATED, NOW, ask, charge, counts, reasons, received, take_in, write

EVERYTHING = "SELECT * FROM lake.raw.events ORDER BY ALL"
CREATION = datetime.fromtimestamp(CREATED, UTC)


def test_a_batch_says_what_it_did(settings, lake, tmp_path):
    lines = [received(charge("evt_1")), received(charge("evt_1")), b"oops", b"", received(charge("evt_2"))]
    [batch] = take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson.gz", lines))
    assert counts(batch) == (4, 2, 1, 1)
    assert str(batch) == "batch 1, a.ndjson.gz: 4 landed = 2 accepted + 1 repeated + 1 rejected"
    stored = ask(lake, "SELECT batch_id, source, file, landed, accepted, repeated, rejected FROM lake.raw.batches")
    assert stored == [(1, "stripe", "a.ndjson.gz", 4, 2, 1, 1)]
    assert ask(lake, "SELECT file_hash, watermark, loaded_at FROM lake.raw.batches") == [
        (batch.file_hash, batch.watermark, NOW)
    ]


def test_taking_a_file_in_again_changes_no_event(settings, lake, tmp_path):
    path = write(tmp_path / "a.ndjson", [charge(f"evt_{n}") for n in range(50)])
    first, second = take_in(settings, lake, "stripe", path, path)
    assert counts(first) == (50, 50, 0, 0)
    before = ask(lake, EVERYTHING)
    [third] = take_in(settings, lake, "stripe", path, now=NOW + timedelta(days=9))
    assert (counts(second), counts(third)) == ((50, 0, 50, 0), (50, 0, 50, 0))
    assert ask(lake, EVERYTHING) == before
    assert [third.batch_id, ask(lake, "SELECT count(*) FROM lake.raw.batches")] == [3, [(3,)]]


def test_known_time_is_the_receipt_or_creation_plus_delay(settings, lake, tmp_path):
    delayed = replace(settings, sources={"stripe": settings.sources["stripe"] | {"delay_seconds": 60}})
    lines = [charge("bare"), received(charge("wrapped"), "2025-03-01T12:00:02+02:00"), received(charge("unix"), 1.7e9)]
    take_in(delayed, lake, "stripe", write(tmp_path / "a.ndjson", lines))
    known = dict(ask(lake, "SELECT event_id, known_at FROM lake.raw.events"))
    assert known == {
        "bare": CREATION + timedelta(seconds=60),
        "wrapped": datetime(2025, 3, 1, 10, 0, 2, tzinfo=UTC),
        "unix": datetime.fromtimestamp(1.7e9, UTC),
    }


def test_known_time_is_fixed_at_first_landing_and_within_a_batch_the_earliest_wins(settings, lake, tmp_path):
    event = charge()
    times = ["2025-03-05T00:00:00Z", "2025-03-03T00:00:00Z", "2025-03-04T00:00:00Z"]
    first = write(tmp_path / "a.ndjson", [received(event, at) for at in times])
    second = write(tmp_path / "b.ndjson", [received(event, "2025-03-02T00:00:00Z")])
    take_in(settings, lake, "stripe", first, second)
    assert ask(lake, "SELECT known_at, known_from, known_until, batch_id FROM lake.raw.events") == [
        (datetime(2025, 3, 3, tzinfo=UTC), datetime(2025, 3, 3, tzinfo=UTC), None, 1)
    ]


def test_times_ahead_of_the_clock_are_quarantined(settings, lake, tmp_path):
    ahead = (NOW + timedelta(microseconds=1)).isoformat()
    late = charge("bare") | {"created": NOW.timestamp() + 1}
    lines = [received(charge("at"), NOW.isoformat()), received(charge("after"), ahead), late]
    [batch] = take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", lines))
    assert reasons(lake) == [(2, "time_ahead"), (3, "time_ahead")]
    assert (counts(batch), batch.watermark) == ((3, 1, 0, 2), NOW)


def test_a_fact_may_lie_ahead_of_its_receipt(settings, lake, tmp_path):
    later = charge() | {"created": NOW.timestamp() + 86_400}
    [batch] = take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", [received(later)]))
    assert counts(batch) == (1, 1, 0, 0)


def test_a_delay_never_puts_the_watermark_ahead_of_the_clock(settings, lake, tmp_path):
    delayed = replace(settings, sources={"stripe": settings.sources["stripe"] | {"delay_seconds": 1e9}})
    [batch] = take_in(delayed, lake, "stripe", write(tmp_path / "a.ndjson", [charge()]))
    assert batch.watermark == NOW


def test_watermarks_are_the_greatest_known_time_of_each_source(settings, lake, tmp_path):
    early = write(tmp_path / "a.ndjson", [received(charge("evt_1"), "2025-03-02T00:00:00Z")])
    late = write(tmp_path / "b.ndjson", [received(charge("evt_2"), "2025-04-02T00:00:00Z")])
    only_rejected = write(tmp_path / "c.ndjson", [charge(amount=-1)])
    retail = write(
        tmp_path / "r.csv",
        [
            b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
            b"1,A,x,1,2010-12-01 08:26:00,2.55,17850.0,UK",
        ],
    )
    *_, last = take_in(settings, lake, "stripe", late, early, only_rejected)
    take_in(settings, lake, "online-retail", retail)
    assert last.watermark is None
    connection = lake.connect()
    try:
        assert watermarks(connection) == {
            "online-retail": datetime(2010, 12, 1, 8, 26, tzinfo=UTC),
            "stripe": datetime(2025, 4, 2, tzinfo=UTC),
        }
    finally:
        connection.close()


def test_no_file_taken_in_yet_means_no_watermark_and_an_empty_quarantine(lake):
    with lake.lock():
        connection = lake.connect(write=True)
    try:
        assert (watermarks(connection), read_quarantine(connection).num_rows) == ({}, 0)
    finally:
        connection.close()


def test_a_refused_file_leaves_nothing_and_files_before_it_stay(settings, lake, tmp_path):
    good = write(tmp_path / "a.ndjson", [charge("evt_1")])
    broken = tmp_path / "b.ndjson.gz"
    broken.write_bytes(
        write(tmp_path / "whole.ndjson.gz", [charge(f"evt_{n}") for n in range(2000)]).read_bytes()[:-99]
    )
    after = write(tmp_path / "c.ndjson", [charge("evt_9")])
    with pytest.raises(IntakeError, match="truncated"):
        take_in(settings, lake, "stripe", good, broken, after)
    assert ask(lake, "SELECT event_id, batch_id FROM lake.raw.events") == [("evt_1", 1)]
    assert ask(lake, "SELECT count(*) FROM lake.raw.batches") == [(1,)]
    assert ask(lake, "SELECT count(*) FROM lake.raw.quarantine") == [(0,)]
    [batch] = take_in(settings, lake, "stripe", after)
    assert batch.batch_id == 2
    assert not list((settings.lake.home / "spill").iterdir())


def test_a_failure_while_landing_rolls_the_whole_batch_back(settings, lake, tmp_path, monkeypatch):
    from lifecycle.pipeline.intake import relations

    take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", [charge("evt_1"), b"oops"]))
    before = ask(lake, EVERYTHING), reasons(lake)

    def fail(*_):
        raise PlatformError("the disk is full")

    monkeypatch.setattr(relations, "_batch", fail)
    with pytest.raises(PlatformError, match="disk"):
        take_in(settings, lake, "stripe", write(tmp_path / "b.ndjson", [charge("evt_1", amount=1), b"oops"]))
    assert (ask(lake, EVERYTHING), reasons(lake)) == before


def test_an_adapter_that_loses_a_record_is_stopped(settings, lake, tmp_path, monkeypatch):
    from lifecycle.pipeline.intake import taking_in

    losing = Source(("ndjson",), lambda *_: Converted(EVENTS.empty_table(), REJECTED.empty_table()))
    monkeypatch.setattr(taking_in, "load_adapter", lambda *_: losing)
    with pytest.raises(PlatformError, match="1 records and returned 0 events and 0 rejections"):
        take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", [charge()]))
    assert not ask(lake, "SELECT 1 FROM duckdb_tables() WHERE schema_name = 'raw'")


def test_another_key_is_refused(settings, lake, tmp_path, monkeypatch):
    path = write(tmp_path / "a.ndjson", [charge()])
    take_in(settings, lake, "stripe", path)
    monkeypatch.setenv(KEY_VARIABLE, "another key, as long as the first one")
    with pytest.raises(UsageError, match="not the key that this lake was filled with"):
        take_in(settings, lake, "stripe", path)
    assert ask(lake, "SELECT count(*) FROM lake.raw.batches") == [(1,)]


def test_quarantine_gives_records_back_with_the_key_alone(settings, lake, tmp_path, monkeypatch):
    bad = charge(amount=-5, metadata={"ip": "192.0.2.7"})
    take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", [charge("evt_2"), bad, b"\xff"]))
    connection = lake.connect()
    try:
        table = read_quarantine(connection, batch=1, limit=1)
        assert table.select(["batch_id", "source", "file", "place", "reason"]).to_pylist() == [
            {"batch_id": 1, "source": "stripe", "file": "a.ndjson", "place": 2, "reason": "negative_amount"}
        ]
        assert json.loads(table["record"][0].as_py()) == bad
        assert "record" not in read_quarantine(connection, decrypt=False).column_names
        monkeypatch.setenv(KEY_VARIABLE, "another key, as long as the first one")
        with pytest.raises(UsageError, match="written under another one"):
            read_quarantine(connection)
    finally:
        connection.close()


def test_usage_errors_name_the_next_step(settings, lake, tmp_path):
    path = write(tmp_path / "a.ndjson", [charge()])
    with pytest.raises(UsageError, match="Did you mean 'stripe'"):
        take_in(settings, lake, "stripes", path)
    with pytest.raises(UsageError, match="no file was named"):
        take_in(settings, lake, "stripe")
    for option, value, cause in [
        ("adapter", "stripe", "package.module:NAME"),
        ("adapter", "transformations.sources.nowhere:SOURCE", "cannot be imported"),
        ("adapter", "transformations.sources.stripe:convert", r"is no lifecycle\.pipeline"),
        ("delay_seconds", -1, "0 or more"),
        ("test_mode", "yes", "true or false"),
        ("account", 7, "acct_1"),
    ]:
        wrong = replace(settings, sources={"stripe": settings.sources["stripe"] | {option: value}})
        with pytest.raises(UsageError, match=cause):
            take_in(wrong, lake, "stripe", path)


def test_intake_holds_the_lakes_lock(settings, lake, tmp_path):
    path = write(tmp_path / "a.ndjson", [charge()])
    settings.lake.home.mkdir(parents=True)
    with FileLock(settings.lake.home / "writer.lock"), pytest.raises(LockedError):
        take_in(settings, lake, "stripe", path)
    with lake.lock():
        assert len(ingest(settings, lake, "stripe", [path])) == 1
