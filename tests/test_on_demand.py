"""On-demand features: literal tables in and out, one function for every caller, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, ValueType
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import Array, Float64, Int64, String
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle import definitions as ours
from lifecycle.definitions import Definitions, OnDemand, Projection, Service, View
from lifecycle.engine.on_demand import Computed, add, compute, load
from lifecycle.engine.selection import select
from lifecycle.errors import DataError, UsageError
from lifecycle.feast_plugin.on_demand import compiled, on_demand_view
from lifecycle.feast_plugin.source import LifecycleSource
from transformations.on_demand import charges

ROOT = Path(__file__).resolve().parents[1]
CHARGES = (ROOT / "transformations" / "on_demand" / "charges.py").read_text(encoding="utf-8")
DOUBLED = "def doubled(rows):\n    import pyarrow.compute as pc\n    return {'twice': pc.multiply(rows['x'], 2)}\n"
VIEW = View(
    name="habits",
    relation="features.habits",
    join_keys=(("consumer_id", "consumer_id"),),
    event_timestamp="event_timestamp",
    known_at="known_at",
    features=(ours.Field("mean", "DOUBLE"), ours.Field("top", "BIGINT")),
)


def view(source=DOUBLED, function="doubled", **changes):
    made = OnDemand(
        name="twofold",
        function=function,
        source=source,
        inputs=(),
        request=(ours.Field("x", "BIGINT"),),
        features=(ours.Field("twice", "BIGINT"),),
    )
    return replace(made, **changes)


def columns(function, **inputs):
    return {name: made.to_pylist() for name, made in function(pa.table(inputs)).items()}


def test_an_amount_against_habit():
    made = columns(
        charges.against_habit,
        amount=pa.array([300, 300, 300, None]),
        mean_charge_90d=pa.array([100.0, None, 0.0, 1.0]),
        max_charge_90d=pa.array([600, None, 300, 1]),
        std_charge_90d=pa.array([50.0, None, 0.0, 1.0]),
    )
    assert made["amount_to_mean_90d"] == [3.0, None, None, None]
    assert made["amount_to_max_90d"] == [0.5, None, 1.0, None]
    assert made["amount_z_90d"] == [4.0, None, None, None]


def test_mismatches_are_unknown_where_a_side_is():
    made = columns(
        charges.countries,
        ip_country=pa.array(["DE", "DE", None]),
        card_country=pa.array(["DE", "US", "US"]),
        country=pa.array(["FR", None, "US"]),
    )
    assert made["ip_card_country_differ"] == [False, True, None]
    assert made["ip_profile_country_differ"] == [True, None, None]
    assert made["card_profile_country_differ"] == [True, None, False]
    made = columns(
        charges.devices,
        device_id=pa.array(["d1", "d1"]),
        last_charge_device=pa.array(["d1", None]),
        session_device_id=pa.array(["d2", "d1"]),
    )
    assert made["device_differs_from_last_charge"] == [False, None]
    assert made["device_differs_from_last_login"] == [True, False]


def test_velocities_compare_an_hour_and_a_day_with_ninety_days():
    counts = {"1h": [1, 0], "24h": [3, 0], "90d": [90, 0]}
    inputs = {f"{stem}_{w}": pa.array(some) for stem in ("charges", "card_charges") for w, some in counts.items()}
    made = columns(charges.velocities, **inputs)
    assert made["charges_velocity_24h"] == [3.0, None]
    assert made["card_charges_velocity_1h"] == [24.0, None]


def test_verification_age():
    made = columns(charges.verification, seconds_since_verified_all=pa.array([86_400.0, 90_000.0, None]))
    assert made == {"hours_since_verified": [24.0, 25.0, None], "verified_within_24h": [True, False, None]}


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.tuples(*[st.one_of(st.none(), st.integers(0, 10**6))] * 4), min_size=1, max_size=12))
def test_each_row_stands_for_itself(rows):
    names = ("amount", "mean_charge_90d", "max_charge_90d", "std_charge_90d")
    kinds = (pa.int64(), pa.float64(), pa.int64(), pa.float64())
    habit = OnDemand(
        "habit", "against_habit", CHARGES, (), (),
        tuple(ours.Field(name, "DOUBLE") for name in ("amount_to_mean_90d", "amount_to_max_90d", "amount_z_90d")),
    )  # fmt: skip

    def made(some):
        arrays = {n: pa.array([r[i] for r in some], kinds[i]) for i, n in enumerate(names)}
        return list(zip(*(column.to_pylist() for column in compute(habit, arrays).values()), strict=True))

    assert made(rows) == [one for row in rows for one in made([row])]


def test_the_code_is_the_releases_own():
    assert compute(view(), {"x": pa.array([4])})["twice"].to_pylist() == [8]
    later = view(DOUBLED.replace("2)", "20)"))
    assert later.code_hash != view().code_hash
    assert compute(later, {"x": pa.array([4])})["twice"].to_pylist() == [80]
    kept = Definitions.from_json(Definitions(on_demand=(view(),)).to_json()).on_demand_view("twofold")
    assert compute(kept, {"x": pa.array([4])})["twice"].to_pylist() == [8]


def test_columns_of_nulls_alone_and_narrow_numbers_are_cast():
    wanted = Computed(view(), ("twice",), ("twofold__twice",), (("x", "given", "BIGINT"),))
    table = add(pa.table({"given": pa.array([None, None])}), [wanted])
    assert table.schema.field("twofold__twice").type == pa.int64()
    assert add(pa.table({"given": pa.array([3], pa.int8())}), [wanted])["twofold__twice"].to_pylist() == [6]


@pytest.mark.parametrize("given", [["x"], [1.5], [{"a": 1}], [[1]]])
def test_an_input_that_its_type_cannot_hold_is_named(given):
    wanted = Computed(view(), ("twice",), ("twice",), (("x", "given", "BIGINT"),))
    with pytest.raises(DataError, match="on-demand view 'twofold' reads 'x' as BIGINT: "):
        add(pa.table({"given": given}), [wanted])


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (view(function="trebled"), UsageError, "unknown function 'trebled'. There are: doubled."),
        (view("import nowhere_at_all\n"), UsageError, "does not run by itself: ModuleNotFoundError"),
        (view("def doubled(rows): return 1"), DataError, "must return a dict of twice; it returned int"),
        (view("def doubled(rows): return {'once': rows['x']}"), DataError, "a dict of twice; it returned once"),
        (view("def doubled(rows): return {'twice': rows['y']}"), DataError, "fails: KeyError"),
        (view("def doubled(rows): return {'twice': [1]}"), DataError, "1 values of 'twice', one per row, not list"),
        (view("def doubled(rows): return {'twice': rows['x'].slice(1)}"), DataError, "not 0 values"),
        (view(features=(ours.Field("twice", "TIME"),)), UsageError, "unknown type of feature 'twice'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_its_declaration_is_refused(made, error, message):
    with pytest.raises(error) as caught:
        compute(made, {"x": pa.array([4])})
    assert message in str(caught.value)


def known(**changes):
    habit = view(
        "def ratio(rows):\n    import pyarrow.compute as pc\n    return {'twice': pc.divide(rows['x'], rows['top'])}\n",
        "ratio",
        inputs=(Projection("habits", ("top",)),),
    )
    service = Service("fraud", (Projection("habits", ("mean",)),), ("twofold",))
    return Definitions(views=(VIEW,), on_demand=(habit,), services=(replace(service, **changes),))


def test_a_service_takes_all_features_of_an_on_demand_view_or_those_it_names():
    outputs = tuple(ours.Field(name, "BIGINT") for name in ("twice", "thrice", "square"))
    definitions = replace(known(), on_demand=(view(features=outputs),))

    def columns(*names):
        [service] = definitions.services
        made = replace(definitions, services=(replace(service, on_demand=names),))
        return select(Definitions.from_json(made.to_json()), "fraud").columns

    assert columns("twofold") == ("mean", "twice", "thrice", "square")
    assert columns("twofold:square", "twofold:twice") == ("mean", "square", "twice")
    with pytest.raises(UsageError, match="unknown feature of on-demand view 'twofold' 'cube'"):
        columns("twofold:cube")


def test_what_nobody_asked_for_is_read_and_not_shown():
    wanted = select(known(), "fraud")
    assert wanted.names == ("mean",)
    assert wanted.columns == ("mean", "twice")
    assert [one.features for one in wanted.selections] == [("mean",), ("top",)]
    [computed] = wanted.on_demand
    assert [column for _, column, _ in computed.inputs] == ["x", wanted.selections[1].names[0]]
    both = select(known(projections=(Projection("habits", ("mean", "top")),)), "fraud", full_feature_names=True)
    assert both.columns == ("habits__mean", "habits__top", "twofold__twice")
    assert len(both.selections) == 1
    assert [column for _, column, _ in both.on_demand[0].inputs] == ["x", "habits__top"]
    assert select(known(), ["twofold:twice", "habits:mean"]).columns == ("twice", "mean")
    assert select(known(), "twofold").columns == ("twice",)
    with pytest.raises(UsageError, match="unknown feature of on-demand view 'twofold' 'thrice'"):
        select(known(), ["twofold:thrice"])


ENTITY = Entity(name="consumer", join_keys=["consumer_id"], value_type=ValueType.STRING)
HABITS = FeatureView(name="habits", entities=[ENTITY], source=LifecycleSource(relation="features.habits"))


def declared(**changes):
    given = {
        "function": "transformations.on_demand.charges:against_habit",
        "inputs": [(HABITS, [Field(name=f"{stem}_charge_90d", dtype=Float64) for stem in ("mean", "max", "std")])],
        "request": [Field(name="amount", dtype=Int64)],
        "schema": [Field(name=f"amount_{of}_90d", dtype=Float64) for of in ("to_mean", "to_max", "z")],
    }
    given |= changes
    return on_demand_view("habit", given.pop("function"), **given)


def test_a_declaration_comes_back_from_feasts_registry():
    made = compiled(declared(keys=[ENTITY]))
    back = compiled(OnDemandFeatureView.from_proto(declared(keys=[ENTITY]).to_proto()))
    assert back == made
    assert made.source == CHARGES
    assert made.inputs == (Projection("habits", ("mean_charge_90d", "max_charge_90d", "std_charge_90d")),)
    assert made.request == (ours.Field("amount", "BIGINT"), ours.Field("consumer_id", "VARCHAR"))
    assert callable(load(made))


def test_feasts_own_callers_get_the_same_values():
    back = OnDemandFeatureView.from_proto(declared().to_proto())
    inputs = {"amount": [300, None], "mean_charge_90d": [100.0, 1.0], "max_charge_90d": [600.0, 1.0]}
    made = back.feature_transformation.udf({**inputs, "std_charge_90d": [50.0, 1.0]})
    assert made == {"amount_to_mean_90d": [3.0, None], "amount_to_max_90d": [0.5, None], "amount_z_90d": [4.0, None]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"function": "transformations.on_demand.charges:habit"}, "unknown function 'habit'"),
        ({"function": "transformations.on_demand.charge:habit"}, "there is no transformations/on_demand/charge.py"),
        ({"request": [Field(name="mean_charge_90d", dtype=Float64)]}, "reads mean_charge_90d more than once"),
        ({"request": [Field(name="amount", dtype=Array(Array(String)))]}, "unknown type of 'amount'"),
    ],
)
def test_declarations_that_make_no_sense(changes, message):
    with pytest.raises(UsageError) as caught:
        declared(**changes)
    assert message in str(caught.value)
