"""A user's own data by a mapping, in three forms, and the example of docs/your-own-data.md as it stands there."""

import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pandas as pd
import pytest

from lifecycle import config
from lifecycle.errors import UsageError
from lifecycle.lake import Lake
from tests.conftest import ROOT
from tests.intake_feed import NOW, ask, counts, payloads, reasons, take_in, write

MAPPING = {
    "adapter": "transformations.sources.events:SOURCE",
    "type": "payment.made",
    "time_zone": "Europe/Berlin",
    "columns": {
        "event_id": "no", "event_timestamp": "at", "known_at": "seen", "revision": "rev", "retracted": "void",
        "sequence": "seq",
    },
    "fields": {
        "id": "no",
        "customer": {"column": "mail", "as": "email"},
        "amount": {"column": "amount", "as": "money"},
        "tip": {"column": "tip", "as": "money", "digits": 0},
        "minor": {"column": "minor", "as": "minor"},
        "rate": {"column": "rate", "as": "decimal"},
        "first": {"column": "first", "as": "boolean"},
        "due": {"column": "due", "as": "time"},
        "items": {"column": "items", "as": "integer"},
        "contact.phone": {"column": "phone", "as": "phone"},
        "contact.ip": {"column": "ip", "as": "ip"},
        "name": {"column": "name", "as": "name"},
    },
}  # fmt: skip
ROW = {
    "no": "A-1", "at": "2025-07-01 12:00:00", "seen": "2025-07-02T10:00:00+02:00", "rev": "3", "void": "no", "seq": "7",
    "mail": "Some.One+x@gmail.com", "amount": "12.5", "tip": "3", "minor": "1250", "rate": "0.10", "first": "yes",
    "due": "2025-07-03 02:00", "items": "2", "phone": "+44 20 7946 0000", "ip": "192.0.2.9", "name": "Some One",
}  # fmt: skip


@pytest.fixture
def shop(settings):
    """Return a function that gives settings with the source `shop`, changed as asked."""

    def made(**changes):
        return replace(settings, sources={"shop": MAPPING | changes})

    return made


def csv(path, *rows):
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_every_kind_of_field(shop, lake, tmp_path):
    [batch] = take_in(shop(), lake, "shop", csv(tmp_path / "a.csv", ROW))
    assert counts(batch) == (1, 1, 0, 0)
    [(kind, payload)] = payloads(lake)
    assert kind == "payment.made"
    found = payload["object"]
    hashes = [found.pop(one) for one in ("customer_hash", "customer_normalised_hash", "name_hash")]
    hashes += list(found.pop("contact").values())
    assert len(set(hashes)) == 6
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in hashes)
    assert found == {
        "id": "A-1", "customer_domain": "gmail.com", "amount": 1250, "tip": 3, "minor": 1250, "rate": "0.10",
        "first": True, "due": int(datetime(2025, 7, 3, tzinfo=UTC).timestamp()), "items": 2,
    }  # fmt: skip
    envelope = "event_id, event_timestamp, known_at, revision, retracted, sequence"
    assert ask(lake, f"SELECT {envelope} FROM lake.raw.events") == [
        ("A-1", datetime(2025, 7, 1, 10, tzinfo=UTC), datetime(2025, 7, 2, 8, tzinfo=UTC), 3, False, 7)
    ]


