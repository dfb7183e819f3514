"""Historical features through Feast's own API, on relations of a lake."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureService, FeatureStore, FeatureView, Field, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Int64

from lifecycle import config
from lifecycle.engine import settle
from lifecycle.errors import SpineError, UsageError
from lifecycle.feast_plugin.apply import apply
from lifecycle.feast_plugin.compile import compile_repo
from lifecycle.feast_plugin.repo import load_repo_config
from lifecycle.feast_plugin.source import LifecycleSource, SavedDatasetLifecycleStorage
from lifecycle.project import Project
from tests.conftest import ROOT
from tests.feast_lake import BIG, WATERMARK, add_row, day, make_lake, make_release

if TYPE_CHECKING:
    from lifecycle.config import Settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return the repository's project on a small lake with one release, its Feast repo applied."""
    given = config.load(ROOT, home=tmp_path_factory.mktemp("feast") / "home")
    given = replace(given, labels="tests.feast_labels")
    lake = make_lake(given)
    with lake.lock():
        connection = lake.connect(write=True)
        definitions = compile_repo(given, connection)
        definitions = definitions.with_views(tuple(settle(connection, view) for view in definitions.views))
        connection.close()
    make_release(lake, definitions)
    apply(given)
    return given


@pytest.fixture(scope="module")
def store(settings: Settings) -> FeatureStore:
    return FeatureStore(config=load_repo_config(settings))


def spine(*rows: tuple[str, float]) -> pd.DataFrame:
    return pd.DataFrame({"consumer_id": [key for key, _ in rows], "event_timestamp": [day(t) for _, t in rows]})


def test_rows_keep_their_order_duplicates_and_misses(store):
    frame = store.get_historical_features(
        spine(("c3", 5), ("c1", 3), ("nobody", 5), ("c1", 30), ("c1", 3)),
        ["consumer_payment:last_charge_amount", "consumer_payment:last_charge_status"],
    ).to_df()
    assert list(frame.columns) == ["consumer_id", "event_timestamp", "last_charge_amount", "last_charge_status"]
    assert frame["consumer_id"].tolist() == ["c3", "c1", "nobody", "c1", "c1"]
    assert frame["last_charge_status"].tolist() == [None, "succeeded", None, "failed", "succeeded"]
    assert str(frame["last_charge_amount"].dtype) == "Int64"
    assert frame["last_charge_amount"].tolist() == [BIG, BIG, pd.NA, 400, BIG]


def test_a_column_without_misses_has_feasts_plain_dtype(store):
    frame = store.get_historical_features(spine(("c1", 3)), ["consumer_payment:last_charge_amount"]).to_df()
    assert str(frame["last_charge_amount"].dtype) == "int64"


def test_features_come_in_the_order_in_which_they_were_asked_for(store):
    asked = ["consumer_profile:delinquent", "consumer_payment:last_charge_status", "consumer_profile:country"]
    table = store.get_historical_features(spine(("c1", 6)), asked).to_arrow()
    assert table.column_names[2:] == ["delinquent", "last_charge_status", "country"]
    assert table.slice(0, 1).to_pylist()[0]["country"] == "FR"


def test_a_late_row_is_not_known_before_it_arrived(store):
    frame = spine(("c1", 19.9), ("c1", 20))
    statuses = store.get_historical_features(frame, ["consumer_identity:verification_status"]).to_df()
    # Excluded at t and known on day 20: the row counts from day 20 on, since its event lies on day 3.
    assert statuses["verification_status"].tolist() == ["requires_input", "verified"]


def test_event_time_alone_shows_the_late_row(store):
    given = {"entity_df": spine(("c1", 4)), "features": ["consumer_identity:verification_status"]}
    by_events = store._get_provider().offline_store.get_historical_features(
        config=store.config,
        feature_views=[store.get_feature_view("consumer_identity")],
        feature_refs=given["features"],
        entity_df=given["entity_df"],
        registry=store.registry,
        project=store.project,
        filter_by_created_timestamp=False,
    )
    assert by_events.to_df()["verification_status"].tolist() == ["verified"]
    as_known = store.get_historical_features(**given, filter_by_created_timestamp=True)
    assert as_known.to_df()["verification_status"].tolist() == ["requires_input"]


def test_the_scored_event_is_not_its_own_feature(store):
    frame = store.get_historical_features(spine(("c1", 4)), ["consumer_payment:last_charge_status"]).to_df()
    assert frame["last_charge_status"].tolist() == ["succeeded"]


