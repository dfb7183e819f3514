"""The window kernel equals nested loops on generated events: ties, versions, edges, NULLs, NaN, extremes."""

import math
import random

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.definitions import Window
from lifecycle.engine.windows import evaluate
from lifecycle.errors import DataError
from tests import oracle

MANY = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SPAN = 40
WHOLE = [None, 0, 1, -1, 7, 2**40, -(2**40), 2**57 + 1, -(2**57)]
EXTREME = [None, 0, 1, 2**63 - 1, -(2**63), 2**62]
FRACTIONS = [None, 0.0, -0.0, 0.1, 0.2, 0.3, 1e17, -1e17, 1e100, math.nan, math.inf, -math.inf]
TAME = [None, 0.1, 0.2, 0.3, 1e17, -1e17, 33.3]
COLUMNS = {
    "whole": pa.int64(),
    "extreme": pa.int64(),
    "fraction": pa.float64(),
    "tame": pa.float64(),
    "text": pa.string(),
    "truth": pa.bool_(),
    "mask": pa.bool_(),
}
WIDTHS = (1, 3, 10, None)
INPUTS = {
    "count": (None, "whole"),
    "count_distinct": ("text", "whole", "fraction"),
    "sum": ("whole", "fraction", "tame"),
    "mean": ("extreme", "tame"),
    "rate": ("truth",),
    "min": ("extreme", "fraction", "truth"),
    "max": ("extreme", "fraction"),
    "var": ("extreme", "tame"),
    "std": ("whole", "tame"),
    "first": ("text", "extreme"),
    "last": ("text", "fraction"),
    "last_k": ("text", "whole"),
    "approx_quantile": ("extreme", "fraction"),
    "seconds_since_first": (None, "text"),
    "seconds_since_last": (None, "whole"),
}
PARAMETERS = {"last_k": (1, 3), "approx_quantile": (0.0, 0.5, 0.9)}
MASK = "where mask"
WINDOWS = [
    Window(f"{function}_{column}_{width}_{where}_{parameter}", function, column, width, where, None, parameter)
    for function, inputs in INPUTS.items()
    for column in inputs
    for width in WIDTHS
    for where in (None, "mask")
    for parameter in PARAMETERS.get(function, (None,))
]
moments = st.integers(0, SPAN)
event = st.fixed_dictionaries(
    {
        "key": st.tuples(st.sampled_from([0, 0, 0, 1, 2])),
        "event": moments,
        "known_from": st.one_of(st.none(), moments),
        "known_until": st.one_of(st.none(), st.none(), moments),
        "tie": st.tuples(st.integers()),
        "whole": st.sampled_from(WHOLE),
        "extreme": st.sampled_from(EXTREME),
        "fraction": st.sampled_from(FRACTIONS),
        "tame": st.sampled_from(TAME),
        "text": st.sampled_from([None, "a", "b", "c"]),
        "truth": st.sampled_from([None, True, False]),
        "mask": st.booleans(),
    }
)
histories = st.one_of(
    st.lists(event, max_size=8, unique_by=lambda e: (e["key"], e["tie"])),
    st.lists(event, min_size=16, max_size=50, unique_by=lambda e: (e["key"], e["tie"])),
)
spines = st.lists(st.tuples(st.tuples(st.integers(0, 3)), st.integers(-1, SPAN + 2)), min_size=8, max_size=16)


def rank(one):
    known = -math.inf if one["known_from"] is None else one["known_from"]
    return one["key"], one["event"], known, one["tie"]


def to_table(events):
    events = sorted(events, key=rank)
    data = {
        "key": pa.array([e["key"][0] for e in events], pa.int64()),
        "event_timestamp": pa.array([e["event"] for e in events], pa.int64()),
        "known_from": pa.array([e["known_from"] for e in events], pa.int64()),
        "known_until": pa.array([e["known_until"] for e in events], pa.int64()),
    }
    data |= {name: pa.array([e[name] for e in events], kind) for name, kind in COLUMNS.items() if name != "mask"}
    data[MASK] = pa.array([e["mask"] for e in events], pa.bool_())
    return pa.table(data)


def to_observations(spine):
    placed = sorted((key[0], t, row) for row, (key, t) in enumerate(spine))
    return pa.table({name: pa.array([p[i] for p in placed], pa.int64()) for i, name in enumerate(("key", "t", "row"))})


def run(events, spine, windows=WINDOWS, **options):
    return evaluate(to_table(events), to_observations(spine), windows, threads=2, **options)


def expected(events, key, t, window, **options):
    return oracle.window(
        events, key, t, window.function, window.column, window.window_us, window.where, window.parameter, **options
    )


def magnitude(events, key, window):
    values = [e[window.column] for e in events if e["key"] == key and e[window.column] is not None]
    power = 2 if window.function == "var" else 1
    return float(sum(abs(x) ** power for x in values if math.isfinite(x)))


def agree(got, want, tolerance=0.0):
    if isinstance(got, list):
        return len(got) == len(want) and all(map(agree, got, want))
    if want is None or got is None:
        return got is want
    if isinstance(got, float):
        if math.isnan(got) or math.isnan(want):
            return math.isnan(got) and math.isnan(want)
        return got == want or abs(got - float(want)) <= tolerance
    return got == want