def test_the_three_forms_give_the_same_event(shop, lake, tmp_path):
    table = tmp_path / "b.parquet"
    pd.DataFrame([ROW]).assign(
        at=pd.Timestamp("2025-07-01 12:00:00"), seen=pd.Timestamp("2025-07-02 08:00", tz="UTC"), rev=3.0, void=False,
        seq=7, amount=12.5, tip=3, minor=[Decimal(1250)], first=True, due=pd.Timestamp("2025-07-03 02:00"), items=2.0,
    ).to_parquet(table)  # fmt: skip
    lines = write(tmp_path / "c.ndjson", [ROW | {"rev": 3, "amount": 12.5, "items": 2, "first": True, "void": False}])
    batches = take_in(shop(), lake, "shop", csv(tmp_path / "a.csv", ROW), table, lines)
    # A declared revision would hide a difference in content, so the hashes are compared too.
    assert [counts(batch) for batch in batches] == [(1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0)]
    bare = shop(columns={"event_id": "no", "event_timestamp": "at"})
    there = replace(bare, sources={"shop-2": bare.sources["shop"]})
    batches = take_in(there, lake, "shop-2", tmp_path / "a.csv", table, lines)
    assert [batch.accepted for batch in batches] == [1, 0, 0]


def test_gaps_are_null_and_bad_rows_are_set_aside(shop, lake, tmp_path):
    gaps = dict.fromkeys(ROW, "") | {"no": "A-2", "at": "2025-07-01"}
    bad = [
        {"no": ""}, {"at": ""}, {"at": "soon"}, {"at": "2025-03-30 02:30"}, {"rev": "1.5"}, {"void": "perhaps"},
        {"amount": "12.345"}, {"amount": "-1"}, {"items": "two"}, {"first": "maybe"}, {"rate": "1e999"},
        {"seen": "2026-07-02"},
    ]  # fmt: skip
    rows = [ROW, gaps, *(ROW | {"no": f"B-{n}"} | change for n, change in enumerate(bad))]
    [batch] = take_in(shop(), lake, "shop", csv(tmp_path / "a.csv", *rows))
    assert counts(batch) == (14, 2, 0, 12)
    assert [reason for _, reason in reasons(lake)] == [
        "missing_field", "missing_field", "bad_time", "no_such_local_time", "bad_number", "bad_field",
        "fraction_of_minor_unit", "negative_amount", "bad_number", "bad_field", "bad_number", "time_ahead",
    ]  # fmt: skip
    empty = payloads(lake)[1][1]["object"]
    assert {name: value for name, value in empty.items() if value is not None} == {
        "id": "A-2", "contact": dict.fromkeys(("phone_hash", "ip_hash", "ip_prefix_hash")),
    }  # fmt: skip


def test_paths_into_json_types_by_column_and_other_times(shop, lake, tmp_path):
    given = shop(
        columns={"event_id": "meta.id", "event_timestamp": "t", "type": "kind"},
        fields={"city": "meta.city"}, time_format="unix", delay_seconds=10,
    )  # fmt: skip
    given.sources["shop"].pop("type")
    lines = [
        {"meta": {"id": 7, "city": "Bonn"}, "t": 1_750_000_000.5, "kind": "visit"},
        {"meta": 5, "t": 1, "kind": "visit"},
        {"meta": {"id": 8}, "t": "1750000000", "kind": "visit"},
    ]
    [batch] = take_in(given, lake, "shop", write(tmp_path / "a.ndjson", lines))
    assert (counts(batch), reasons(lake)) == ((3, 2, 0, 1), [(2, "missing_field")])
    assert payloads(lake) == [("visit", {"object": {"city": "Bonn"}}), ("visit", {"object": {"city": None}})]
    assert ask(lake, "SELECT epoch_us(event_timestamp), epoch_us(known_at) FROM lake.raw.events ORDER BY 1 DESC") == [
        (1_750_000_000_500_000, 1_750_000_010_500_000), (1_750_000_000_000_000, 1_750_000_010_000_000),
    ]  # fmt: skip


def test_several_columns_may_tell_facts_apart(shop, lake, tmp_path):
    given = shop(columns={"event_id": ["case", "step", "at"], "event_timestamp": "at"}, fields={"step": "step"})
    rows = [("1", "A,B", "2025-07-01"), ("1,A", "B", "2025-07-01"), ("1", "A,B", "2025-07-02"), ("1", "", "2025-07-03")]
    frame = pd.DataFrame([*rows, rows[0]], columns=["case", "step", "at"])
    frame.to_csv(tmp_path / "a.csv", index=False)
    [batch] = take_in(given, lake, "shop", tmp_path / "a.csv")
    assert (counts(batch), reasons(lake)) == ((5, 3, 1, 1), [(5, "missing_field")])
    assert ask(lake, "SELECT event_id FROM lake.raw.events ORDER BY event_timestamp, 1 LIMIT 1") == [
        ('["1","A,B","2025-07-01"]',)
    ]