def test_ties_fall_to_the_greater_event_id(store):
    frame = store.get_historical_features(spine(("c1", 6.5)), ["consumer_lifecycle:lifecycle_stage"]).to_df()
    assert frame["lifecycle_stage"].tolist() == ["paused"]


def test_a_tombstone_ends_the_state(store):
    frame = store.get_historical_features(spine(("c2", 8), ("c2", 9.5)), ["consumer_profile:country"]).to_df()
    assert frame["country"].tolist() == ["IE", None]


def test_an_sql_entity_frame(store):
    source = store.get_data_source("features.consumer_payment")
    query = f"SELECT consumer_id, event_timestamp + INTERVAL 1 DAY AS event_timestamp FROM {source.table} ORDER BY 1, 2"
    frame = store.get_historical_features(query, ["consumer_payment:last_charge_amount"]).to_df()
    assert frame["consumer_id"].tolist() == ["c1", "c1", "c3"]
    assert frame["last_charge_amount"].tolist() == [BIG, 400, BIG]


def test_an_sql_entity_frame_may_use_the_quoted_name(store):
    source = store.get_data_source("features.consumer_payment")
    query = f"SELECT DISTINCT consumer_id, now() AS event_timestamp FROM {source.get_table_query_string()} ORDER BY 1"
    frame = store.get_historical_features(query, ["consumer_payment:last_charge_amount"]).to_df()
    assert frame["last_charge_amount"].tolist() == [400, BIG]


def test_a_wrong_sql_entity_frame_is_refused_in_duckdbs_words(store):
    with pytest.raises(UsageError, match="no_such_table"):
        store.get_historical_features("SELECT * FROM no_such_table", ["consumer_profile:country"])


def test_no_entity_frame_gives_a_row_for_each_change(store):
    table = store.get_historical_features(
        features=["consumer_identity:verification_status"], start_date=day(0), end_date=day(25)
    ).to_arrow()
    step = timedelta(microseconds=1)
    assert table.to_pylist() == [
        {"consumer_id": "c1", "event_timestamp": day(1) + step, "verification_status": "requires_input"},
        {"consumer_id": "c1", "event_timestamp": day(20), "verification_status": "verified"},
    ]


def test_no_entity_frame_over_views_of_several_entities(store):
    table = store.get_historical_features(
        features=["consumer_session:session_status", "device_session:last_consumer_id"],
        start_date=datetime(2026, 3, 1),  # noqa: DTZ001 - naive times are UTC
        end_date=day(25),
    ).to_arrow()
    found = [(row["consumer_id"], row["device_id"], row["session_status"]) for row in table.to_pylist()]
    assert found == [("c1", None, "authenticated"), (None, "d1", None)]


def test_a_service_an_alias_and_a_renamed_key(store):
    profile = store.get_feature_view("consumer_profile")
    service = FeatureService(
        name="pair",
        features=[
            profile[["country"]].with_name("buyer"),
            profile[["country"]].with_name("seller").with_join_key_map({"consumer_id": "seller_id"}),
        ],
    )
    store.apply([service])
    frame = spine(("c1", 6), ("c2", 6)).assign(seller_id=["c2", "nobody"])
    table = store.get_historical_features(frame, service, full_feature_names=True).to_arrow()
    assert table.column_names[3:] == ["buyer__country", "seller__country"]
    assert table["buyer__country"].to_pylist() == ["FR", "IE"]
    assert table["seller__country"].to_pylist() == ["IE", None]
    store.delete_feature_service("pair")


def test_every_service_of_the_repo_gives_the_engines_frame(settings, store):
    frame = spine(("c1", 20), ("c2", 3)).assign(device_id=["d1", "d2"], payment_method_id=["pm1", None])
    frame = frame.assign(card_hash=["k1", None], ip_prefix_hash=["i1", None], charge_currency=["usd", "eur"])
    frame = frame.assign(amount=[500, 100], ip_country=["DE", None])
    for service in store.list_feature_services():
        table = store.get_historical_features(frame, service).to_arrow()
        wanted = [field.name for one in service.feature_view_projections for field in one.features]
        assert table.column_names == [*frame.columns, *wanted]
        ours = Project(settings).training_frame(frame, service.name).table
        assert table.select(ours.column_names).to_pylist() == ours.to_pylist()


