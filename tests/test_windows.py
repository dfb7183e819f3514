"""Window features: literal tables in and out, declarations that make no sense, and the way through SQL."""

import importlib
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from lifecycle.definitions import View, Window
from lifecycle.engine import jit
from lifecycle.engine import windows as kernel
from lifecycle.engine.jit import place_for
from lifecycle.engine.windows import evaluate, mask_column, result_type, window_features
from lifecycle.errors import DataError, UsageError
from tests import oracle

LARGEST, LEAST = 2**63 - 1, -(2**63)


def at(values, when, *windows, times=None, **options):
    """Evaluate windows of one key at the moments `when`; events are at 0, 10, 20, ... unless given."""
    times = list(range(0, 10 * len(values), 10)) if times is None else times
    kind = pa.float64() if any(isinstance(x, float) for x in values) else None
    events = pa.table(
        {"key": pa.array([0] * len(values), pa.int64()), "event_timestamp": times} | {"x": pa.array(values, kind)}
    )
    spine = pa.table({"key": [0] * len(when), "t": when, "row": range(len(when))})
    table = evaluate(events, spine, windows, threads=1, **options)
    columns = [column.to_pylist() for column in table.columns]
    return columns[0] if len(columns) == 1 else columns


def test_an_event_at_t_is_left_out_and_one_at_t_minus_w_counts():
    assert at([1], [9, 10, 11, 19, 20, 21], Window("n", "count", None, 10), times=[10]) == [0, 0, 1, 1, 1, 0]


def test_a_version_counts_from_known_from_up_to_known_until():
    events = pa.table({"key": [0], "event_timestamp": [5], "known_from": [10], "known_until": [15]})
    spine = pa.table({"key": [0] * 5, "t": [6, 9, 10, 14, 15], "row": range(5)})
    assert evaluate(events, spine, [Window("n", "count")])["n"].to_pylist() == [0, 0, 1, 1, 0]


def test_empty_windows_give_zero_counts_and_null_for_the_rest():
    row = [
        at([1, 2], [1000], Window("w", f, "x", 10, parameter=1))[0]
        for f in ("count", "count_distinct", "sum", "last_k")
    ]
    assert row == [0, 0, None, None]


def test_a_float_sum_forgets_what_has_left_the_window():
    values = [1e17, 0.1, 0.2, 0.3]
    assert at(values, [15, 35, 40], Window("s", "sum", "x", 26)) == [1e17, 0.6, 0.5]
    assert at([1e17, 0.5, -1e17], [100], Window("s", "sum", "x")) == [0.5]


def test_what_is_no_number_spoils_its_own_windows_only():
    names = ("sum", "mean", "min", "max", "var", "approx_quantile")
    windows = [Window(f, f, "x", 25, parameter=0.5) for f in names]
    for bad in (math.nan, math.inf, -math.inf):
        spoiled, clean = zip(*at([bad, 1.0, 2.0], [25, 26], *windows), strict=True)
        assert all(map(math.isnan, spoiled)), spoiled
        assert clean == (3.0, 1.5, 1.0, 2.0, 0.5, 1.0)


def test_whole_numbers_are_exact_to_the_last_bit_of_64():
    assert at([LARGEST - 1, 1], [100], Window("s", "sum", "x")) == [LARGEST]
    assert at([LEAST, LARGEST, 1], [100], Window("s", "sum", "x")) == [0]
    assert at([LEAST, LARGEST], [100], Window("a", "min", "x"), Window("b", "max", "x")) == [[LEAST], [LARGEST]]
    assert at([LARGEST, LARGEST], [100], Window("m", "mean", "x")) == [float(LARGEST)]


def test_a_sum_beyond_64_bits_is_an_error_where_it_happens():
    assert at([LARGEST, 1], [10], Window("s", "sum", "x")) == [LARGEST]
    with pytest.raises(DataError, match=r"'s': the sum of 'x' at 1970-01-01T00:00:00.000011Z does not fit 64 bits"):
        at([LARGEST, 1], [10, 11], Window("s", "sum", "x"))


def test_equal_values_have_no_spread():
    assert at([0.1] * 7, [100], Window("s", "std", "x")) == [0.0]
    assert at([LARGEST] * 3, [100], Window("v", "var", "x")) == [0.0]


