"""The project's own Feast repo: compiled, applied, materialized, and read."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.repo_config import load_repo_config as load_yaml

from lifecycle import config
from lifecycle.definitions import Definitions
from lifecycle.engine import training_frame
from lifecycle.errors import UsageError
from lifecycle.feast_plugin.apply import apply
from lifecycle.feast_plugin.compile import compile_repo, load_labels
from lifecycle.feast_plugin.online_store import place_of
from lifecycle.feast_plugin.repo import load_repo_config, on_path
from lifecycle.lake import Lake, Ledger
from lifecycle.pipeline import materialize as pipeline
from lifecycle.project import Project
from tests.conftest import ROOT
from tests.feast_lake import BIG, CHARGE, WATERMARK, add_row, day, make_lake, make_release

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lifecycle.config import Settings
    from lifecycle.lake import Release

SERVICES = ["charge_sequence_v1", "credit_risk_v1", "fraud_v1", "identity_theft_v1", "lifecycle_v1"]
CARD = {"card_hash": "k1", "ip_prefix_hash": "i1", "charge_currency": "usd", "amount": 500, "ip_country": "DE"}
KEYS = [
    {"consumer_id": "c1", "device_id": "d1", "payment_method_id": "pm1", **CARD},
    {"consumer_id": "c2", "device_id": "d2", "payment_method_id": "pm1", **CARD, "charge_currency": "eur"},
    {"consumer_id": "c3", "device_id": "d1", "payment_method_id": "pm2", **CARD, "card_hash": "k2"},
    {"consumer_id": "nobody", "device_id": "d1", "payment_method_id": "pm1", **CARD, "ip_prefix_hash": "i2"},
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    given = config.load(ROOT, home=tmp_path_factory.mktemp("repo") / "home")
    return replace(given, labels="tests.feast_labels")


@pytest.fixture(scope="module")
def release(settings: Settings) -> Release:
    """Return the first release, its Feast repo applied."""
    lake = make_lake(settings)
    made = make_release(lake, compiled(settings))
    apply(settings)
    return made


@pytest.fixture(scope="module")
def serving(settings: Settings, release: Release) -> Release:
    """Return the first release, served and materialized."""
    materialize(settings, release)
    return release


@pytest.fixture
def restored(settings: Settings, serving: Release) -> Iterator[Release]:
    """Return the first release; whatever the test does to ledger and online store, it serves again afterwards."""
    yield serving
    Ledger(Lake(settings.lake)).roll_back(serving.number)
    materialize(settings, serving)


def materialize(settings: Settings, release: Release):
    return pipeline.materialize(settings, Lake(settings.lake), release)


def online(settings: Settings, service: str, keys: list[dict]):
    return Project(settings).online_features(service, keys)


def compiled(settings: Settings) -> Definitions:
    connection = Lake(settings.lake).connect()
    try:
        return compile_repo(settings, connection)
    finally:
        connection.close()


def changed(settings: Settings, *rows, definitions: Definitions | None = None) -> Release:
    """Add rows and return a further release."""
    lake = Lake(settings.lake)
    with lake.lock():
        connection = lake.connect(write=True)
        for row in rows:
            add_row(connection, *row)
        connection.close()
    number = len(Ledger(lake).all()) + 1
    return make_release(lake, definitions or compiled(settings), number)


def frame(settings: Settings, release: Release, keys: list[dict], service: str) -> list[dict]:
    connection = Lake(settings.lake).connect(release.snapshot)
    try:
        return training_frame(connection, release.definitions, pd.DataFrame(keys), features=service).table.to_pylist()
    finally:
        connection.close()


def test_equal_repos_compile_to_equal_bytes(settings, release):
    again = compiled(settings)
    assert again.to_json() == release.definitions.to_json()
    assert Definitions.from_json(again.to_json()) == again
    assert [service.name for service in again.services] == SERVICES
    assert again.known_time == "as_known"
    assert [label.name for label in again.labels] == ["disputed"]


def test_a_view_takes_its_schema_from_the_relation(release):
    view = release.definitions.view("consumer_session")
    assert view.join_keys == (("consumer_id", "consumer_id"),)
    assert (view.event_timestamp, view.known_at, view.deleted) == ("event_timestamp", "known_at", "deleted")
    assert view.tie_break == ("sequence", "event_id", "content_hash")
    assert view.at_t == "exclude"
    assert [field.name for field in view.features][:3] == ["session_status", "auth_method", "session_device_id"]
    assert view.columns == (("session_device_id", "device_id"),)
    assert view.feature("session_at").dtype == "TIMESTAMP WITH TIME ZONE"


def test_feast_infers_the_same_features(settings, release):
    store = FeatureStore(config=load_repo_config(settings))
    registered = {view.name: {field.name for field in view.features} for view in store.list_feature_views()}
    assert registered == {v.name: {field.name for field in v.features} for v in release.definitions.views}


def test_compiling_leaves_no_module_and_no_folder_behind(settings, release):  # noqa: ARG001
    before = (Path.cwd(), list(sys.path), {"views", "entities", "sources", "services"} & sys.modules.keys())
    compiled(settings)
    after = (Path.cwd(), list(sys.path), {"views", "entities", "sources", "services"} & sys.modules.keys())
    assert before == after
    assert before[2] == set()


def test_a_view_over_a_missing_relation_is_refused(settings, release, tmp_path):  # noqa: ARG001
    repo = tmp_path / "feature_repo"
    shutil.copytree(settings.feature_repo, repo)
    text = (repo / "sources.py").read_text()
    (repo / "sources.py").write_text(text.replace("features.consumer_credit_application", "features.consumer_credt"))
    with pytest.raises(UsageError, match=r"'features.consumer_credt'.*Did you mean 'features.consumer_credit'"):
        compiled(replace(settings, feature_repo=repo))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ('profile[["contry"]]', r"unknown feature of view 'consumer_profile', wanted by service .* 'contry'\. Did you"),
        (
            "FeatureView(name='consumer_profil', source=profile.batch_source)",
            "unknown view of service.*'consumer_profil'",
        ),
    ],
)
def test_a_service_of_what_is_not_there_is_refused(settings, release, tmp_path, wanted, message):  # noqa: ARG001
    repo = tmp_path / "feature_repo"
    shutil.copytree(settings.feature_repo, repo)
    text = (repo / "services.py").read_text().replace("import FeatureService", "import FeatureService, FeatureView")
    (repo / "services.py").write_text(text + f"\nwrong = FeatureService(name='wrong', features=[{wanted}])\n")
    with pytest.raises(UsageError, match=message):
        compiled(replace(settings, feature_repo=repo))


def test_a_service_takes_only_what_it_names_of_an_on_demand_view(settings, release, tmp_path):  # noqa: ARG001
    repo = tmp_path / "feature_repo"
    shutil.copytree(settings.feature_repo, repo)
    some = "amount_habit[['amount_z_90d']], country_mismatch"
    text = (repo / "services.py").read_text() + f"\nsome = FeatureService(name='some', features=[{some}])\n"
    (repo / "services.py").write_text(text)
    definitions = compiled(replace(settings, feature_repo=repo))
    assert definitions.service("some").on_demand == ("amount_habit:amount_z_90d", "country_mismatch")
    assert "amount_habit" in definitions.service("fraud_v1").on_demand


def test_a_view_of_an_entity_that_no_file_declares_is_refused(settings, release, tmp_path):  # noqa: ARG001
    repo = tmp_path / "feature_repo"
    shutil.copytree(settings.feature_repo, repo)
    # Feast finds what modules hold under a name of their own; an entity made inside of a view has none.
    inline = 'entities=[Entity(name="someone", join_keys=["consumer_id"], value_type=ValueType.STRING)]'
    text = (repo / "views.py").read_text().replace("from feast import FeatureView", "from feast import *")
    (repo / "views.py").write_text(text.replace("entities=[consumer]", inline, 1))
    with pytest.raises(UsageError, match=r"unknown entity of view 'consumer_profile' 'someone'"):
        compiled(replace(settings, feature_repo=repo))


def test_a_repo_that_python_cannot_read_is_refused(settings, release, tmp_path):  # noqa: ARG001
    repo = tmp_path / "feature_repo"
    shutil.copytree(settings.feature_repo, repo)
    (repo / "views.py").write_text("from entities import nobody\n")
    with pytest.raises(UsageError, match="nobody"):
        compiled(replace(settings, feature_repo=repo))


def test_a_missing_labels_module_is_refused(settings):
    with pytest.raises(UsageError, match="LABELS"):
        load_labels(replace(settings, labels="tests.no_such_module"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # A kind that is none would be judged as `absent`.
        ([{"kind": "exist"}], r"unknown kind of label 'disputed' 'exist'\. Did you mean 'exists'"),
        ([{"horizon_us": -1}], "'disputed' has horizon_us=-1 and maturity_us=0, and would be judged before its time"),
        ([{"maturity_us": -1}], "maturity_us=-1, and would be judged before its time"),
        ([{}, {"kind": "absent"}], "'changed_labels' has disputed more than once"),
    ],
)
def test_labels_that_make_no_sense_are_refused(settings, tmp_path, changes, message):
    (tmp_path / "changed_labels.py").write_text(
        "from dataclasses import replace\nfrom tests.feast_labels import LABELS as kept\n"
        f"LABELS = tuple(replace(kept[0], **one) for one in {changes})\n"
    )
    with on_path(tmp_path), pytest.raises(UsageError, match=message):
        load_labels(replace(settings, labels="changed_labels"))


def test_everything_generated_follows_the_home(settings):
    loaded = load_repo_config(settings)
    home = settings.lake.home
    assert loaded.registry.path == str(home / "feast" / "registry.db")
    assert place_of(loaded) == (str(home / "online"), "lifecycle")
    assert loaded.offline_store.lake["home"] == str(home)


def test_the_yaml_and_the_platform_mean_the_same_places():
    plain = config.load(ROOT)
    repo = plain.feature_repo
    yaml = load_yaml(repo, repo / "feature_store.yaml")
    folder = plain.lake.home / "feast"
    assert (repo / yaml.registry.path).resolve() == folder / "registry.db"
    yaml.repo_path = repo
    assert place_of(yaml) == (plain.online_place, "lifecycle")


@pytest.mark.parametrize("service", SERVICES)
def test_online_values_equal_the_frame_at_the_materialization_time(settings, serving, service):
    expected = frame(settings, serving, [{**row, "event_timestamp": WATERMARK} for row in KEYS], service)
    for key, row, read in zip(KEYS, expected, online(settings, service, KEYS), strict=True):
        wanted = {name: value for name, value in row.items() if name not in {*key, "event_timestamp"}}
        assert list(read) == list(wanted)
        assert {name: value.value for name, value in read.items()} == wanted


def test_values_come_with_time_age_and_status(settings, serving):  # noqa: ARG001
    [read] = online(settings, "fraud_v1", [{key: one for key, one in KEYS[0].items() if key != "payment_method_id"}])
    amount = read["last_charge_amount"]
    assert (amount.value, amount.event_timestamp, amount.status) == (400, day(4), "PRESENT")
    assert amount.age == WATERMARK - day(4)
    assert read["last_charge_currency"].status == "PRESENT"
    assert read["last_refund_amount"].status == "NOT_FOUND"
    assert read["card_brand"].status == "NOT_FOUND"  # its key was not given


def test_a_tombstone_reads_as_not_found(settings, serving):  # noqa: ARG001
    [read] = online(settings, "lifecycle_v1", [{"consumer_id": "c2"}])
    assert read["country"].status == "NOT_FOUND"


def test_whole_numbers_beyond_a_float_stay_exact_beside_misses(settings, serving):  # noqa: ARG001
    [read] = online(settings, "lifecycle_v1", [{"consumer_id": "c3"}])
    assert read["last_charge_amount"].value == BIG


def test_feasts_own_online_read_agrees(settings, serving):  # noqa: ARG001
    store = FeatureStore(config=load_repo_config(settings))
    asked = ["consumer_payment:last_charge_amount", "consumer_profile:country", "consumer_lifecycle:lifecycle_stage"]
    keys = [{"consumer_id": key} for key in ("c1", "c2", "c3", "nobody")]
    assert store.get_online_features(asked, keys).to_dict() == {
        "consumer_id": ["c1", "c2", "c3", "nobody"],
        "last_charge_amount": [400, None, BIG, None],
        "country": ["FR", None, None, None],
        "lifecycle_stage": ["paused", None, None, None],
    }


def test_windows_are_read_through_feast_as_they_stand(settings, serving):
    store = FeatureStore(config=load_repo_config(settings))
    view = next(one for one in serving.definitions.views if one.windows and one.join_keys == (("consumer_id",) * 2,))
    asked = [f"{view.name}:{one.name}" for one in view.features if not one.dtype.startswith("TIMESTAMP")]
    keys = [{"consumer_id": key} for key in ("c1", "nobody")]
    store.materialize(day(0), WATERMARK, feature_views=[view.name])  # the store's own events go on answering
    found = store.get_online_features(asked, keys)
    ours = Project(settings).online_features(asked, keys)
    names = [name.partition(":")[2] for name in asked]
    assert {name: found.to_dict()[name] for name in names} == {
        name: [row[name].value for row in ours] for name in names
    }
    assert any(row[name].value for row in ours for name in names)
    assert {status for vector in found.proto.results for status in vector.statuses} == {FieldStatus.PRESENT}


def test_feasts_own_materialization_overwrites_with_a_tombstone(settings, release, tmp_path):  # noqa: ARG001
    loaded = load_repo_config(settings)
    loaded.online_store.place = str(tmp_path / "empty")
    store = FeatureStore(config=loaded)
    store.materialize(day(0), day(8), feature_views=["consumer_profile"])
    key = [{"consumer_id": "c2"}]
    assert store.get_online_features(["consumer_profile:country"], key).to_dict()["country"] == ["IE"]
    store.materialize(day(8), day(10), feature_views=["consumer_profile"])
    assert store.get_online_features(["consumer_profile:country"], key).to_dict()["country"] == [None]
    store.materialize(day(0), day(8), feature_views=["consumer_profile"])  # what is older changes nothing
    assert store.get_online_features(["consumer_profile:country"], key).to_dict()["country"] == [None]


def test_a_release_replaces_the_store_and_a_rollback_brings_it_back(settings, restored):
    gone = ("consumer_lifecycle", "c1", 12, 12, "l3", None)
    new = ("consumer_profile", "c9", 12, 12, "p9", {"country": "NL"})
    later = changed(settings, gone, new)
    done = materialize(settings, later)
    assert (done.release, done.at) == (later.number, WATERMARK)
    keys = [{"consumer_id": "c1"}, {"consumer_id": "c9"}]
    first, second = online(settings, "lifecycle_v1", keys)
    assert (first["lifecycle_stage"].status, second["country"].value) == ("NOT_FOUND", "NL")
    Ledger(Lake(settings.lake)).roll_back(restored.number)
    materialize(settings, restored)
    first, second = online(settings, "lifecycle_v1", keys)
    assert (first["lifecycle_stage"].value, second["country"].status) == ("paused", "NOT_FOUND")


def test_nothing_materialized_is_said(tmp_path):
    with pytest.raises(UsageError, match="holds no release yet"):
        online(config.load(ROOT, home=tmp_path), "fraud_v1", KEYS)


def test_a_value_older_than_its_ttl_is_not_served(settings, restored):
    microseconds = int(timedelta(days=25) / timedelta(microseconds=1))
    views = tuple(
        replace(view, ttl_us=microseconds) if view.name in {"consumer_payment", "consumer_profile"} else view
        for view in restored.definitions.views
    )
    later = changed(settings, definitions=restored.definitions.with_views(views))
    materialize(settings, later)
    [read] = online(settings, "lifecycle_v1", [{"consumer_id": "c1"}])
    # Day 4 is 26 days before the watermark, day 5 exactly 25: a ttl's edge still counts.
    assert (read["last_charge_amount"].value, read["last_charge_amount"].status) == (None, "OUTSIDE_MAX_AGE")
    assert (read["country"].value, read["country"].status) == ("FR", "PRESENT")
    [row] = frame(settings, later, [{"consumer_id": "c1", "event_timestamp": WATERMARK}], "lifecycle_v1")
    assert (row["last_charge_amount"], row["country"]) == (None, "FR")


def test_keys_of_no_view_are_refused(settings, serving):  # noqa: ARG001
    with pytest.raises(UsageError, match="consumer_id"):
        online(settings, "lifecycle_v1", [{"customer": "c1"}])
    with pytest.raises(UsageError, match="Did you mean 'fraud_v1'"):
        online(settings, "fraud_v2", KEYS)


SCORED = {
    "fraud_v1": [
        ("consumer_payment", "c1", 15, 15, "ch_9", {"last_charge_amount": 9}),
        ("consumer_lifecycle", "c1", 15, 15, "ch_9", {"lifecycle_stage": "returned"}),
        ("consumer_profile", "c1", 15, 15, "ch_9", {"country": "GB"}),  # a shop's invoice carries its buyer's country
        ("charge_events", "c1", 15, 15, "ch_9", CHARGE | {"amount": 9}),
    ],
    "credit_risk_v1": [
        ("consumer_credit_application", "c1", 15, 15, "a1", {"amount_requested": 9}),
        ("consumer_credit", "c1", 15, 15, "a1", {"credit_status": "current"}),
        ("credit_application_events", "c1", 15, 15, "a1", {"application_id": "a1", "status": "submitted"}),
    ],
    "identity_theft_v1": [
        ("consumer_session", "c1", 15, 15, "s9", {"session_status": "failed"}),
        ("device_session", "d1", 15, 15, "s9", {"last_session_status": "failed"}),
        ("consumer_identity", "c1", 15, 15, "v9", {"verification_status": "processing"}),
        ("verification_events", "c1", 15, 15, "v9", {"session_id": "vs9", "status": "processing"}),
        ("session_events", "c1", 15, 15, "s9", {"session_id": "ls9", "status": "failed", "device_id": "d1"}),
    ],
    "lifecycle_v1": [
        ("consumer_payment", "c1", 15, 15, "ch_9", {"last_charge_amount": 9}),
        ("consumer_lifecycle", "c1", 15, 15, "ch_9", {"lifecycle_stage": "returned"}),
        ("consumer_session", "c1", 15, 15, "s9", {"session_status": "failed"}),
        ("charge_events", "c1", 15, 15, "ch_9", CHARGE | {"amount": 9}),
    ],
    "charge_sequence_v1": [("charge_events", "c1", 15, 15, "ch_9", CHARGE | {"amount": 9})],
}


@pytest.mark.parametrize("service", SCORED)
def test_the_scored_event_changes_no_feature_of_its_own_row(settings, restored, service):  # noqa: ARG001
    before = changed(settings)
    after = changed(settings, *SCORED[service])
    moments = [day(15), day(15) + timedelta(microseconds=1)]
    spine = [{**KEYS[0], "event_timestamp": moment} for moment in moments]
    unseen, seen = (frame(settings, one, spine, service) for one in (before, after))
    assert unseen[0] == seen[0]
    assert unseen[1] != seen[1]