def test_windows_through_feasts_own_call(store):
    asked = [
        "consumer_charges:charges_7d",
        "consumer_spend:spend_30d",
        "consumer_recent_charges:recent_charge_status_90d",
    ]
    frame = spine(("c1", 4), ("c1", 5), ("c1", 20), ("c1", 20), ("nobody", 5))
    frame = frame.assign(charge_currency=["usd", "usd", "usd", "eur", "usd"])
    table = store.get_historical_features(frame, asked).to_arrow()
    # The charge of day 4 is not its own feature; the one of day 6 is known on day 20 and is in euro.
    assert table["charges_7d"].to_pylist() == [1, 2, 0, 0, 0]
    assert table["spend_30d"].to_pylist() == [BIG, BIG, BIG, 700, None]
    both = ["succeeded", "failed"]
    assert table["recent_charge_status_90d"].to_pylist() == [
        both[:1],
        both,
        [*both, "succeeded"],
        [*both, "succeeded"],
        None,
    ]
    given = {"config": store.config, "project": store.project, "registry": store.registry, "entity_df": frame}
    by_events = store._get_provider().offline_store.get_historical_features(
        feature_views=[store.get_feature_view("consumer_charges")],
        feature_refs=["consumer_charges:charges_7d"],
        filter_by_created_timestamp=False,
        **given,
    )
    assert by_events.to_arrow()["charges_7d"].to_pylist() == [1, 2, 0, 0, 0]


def test_windows_are_pulled_as_of_the_end_of_an_interval(store):
    pulled = {
        "config": store.config,
        "data_source": store.get_data_source("consumer_charges"),
        "join_key_columns": ["consumer_id"],
        "feature_name_columns": ["charges_7d", "cards_90d"],
        "timestamp_field": "event_timestamp",
        "created_timestamp_column": "known_from",
        "start_date": day(3),
        "end_date": day(5),
    }
    offline = store._get_provider().offline_store
    rows = offline.pull_latest_from_table_or_query(**pulled).to_arrow().sort_by("consumer_id").to_pylist()
    assert [(row["consumer_id"], row["charges_7d"], row["cards_90d"]) for row in rows] == [("c1", 2, 1), ("c3", 1, 1)]
    assert {row["event_timestamp"] for row in rows} == {day(5)}
    with pytest.raises(UsageError, match="no rows to pull"):
        offline.pull_all_from_table_or_query(**pulled).to_arrow()


def test_on_demand_features_are_computed(store):
    profile = store.get_feature_view("consumer_payment")

    @on_demand_feature_view(
        sources=[profile, RequestSource(name="asked", schema=[Field(name="amount", dtype=Int64)])],
        schema=[Field(name="above_last", dtype=Int64)],
        mode="pandas",
    )
    def above(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"above_last": (inputs["amount"] - inputs["last_charge_amount"]).astype("Int64")})

    with pytest.warns(RuntimeWarning, match="On demand feature view"):
        store.apply([above])
    frame = spine(("c1", 30), ("c1", 5.5)).assign(amount=[500, 100])
    table = store.get_historical_features(frame, ["above:above_last", "consumer_profile:country"]).to_arrow()
    assert table["above_last"].to_pylist() == [100, -300]
    assert table["country"].to_pylist() == ["FR", "FR"]
    assert table["amount"].to_pylist() == [500, 100]


def test_naive_and_text_times_are_utc(store):
    frame = pd.DataFrame({"consumer_id": ["c1", "c1"], "event_timestamp": ["2026-03-03 12:00:00", "2026-03-06"]})
    found = store.get_historical_features(frame, ["consumer_payment:last_charge_status"]).to_df()
    assert found["last_charge_status"].tolist() == ["succeeded", "failed"]
    naive = frame.assign(event_timestamp=pd.to_datetime(frame["event_timestamp"], format="mixed"))
    found = store.get_historical_features(naive, ["consumer_payment:last_charge_status"]).to_df()
    assert found["last_charge_status"].tolist() == ["succeeded", "failed"]


def test_the_only_time_column_is_the_observation_time(store):
    frame = spine(("c1", 3)).rename(columns={"event_timestamp": "seen"})
    table = store.get_historical_features(frame, ["consumer_payment:last_charge_amount"]).to_arrow()
    assert table.to_pylist() == [{"consumer_id": "c1", "seen": day(3), "last_charge_amount": BIG}]
    with pytest.raises(SpineError, match="event_timestamp"):
        store.get_historical_features(pd.DataFrame({"consumer_id": ["c1"]}), ["consumer_profile:country"])