def test_a_window_may_reach_before_all_time():
    assert at([7], [LEAST + 5], Window("s", "sum", "x", LARGEST), times=[LEAST]) == [7]
    age = at([7], [LARGEST], Window("a", "seconds_since_last"), times=[LEAST])
    assert age == [(2**64 - 1) / 1e6]


def test_types_of_results():
    kinds = [pa.int32(), pa.float32(), pa.bool_(), pa.date32(), pa.timestamp("us", "UTC")]
    assert [result_type(Window("w", "max", "x"), kind) for kind in kinds] == kinds
    assert result_type(Window("w", "sum", "x"), pa.int16()) == pa.int64()
    assert result_type(Window("w", "last_k", "x", parameter=2), pa.string()) == pa.list_(pa.string())
    for kind in kinds:
        values = pa.array([3, 1, 2]).cast(pa.int32()).cast(kind if kind != pa.timestamp("us", "UTC") else pa.int32())
        events = pa.table({"key": [0] * 3, "event_timestamp": [0, 1, 2], "x": values})
        spine = pa.table({"key": [0, 1], "t": [9, 9], "row": [0, 1]})
        functions = [Window(f, f, "x", parameter=0.5) for f in ("min", "last", "approx_quantile")]
        table = evaluate(events, spine, functions)
        assert table["min"].to_pylist() == [min(values.to_pylist()), None]
        assert table["last"].to_pylist() == [values.to_pylist()[-1], None]
        assert table["approx_quantile"].type == values.type


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (Window("w", "sun", "x"), "unknown aggregation 'sun'. Did you mean 'sum'"),
        (Window("w", "sum"), "sum needs a column"),
        (Window("w", "count", None, 0), "must be longer than 0"),
        (Window("w", "last_k", "x"), "parameter=k"),
        (Window("w", "approx_quantile", "x", parameter=1.5), "from 0 to 1"),
    ],
)
def test_declarations_that_make_no_sense(window, message):
    with pytest.raises(UsageError, match=message):
        at([1], [100], window)


def test_inputs_that_cannot_be_taken():
    for values, function in (([1], "rate"), (["a"], "sum"), (["a"], "min")):
        with pytest.raises(DataError, match=f"{function} cannot take 'x'"):
            at(values, [5], Window("w", function, "x"))
    with pytest.raises(DataError, match="minor units"):
        result_type(Window("w", "sum", "x"), pa.decimal128(10, 2))
    with pytest.raises(DataError, match="reads 'y', which the events lack"):
        at([1], [5], Window("w", "sum", "y"))


def test_input_out_of_order_is_refused():
    with pytest.raises(DataError, match="not sorted"):
        at([1, 2], [9, 3], Window("n", "count"))
    with pytest.raises(DataError, match="not sorted"):
        at([1, 2], [3, 9], Window("n", "count"), times=[5, 4])


def test_money_of_two_currencies_is_no_sum():
    events = pa.table(
        {"key": [0] * 3, "event_timestamp": [0, 10, 20], "x": [1, 2, 3], "currency": ["eur", "eur", "usd"]}
    )
    window = Window("spend", "sum", "x", currency="currency")
    early = pa.table({"key": [0], "t": [15], "row": [0]})
    late = pa.table({"key": [0], "t": [25], "row": [0]})
    assert evaluate(events, early, [window])["spend"].to_pylist() == [3]
    with pytest.raises(DataError, match="mixes money in eur and usd"):
        evaluate(events, late, [window])
    one = events.append_column("currency is eur", pa.array([True, True, False]))
    bucket = Window("spend", "sum", "x", bucket=("currency", "eur"), currency="currency")
    assert evaluate(one, late, [bucket])["spend"].to_pylist() == [3]


def test_lists_of_several_columns_stay_aligned():
    events = pa.table({"key": [0] * 3, "event_timestamp": [0, 10, 20], "x": [1, None, 3], "y": ["a", "b", None]})
    spine = pa.table({"key": [0, 0], "t": [5, 25], "row": [1, 0]})
    table = evaluate(events, spine, [Window(c, "last_k", c, parameter=2) for c in ("x", "y")])
    assert table.to_pydict() == {"x": [[None, 3], [1]], "y": [["b", None], ["a"]]}


