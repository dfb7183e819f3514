"""Window features as a source declares them: names, round trip through the registry, and what is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from feast import Entity, FeatureView, ValueType
from feast.aggregation import Aggregation

from lifecycle.definitions import Field, Window
from lifecycle.errors import DataError, UsageError
from lifecycle.feast_plugin.aggregations import WindowAggregation, microseconds, suffix
from lifecycle.feast_plugin.compile import view_of
from lifecycle.feast_plugin.source import LifecycleSource
from lifecycle.feast_plugin.window_fields import window_fields

HOUR = 3_600_000_000
DAY = 24 * HOUR
COLUMNS = {
    "consumer_id": "VARCHAR",
    "event_timestamp": "TIMESTAMP WITH TIME ZONE",
    "known_from": "TIMESTAMP WITH TIME ZONE",
    "known_until": "TIMESTAMP WITH TIME ZONE",
    "sequence": "BIGINT",
    "event_id": "VARCHAR",
    "amount": "BIGINT",
    "currency": "VARCHAR",
    "score": "INTEGER",
    "share": "DOUBLE",
    "status": "VARCHAR",
    "failed": "BOOLEAN",
    "exact": "DECIMAL(18,3)",
}
MONEY = {"amount": "currency", "score": None}


def source(*aggregations, **options):
    return LifecycleSource(relation="features.events", aggregations=aggregations, **({"money": MONEY} | options))


def names(*aggregations):
    return [window.name for window in source(*aggregations).windows]


def test_a_name_is_stem_column_value_and_window():
    assert names(WindowAggregation("charges", "count", windows=("1h", "24h", "7d", "all"))) == [
        "charges_1h", "charges_24h", "charges_7d", "charges_all",
    ]  # fmt: skip
    assert names(WindowAggregation("n", "count", windows=("30d",), bucket="status", values=("Sent back", "ok"))) == [
        "n_sent_back_30d", "n_ok_30d",
    ]  # fmt: skip
    sequence = WindowAggregation("last", "last_k", ("status", "amount"), windows=("90d",), parameter=3)
    assert names(sequence) == ["last_status_90d", "last_amount_90d"]
    assert names(WindowAggregation("spend", "sum", "amount", windows=("7d",), name="weekly")) == ["weekly"]


@pytest.mark.parametrize(
    ("written", "length", "read"),
    [("24h", DAY, "24h"), ("1d", DAY, "24h"), ("48h", 2 * DAY, "2d"), ("60m", HOUR, "1h"), ("90s", 90_000_000, "90s")],
)
def test_a_window_has_one_suffix_however_it_is_written(written, length, read):
    assert microseconds(written) == length
    assert suffix(length) == read


def test_feasts_own_aggregation_is_taken_where_it_says_enough():
    seven = timedelta(days=7)
    given = [
        Aggregation(column="amount", function="sum", time_window=seven),
        Aggregation(column="score", function="max", time_window=timedelta(hours=24), name="top_score"),
        Aggregation(function="count"),
    ]
    assert source(*given).windows == (
        Window("sum_amount_7d", "sum", "amount", 7 * DAY, currency="currency"),
        Window("top_score", "max", "score", DAY),
        Window("count_all", "count"),
    )
    with pytest.raises(UsageError, match="slide_interval=1 day"):
        source(Aggregation(column="score", function="max", time_window=seven, slide_interval=timedelta(days=1)))


def test_a_source_comes_back_from_its_proto():
    made = source(
        WindowAggregation("spend", "sum", "amount", windows=("7d",), where="status = 'ok'"),
        WindowAggregation("last", "last_k", ("status", "amount"), parameter=3),
        WindowAggregation("median", "approx_quantile", "share", windows=("1h", "all"), parameter=0.5),
        WindowAggregation("seen", "count", bucket="status", values=("a", "b"), windows=("30d",)),
        history_cap=50,
        event_id=("event_id", "status"),
    )
    back = LifecycleSource.from_proto(made.to_proto())
    assert back == made
    assert (back.windows, back.history_cap, back.money) == (made.windows, 50, MONEY)
    assert (back.created_timestamp_column, back.event_id) == ("known_from", ("event_id", "status"))
    assert back != source(WindowAggregation("spend", "sum", "amount", windows=("7d",)))


def test_types_are_those_of_the_kernel():
    made = window_fields(
        source(
            WindowAggregation("n", "count_distinct", "status"),
            WindowAggregation("spend", "sum", "amount"),
            WindowAggregation("shares", "sum", "share"),
            WindowAggregation("top", "max", "score"),
            WindowAggregation("rate", "rate", "failed"),
            WindowAggregation("last", "last_k", ("event_timestamp", "amount"), parameter=2),
            WindowAggregation("age", "seconds_since_last"),
        ),
        COLUMNS,
    )
    assert made == (
        Field("n_all", "BIGINT"),
        Field("spend_all", "BIGINT"),
        Field("shares_all", "DOUBLE"),
        Field("top_all", "INTEGER"),
        Field("rate_all", "DOUBLE"),
        Field("last_event_timestamp_all", "TIMESTAMP WITH TIME ZONE[]"),
        Field("last_amount_all", "BIGINT[]"),
        Field("age_all", "DOUBLE"),
    )


def test_a_view_carries_windows_cap_and_the_tie_break():
    given = source(WindowAggregation("n", "count", windows=("1h", "7d")), history_cap=9)
    entity = Entity(name="consumer", join_keys=["consumer_id"], value_type=ValueType.STRING)
    feast_view = FeatureView(name="charges", entities=[entity], source=given)
    view = view_of(feast_view, "features.events", COLUMNS, ("consumer_id",), ("n_7d",))
    assert view.windows == (Window("n_7d", "count", None, 7 * DAY),)
    assert view.features == (Field("n_7d", "BIGINT"),)
    assert (view.known_at, view.at_t, view.history_cap) == ("known_from", "exclude", 9)
    assert view.tie_break == ("sequence", "event_id")
    with pytest.raises(UsageError, match=r"unknown feature of source .* 'n_8d'\. Did you mean 'n_7d'"):
        view_of(feast_view, "features.events", COLUMNS, ("consumer_id",), ("n_8d",))
    expiring = FeatureView(name="charges", entities=[entity], source=given, ttl=timedelta(days=1))
    with pytest.raises(UsageError, match="ttl"):
        view_of(expiring, "features.events", COLUMNS, ("consumer_id",), ("n_7d",))


@pytest.mark.parametrize(
    ("declared", "columns", "event_id"),
    [
        (None, COLUMNS, ("event_id",)),
        (None, {"event_timestamp": "TIMESTAMPTZ"}, ()),
        ("status", COLUMNS, ("status",)),
        (("status", "event_id"), COLUMNS, ("status", "event_id")),
        ((), COLUMNS, ()),
    ],
)
def test_what_tells_events_apart(declared, columns, event_id):
    given = source(WindowAggregation("n", "count", windows=("7d",)), event_id=declared)
    assert given.event_id_in(columns) == event_id
    if columns is COLUMNS:
        feast_view = FeatureView(name="charges", source=given)
        assert view_of(feast_view, "features.events", COLUMNS, (), ("n_7d",)).event_id == event_id
    with pytest.raises(UsageError, match="unknown column of features"):
        source(WindowAggregation("n", "count"), event_id="no_such").validate_columns(COLUMNS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: source(WindowAggregation("n", "cuont")), "unknown aggregation 'cuont'. Did you mean 'count'"),
        (lambda: source(WindowAggregation("n", "count", windows=("1w",))), "'1w' is no window"),
        (lambda: source(WindowAggregation("n", "count", windows="7d")), r"write a tuple: \('7d',\)"),
        (lambda: source(WindowAggregation("n", "count", windows=())), "no windows"),
        (lambda: source(WindowAggregation("n", "count", windows=("24h", "1d"))), "declares n_24h more than once"),
        (lambda: source(WindowAggregation("n", "sum")), "sum needs a column"),
        (lambda: source(WindowAggregation("n", "sum", ("amount", "score"))), "only last_k takes several"),
        (lambda: source(WindowAggregation("n", "last_k", "status")), "parameter=k"),
        (lambda: source(WindowAggregation("n", "count", bucket="status")), "a bucket needs its column and its values"),
        (lambda: source(WindowAggregation("no-way", "count")), "'no-way_all' cannot name a feature"),
        (lambda: source(WindowAggregation("n", "count", windows=("1h", "7d"), name="x")), "can name one feature"),
        (lambda: source(WindowAggregation("n", "count"), history_cap=0), "history_cap=0"),
        (lambda: LifecycleSource(relation="features.events", history_cap=5), "there must be aggregations"),
        (
            lambda: source(WindowAggregation("n", "count"), created_timestamp_column="known_at"),
            "windows count versions from 'known_from' on, not from 'known_at'",
        ),
        (lambda: source(WindowAggregation("n", "count"), field_mapping={"kf": "known_from"}), "not from 'kf'"),
    ],
)
def test_declarations_that_make_no_sense(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(
    ("aggregation", "options", "message"),
    [
        (WindowAggregation("n", "sum", "amuont"), {}, "wanted by aggregation 'n', 'amuont'. Did you mean 'amount'"),
        (WindowAggregation("n", "count", bucket="sort", values=("a",)), {}, "'sort'"),
        (WindowAggregation("n", "rate", "amount"), {}, "rate cannot take 'amount'"),
        (WindowAggregation("n", "sum", "status"), {}, "sum cannot take 'status'"),
        (WindowAggregation("n", "sum", "exact"), {}, "Make money a BIGINT"),
        (WindowAggregation("n", "sum", "amount"), {"money": {}}, "Say which money it is"),
        (WindowAggregation("n", "sum", "amount"), {"money": {"amount": "curency"}}, "Did you mean 'currency'"),
    ],
)
def test_declarations_that_do_not_fit_the_relation(aggregation, options, message):
    with pytest.raises((UsageError, DataError), match=message):
        window_fields(source(aggregation, **options), COLUMNS)