def close(events, key, window, got, want):
    tolerance = 0.0
    if window.function in {"sum", "mean", "rate", "var", "std"} and window.column in {"fraction", "tame", "truth"}:
        tolerance = 1e-15 * magnitude(events, key, window)
    elif isinstance(got, float) and want is not None and math.isfinite(want):
        tolerance = 1e-12 * abs(float(want))
    return agree(got, want, tolerance)


@MANY
@given(histories, spines)
def test_every_aggregation_equals_the_oracle(events, spine):
    table = run(events, spine)
    for window in WINDOWS:
        column = table[window.name].to_pylist()
        for (key, t), got in zip(spine, column, strict=True):
            want = expected(events, key, t, window)
            assert close(events, key, window, got, want), (window, key, t, got, want)


@MANY
@given(histories, spines, st.integers(1, 5))
def test_a_cap_on_history_equals_the_oracle(events, spine, cap):
    windows = [w for w in WINDOWS if w.function in {"count", "last_k", "seconds_since_first"}]
    table = run(events, spine, windows, history_cap=cap)
    for window in windows:
        want = [expected(events, key, t, window, cap=cap) for key, t in spine]
        assert table[window.name].to_pylist() == want


@MANY
@given(histories, spines, st.randoms(use_true_random=False))
def test_facts_of_the_future_change_nothing(events, spine, chance):
    now = chance.randint(0, SPAN)
    past = [(key, min(t, now)) for key, t in spine]
    # What is known after now is cut off; an amendment known after now has not ended anything yet.
    known = [e for e in events if e["known_from"] is None or e["known_from"] <= now]
    known = [
        e | {"known_until": None if e["known_until"] is None or e["known_until"] > now else e["known_until"]}
        for e in known
        if e["event"] < now
    ]
    whole, cut = run(events, past), run(known, past)
    for window in WINDOWS:
        assert all(map(agree, whole[window.name].to_pylist(), cut[window.name].to_pylist())), window


@MANY
@given(histories, spines, st.integers(1, 9))
def test_order_splits_and_threads_change_nothing(events, spine, rows):
    straight = run(events, spine)
    shuffled = list(range(len(spine)))
    random.Random(rows).shuffle(shuffled)
    reader = pa.RecordBatchReader.from_batches(to_table([]).schema, to_table(events).to_batches(max_chunksize=rows))
    other = evaluate(
        reader, to_observations([spine[place] for place in shuffled]), WINDOWS[::-1], threads=1, piece_rows=rows
    )
    for window in WINDOWS:
        want = straight[window.name].to_pylist()
        got = other[window.name].to_pylist()
        assert all(agree(got[at], want[place]) for at, place in enumerate(shuffled)), window


def long_history(chance, size):
    events = []
    for number in range(size):
        moment = chance.randrange(size)
        known = moment + (chance.randrange(size // 4) if chance.random() < 0.3 else 0)
        until = known + chance.randrange(size // 2) if chance.random() < 0.2 else None
        values = {name: chance.choice(pool) for name, pool in (("whole", WHOLE), ("extreme", EXTREME), ("tame", TAME))}
        events.append(
            {"key": (int(chance.random() < 0.1),), "event": moment, "known_from": known, "known_until": until}
            | {"tie": (number,), "text": chance.choice("abcdefgh"), "truth": chance.random() < 0.5}
            | {"fraction": chance.random(), "mask": chance.random() < 0.05}
            | values
        )
    return events


@pytest.mark.parametrize("seed", range(3))
def test_keys_of_many_blocks_equal_the_oracle(seed):
    chance = random.Random(seed)
    events = long_history(chance, 1500)
    spine = [((chance.randrange(2),), chance.randrange(1700)) for _ in range(25)]
    windows = [
        Window(f"{w.name}", w.function, w.column, w.window_us and w.window_us * 100, w.where, None, w.parameter)
        for w in WINDOWS
        if w.window_us != 1
    ]
    table = run(events, spine, windows)
    for window in windows:
        for (key, t), got in zip(spine, table[window.name].to_pylist(), strict=True):
            want = expected(events, key, t, window)
            assert close(events, key, window, got, want), (window, key, t, got, want)


@pytest.mark.parametrize("cap", [1, 15, 17, 250])
def test_a_cap_over_many_blocks_equals_the_oracle(cap):
    chance = random.Random(cap)
    events = long_history(chance, 1200)
    spine = [((chance.randrange(2),), chance.randrange(1300)) for _ in range(40)]
    windows = [Window("all", "count"), Window("some", "count", None, 300, "mask"), Window("sum", "sum", "whole")]
    table = run(events, spine, windows, history_cap=cap)
    for window in windows:
        assert table[window.name].to_pylist() == [expected(events, key, t, window, cap=cap) for key, t in spine]


@MANY
@given(st.lists(st.sampled_from([x for x in EXTREME if x is not None]), max_size=5))
def test_a_sum_is_exact_or_an_error(values):
    events = pa.table({"key": [0] * len(values), "event_timestamp": range(len(values)), "x": values} | {})
    events = events.cast(pa.schema([("key", pa.int64()), ("event_timestamp", pa.int64()), ("x", pa.int64())]))
    spine = pa.table({"key": [0], "t": [100], "row": [0]})
    if not -(2**63) <= sum(values) < 2**63:
        with pytest.raises(DataError, match="does not fit 64 bits"):
            evaluate(events, spine, [Window("s", "sum", "x")])
    else:
        got = evaluate(events, spine, [Window("s", "sum", "x")])["s"].to_pylist()
        assert got == [sum(values) if values else None]