VIEW = View(
    name="payments",
    relation="features.payment_events",
    join_keys=(("consumer", "customer"),),
    event_timestamp="paid_at",
    known_at="known_from",
    features=(),
    tie_break=("sequence", "event_id", "content_hash"),
    windows=(
        Window("n", "count"),
        Window("n_failed", "count", None, 10_000_000, "status = 'failed'"),
        Window("spend", "sum", "amount", 10_000_000),
        Window("eur", "sum", "amount", None, None, ("currency", "eur"), None, "currency"),
        Window("eur_ok", "sum", "amount", None, "status <> 'failed'", ("currency", "eur")),
        Window("last_status", "last", "status"),
        Window("times", "last_k", "paid_at", parameter=2),
    ),
)


@pytest.fixture
def lake():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("ATTACH ':memory:' AS lake")
    connection.execute("CREATE SCHEMA lake.features")
    connection.execute(
        """
        CREATE TABLE lake.features.payment_events AS
        SELECT customer, make_timestamptz(s * 1000000) AS paid_at, make_timestamptz(known * 1000000) AS known_from,
               make_timestamptz(until * 1000000) AS known_until, sequence, event_id, '' AS content_hash,
               amount, currency, status
        FROM (VALUES
            ('a', 1, 1, NULL, NULL, 'e1', 100, 'eur', 'ok'),
            ('a', 5, 9, NULL, NULL, 'e2', 200, 'eur', NULL),
            ('a', 7, 7, 12, NULL, 'e3', 400, 'usd', 'ok'),
            ('a', 7, 12, NULL, NULL, 'e3', 800, 'usd', 'failed'),
            ('a', 7, 7, NULL, 1, 'e0', 1600, 'eur', 'failed'),
            ('b', 3, 3, NULL, NULL, 'e4', 3200, 'eur', 'ok'),
            (NULL, 3, 3, NULL, NULL, 'e5', 6400, 'eur', 'ok')
        ) AS v(customer, s, known, until, sequence, event_id, amount, currency, status)
        """
    )
    yield connection
    connection.close()


SPINE = """
    SELECT row, make_timestamptz(s * 1000000) AS t, k0
    FROM (VALUES (4, 8, 'a'), (2, 9, 'a'), (3, 13, 'a'), (9, 8, 'b'), (7, 8, NULL), (8, 8, 'c')) AS v(row, s, k0)
"""


def test_through_sql_as_known(lake):
    table = window_features(lake, VIEW, SPINE).to_pydict()
    assert table["row"] == [2, 3, 4, 7, 8, 9]
    assert table["n"] == [4, 4, 3, 0, 0, 1]
    assert table["n_failed"] == [1, 2, 1, 0, 0, 0]
    assert table["spend"] == [2300, 2600, 2100, None, None, 3200]
    assert table["eur"] == [1900, 1900, 1700, None, None, 3200]
    assert table["eur_ok"] == [100, 100, 100, None, None, 3200]
    assert table["last_status"] == ["failed", "failed", "failed", None, None, "ok"]
    assert [one and [t.second for t in one] for one in table["times"]] == [[7, 7], [7, 7], [7, 7], None, None, [3]]
    assert lake.execute("SELECT count(*) FROM duckdb_tables() WHERE temporary").fetchone() == (0,)


def test_through_sql_by_event_time_only(lake):
    table = window_features(lake, VIEW, SPINE, known_time="feast", windows=VIEW.windows[:3]).to_pydict()
    assert table["n"] == [4, 4, 4, 0, 0, 1]
    assert table["n_failed"] == [2, 2, 2, 0, 0, 0]
    assert table["spend"] == [2700, 2600, 2700, None, None, 3200]


def test_filters_that_differ_in_case_alone_are_two(lake):
    windows = (
        Window("ok", "count", where="status = 'ok'"), Window("shouted", "count", where="status = 'OK'"),
        Window("eur", "count", bucket=("currency", "eur")), Window("cried", "count", bucket=("currency", "EUR")),
        Window("either", "count", where="status IN ('ok', 'OK')"),
    )  # fmt: skip
    table = window_features(lake, VIEW, f"{SPINE} WHERE row = 3", windows=windows).to_pylist()
    assert table == [{"row": 3, "ok": 1, "shouted": 0, "eur": 3, "cried": 0, "either": 1}]