def test_a_column_may_have_any_name(shop, lake, tmp_path):
    given = shop(
        columns={"event_id": "place", "event_timestamp": "the time"}, fields={"line": "line"},
        delimiter=";", time_format="%d.%m.%Y %H:%M",
    )  # fmt: skip
    path = write(tmp_path / "a.csv", [b"place;the time;line;unlisted", b"7;24.12.2025 18:00;x;y"])
    take_in(given, lake, "shop", path)
    assert payloads(lake) == [("payment.made", {"object": {"line": "x"}})]
    assert ask(lake, "SELECT event_id, event_timestamp FROM lake.raw.events") == [
        ("7", datetime(2025, 12, 24, 17, tzinfo=UTC))
    ]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"columns": {}}, "does not say which column is event_id and which is event_timestamp"),
        ({"fields": {}}, "no column mapping"),
        ({"columns": {"event_id": "a", "event_timestamp": "b", "event_time": "c"}}, "Did you mean 'event_timestamp'"),
        ({"columns": {"event_id": "a", "event_timestamp": "b", "type": "c"}}, "name the type once"),
        ({"columns": {"event_id": [], "event_timestamp": "b"}}, "does not say which column is event_id"),
        ({"columns": {"event_id": ["a", 1], "event_timestamp": "b"}}, "columns.event_id is ['a', 1]"),
        ({"fields": {"a": 5}}, "fields.a is 5"),
        ({"fields": {"a": {"column": "a", "as": "mail"}}}, "Did you mean 'email'"),
        ({"fields": {"a": {"column": "a", "as": "money", "digits": 9}}}, "digits = 9"),
        ({"time_zone": "Berlin"}, "no time zone"),
        ({"delimiter": ";;"}, "one character"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused_before_the_file_is_opened(shop, lake, tmp_path, changes, cause):
    with pytest.raises(UsageError, match=re.escape(cause)):
        take_in(shop(**changes), lake, "shop", tmp_path / "does-not-exist.csv")


def test_the_repositorys_own_events_source_asks_for_a_mapping(settings, lake, tmp_path):
    with pytest.raises(UsageError, match=r"docs/your-own-data\.md"):
        take_in(settings, lake, "events", tmp_path / "a.csv")


def test_the_documents_example_works_as_it_stands(tmp_path):
    text = (ROOT / "docs" / "your-own-data.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"```(toml|csv|json)\n(.*?)```", text, flags=re.DOTALL))
    shutil.copytree(ROOT / "transformations", tmp_path / "transformations")
    (tmp_path / "lifecycle.toml").write_text(blocks["toml"], encoding="utf-8")
    (tmp_path / "payments.csv").write_text(blocks["csv"], encoding="utf-8")
    settings = config.load(tmp_path)
    lake = Lake(settings.lake)
    [batch] = take_in(settings, lake, "my-shop", tmp_path / "payments.csv", now=NOW)
    assert str(batch) in text
    expected = json.loads(blocks["json"])
    [(kind, payload), *_] = payloads(lake)
    assert kind == "charge.succeeded"
    hashes = {name for name in payload["object"] if name.endswith("_hash")}
    assert hashes == {name for name in expected["object"] if name.endswith("_hash")}
    assert {n: v for n, v in payload["object"].items() if n not in hashes} == {
        n: v for n, v in expected["object"].items() if n not in hashes
    }
    assert [reason for _, reason in reasons(lake)] == re.findall(r"^\| `(\w+)` \| row", text, flags=re.MULTILINE)
