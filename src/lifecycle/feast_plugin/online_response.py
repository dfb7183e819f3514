"""What `get_online_features` returns: plain values at once, Feast's protobuf message when somebody asks for it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from feast.online_response import TIMESTAMP_POSTFIX, OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.type_map import python_values_to_proto_values
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

from lifecycle.feast_plugin.online_values import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feast.value_type import ValueType

    from lifecycle.feast_plugin.online_values import Form
    from lifecycle.online.read import Answer

STATUSES = {
    "PRESENT": FieldStatus.PRESENT,
    "NOT_FOUND": FieldStatus.NOT_FOUND,
    "OUTSIDE_MAX_AGE": FieldStatus.OUTSIDE_MAX_AGE,
}
Vector = GetOnlineFeaturesResponse.FeatureVector


class Shape:
    """
    One view's part of an answer.

    names: of its features, as the caller sees them. places: where in an answer's values each stands, None where the
    store holds no such feature. forms: how its values look in Feast.
    """

    def __init__(self, names: Sequence[str], places: Sequence[int | None], forms: Sequence[Form | None]) -> None:
        self.names = names
        self.places = places
        self.forms = forms
        self.whole = list(places) == list(range(len(names)))
        self.width = len([place for place in places if place is not None])
        self.nothing = (None,) * self.width
        pairs = zip(names, forms, strict=True)
        self.converted = [(name, form.to_python) for name, form in pairs if form is not None and form.to_python]


class Block(NamedTuple):
    """One view's answers for all keys."""

    shape: Shape
    answers: Sequence[Answer]

    @property
    def names(self) -> Sequence[str]:
        """The features' names, as the caller sees them."""
        return self.shape.names

    def columns(self) -> list[list[Any]]:
        """Return stored values by feature, None where there is none."""
        shape, answers = self.shape, self.answers
        if not answers:
            return [[] for _ in shape.names]
        held = [list(one) for one in zip(*(one.values or shape.nothing for one in answers), strict=True)]
        if shape.whole:
            return held
        return [[None] * len(answers) if place is None else held[place] for place in shape.places]

    def put(self, made: dict[str, list[Any]]) -> None:
        """Put the values into `made` as Feast's own `to_dict` gives them."""
        shape, answers = self.shape, self.answers
        if shape.whole and len(answers) == 1:
            for name, value in zip(shape.names, answers[0].values or shape.nothing, strict=True):
                made[name] = [value]
        else:
            made.update(zip(shape.names, self.columns(), strict=True))
        for name, convert in shape.converted:
            made[name] = [None if one is None else convert(one) for one in made[name]]

    def seconds(self) -> list[int]:
        """Return each answer's event time in whole seconds, 0 where there is none."""
        return [0 if one.event is None else one.event // 1_000_000 for one in self.answers]

    def vectors(self) -> list[Vector]:
        """Return one protobuf vector per feature."""
        missing = Value()
        times = []
        for one in self.answers:
            times.append(moment := Timestamp())
            if one.event is not None:
                moment.FromMicroseconds(one.event)
        statuses = [STATUSES[one.status] for one in self.answers]
        made = []
        for column, form in zip(self.columns(), self.shape.forms, strict=True):
            values = [missing if one is None or form is None else form.to_value(one) for one in column]
            made.append(Vector(values=values, statuses=statuses, event_timestamps=times))
        return made


class LifecycleOnlineResponse(OnlineResponse):
    """Feast's response over blocks; `keys` are the entity rows' columns with their types."""

    def __init__(self, keys: dict[str, tuple[list[Any], ValueType]], blocks: Sequence[Block]) -> None:
        self._keys = keys
        self._blocks = blocks

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, list[Any]]:
        """Return values by name, keys first; with event times in whole seconds under `<name>__ts`, if asked for."""
        made = {name: values for name, (values, _) in self._keys.items()}
        for block in self._blocks:
            block.put(made)
        if not include_event_timestamps:
            return made
        dated: dict[str, list[Any]] = {}
        for name in self._keys:
            dated |= {name: made[name], name + TIMESTAMP_POSTFIX: [0] * len(made[name])}
        for block in self._blocks:
            for name in block.names:
                dated |= {name: made[name], name + TIMESTAMP_POSTFIX: block.seconds()}
        return dated

    @cached_property
    def proto(self) -> GetOnlineFeaturesResponse:
        """The message that Feast's servers send."""
        made = GetOnlineFeaturesResponse()
        for name, (values, kind) in self._keys.items():
            made.metadata.feature_names.val.append(name)
            made.results.append(
                Vector(
                    values=python_values_to_proto_values(values, kind),
                    statuses=[FieldStatus.PRESENT] * len(values),
                    event_timestamps=[Timestamp() for _ in values],
                )
            )
        for block in self._blocks:
            made.metadata.feature_names.val.extend(block.names)
            made.results.extend(block.vectors())
        return made