def test_an_empty_spine_has_no_rows(lake):
    table = window_features(lake, VIEW, f"{SPINE} WHERE false")
    assert table.num_rows == 0
    assert table.column_names == ["row", *(window.name for window in VIEW.windows)]


def test_through_sql_an_unknown_column_is_named(lake):
    with pytest.raises(UsageError, match="amonut"):
        window_features(lake, VIEW, SPINE, windows=[Window("w", "sum", "amonut")])


def test_generated_events_through_sql_equal_the_oracle(lake):
    random = np.random.default_rng(3)
    size, span = 3000, 4000
    events = [
        {
            "key": (int(random.integers(20)),),
            "event": int(random.integers(span)),
            "tie": (i,),
            "amount": int(random.integers(100)),
            "mask": bool(random.integers(2)),
            "text": str(random.integers(5)),
        }
        for i in range(size)
    ]
    for one in events:
        one["known_from"] = one["event"] + int(random.integers(300)) * int(random.integers(3) == 0)
        one["known_until"] = one["known_from"] + int(random.integers(500)) if random.integers(5) == 0 else None
    rows = pa.Table.from_pylist([one | {"key": one["key"][0], "event_id": one["tie"][0]} for one in events])
    lake.register("rows", rows)
    lake.execute(
        "CREATE TABLE lake.features.made AS SELECT key AS customer, make_timestamptz(event) AS paid_at, "
        "make_timestamptz(known_from) AS known_from, make_timestamptz(known_until) AS known_until, event_id, "
        "amount, mask, text FROM rows"
    )
    spine = [((int(random.integers(21)),), int(random.integers(span + 9))) for _ in range(300)]
    asked = pa.table({"row": range(300), "moment": [t for _, t in spine], "k0": [key[0] for key, _ in spine]})
    lake.register("asked", asked)
    windows = [
        Window(f"{f}{w}{m}", f, c, w, m, None, p)
        for f, c, p in (("count", None, None), ("sum", "amount", None), ("last", "text", None), ("last_k", "amount", 3))
        for w in (100, 1000, None)
        for m in (None, "mask")
    ]
    view = View(
        "made", "features.made", (("consumer", "customer"),), "paid_at", "known_from", (), tie_break=("event_id",)
    )
    for cap in (None, 7):
        table = window_features(
            lake,
            View(**(vars(view) | {"history_cap": cap})),
            "SELECT row, make_timestamptz(moment) AS t, k0 FROM asked",
            windows=windows,
        )
        for w in windows:
            want = [
                oracle.window(events, k, t, w.function, w.column, w.window_us, w.where, w.parameter, cap=cap)
                for k, t in spine
            ]
            assert table[w.name].to_pylist() == want, (w, cap)


def test_masks_are_named_by_what_they_say():
    assert mask_column(Window("a", "count")) is None
    assert mask_column(Window("a", "count", where="x > 1", bucket=("c", "eur"))) == "where x > 1 and c is eur"


def test_machine_code_has_a_place_where_the_package_is_read_only(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    blocked = tmp_path / "package"
    blocked.write_text("a file where a folder would be")
    assert place_for("kernels", blocked) == tmp_path / "cache" / "lifecycle" / "kernels"
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert place_for("kernels", blocked).is_dir()


def test_machine_code_is_kept_between_processes():
    folder = Path(kernel.warm())
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.nbc")}
    command = [sys.executable, "-c", "from lifecycle.engine import windows; print(windows.warm())"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert told.stdout.strip() == str(folder)
    assert before
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.nbc")} == before


def test_threads_that_load_kernels_at_once_leave_nothing_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    lines = [f"def plus{number}(x):\n    return x + {number}\n" for number in range(24)]
    (source / "small_kernels.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(source))
    monkeypatch.setattr(jit, "code_folder", lambda: str(tmp_path / "code"))
    functions = vars(importlib.import_module("small_kernels"))
    chosen = [functions[f"plus{number}"] for number in range(24)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            compiled = list(pool.map(jit.kernel(jit.INT(jit.INT)), chosen))
    finally:
        sys.setswitchinterval(interval)
    assert not jit.numba.config.CACHE_DIR
    assert [one(1) for one in compiled] == list(range(1, 25))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["code", "source"]