def test_metadata_names_features_keys_and_range(store):
    job = store.get_historical_features(spine(("c1", 3), ("c1", 1)), ["consumer_profile:country"])
    assert job.metadata.features == ["consumer_profile:country"]
    assert job.metadata.keys == ["consumer_id"]
    assert (job.metadata.min_event_timestamp, job.metadata.max_event_timestamp) == (day(1), day(3))


def test_a_frame_over_the_served_release_does_not_see_the_head(settings, store):
    from lifecycle.lake import Lake

    lake = Lake(settings.lake)
    with lake.lock():
        connection = lake.connect(write=True)
        add_row(connection, "consumer_refund", "c1", 1, 1, "r1", {"last_refund_amount": 7})
        connection.close()
    frame = store.get_historical_features(spine(("c1", 3)), ["consumer_refund:last_refund_amount"]).to_arrow()
    assert frame["last_refund_amount"].to_pylist() == [None]
    head = FeatureView(
        name="head_refund",
        entities=[store.get_entity("consumer")],
        source=LifecycleSource(name="head_refund", relation="features.consumer_refund", at="head"),
    )
    store.apply([head])
    asked = ["head_refund:last_refund_amount", "consumer_profile:country"]
    frame = store.get_historical_features(spine(("c1", 6)), asked).to_arrow()
    assert frame.select([2, 3]).to_pylist() == [{"last_refund_amount": 7, "country": "FR"}]


def test_a_saved_data_set_in_the_lake_reads_back(store):
    job = store.get_historical_features(spine(("c1", 30), ("nobody", 3)), ["consumer_payment:last_charge_amount"])
    storage = SavedDatasetLifecycleStorage(relation="saved.payments")
    with pytest.warns(RuntimeWarning, match="experimental"):
        store.create_saved_dataset(job, "payments", storage)
    with pytest.warns(RuntimeWarning, match="experimental"):
        dataset = store.get_saved_dataset("payments")
    assert dataset.storage == storage
    assert dataset.to_df().sort_values("event_timestamp")["last_charge_amount"].tolist() == [pd.NA, 400]
    with pytest.raises(UsageError, match=r"saved\.payments is already in the lake"):
        job.persist(storage)
    job.persist(storage, allow_overwrite=True)


def test_pull_latest_gives_one_winner_per_key_as_known(store):
    given = {
        "config": store.config,
        "data_source": store.get_data_source("features.consumer_identity"),
        "join_key_columns": ["consumer_id"],
        "feature_name_columns": ["verification_status"],
        "timestamp_field": "event_timestamp",
        "created_timestamp_column": "known_at",
    }
    latest = store._get_provider().offline_store.pull_latest_from_table_or_query
    before = latest(**given, start_date=day(0), end_date=day(10)).to_arrow()
    assert before["verification_status"].to_pylist() == ["requires_input"]
    # The late row's event lies before the interval, and yet the interval brings it.
    late = latest(**given, start_date=day(10), end_date=day(25)).to_arrow()
    assert late["verification_status"].to_pylist() == ["verified"]
    assert late.schema.field("event_timestamp").type == pa.timestamp("us", tz="UTC")
    nothing = latest(**given, start_date=day(21), end_date=day(25)).to_arrow()
    assert nothing.num_rows == 0


def test_pull_latest_heeds_ties_and_gives_tombstones_as_nulls(store):
    latest = store._get_provider().offline_store.pull_latest_from_table_or_query
    given = {
        "config": store.config,
        "join_key_columns": ["consumer_id"],
        "timestamp_field": "event_timestamp",
        "created_timestamp_column": "known_at",
        "start_date": datetime(1970, 1, 1, tzinfo=UTC),
        "end_date": WATERMARK,
    }
    source = store.get_data_source("features.consumer_lifecycle")
    stage = latest(**given, data_source=source, feature_name_columns=["lifecycle_stage"]).to_arrow()
    assert stage["lifecycle_stage"].to_pylist() == ["paused"]
    source = store.get_data_source("features.consumer_profile")
    profile = latest(**given, data_source=source, feature_name_columns=["country"]).to_df()
    assert dict(zip(profile["consumer_id"], profile["country"], strict=True)) == {"c1": "FR", "c2": None}


def test_a_relation_derived_from_events_takes_no_rows(store):
    view = store.get_feature_view("consumer_profile")
    names = [name for name, _ in view.batch_source.get_table_column_names_and_types(store.config)]
    table = pa.table({name: pa.array([], pa.string()) for name in names})
    with pytest.raises(UsageError, match="derived from events"):
        store._get_provider().offline_store.offline_write_batch(store.config, view, table, None)
