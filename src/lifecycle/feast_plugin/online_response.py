"""What `get_online_features` returns: plain values at once, Feast's protobuf message when somebody asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True)
class Block:
    """
    One view's answers for all keys.

    names: of its features, as the caller sees them. places: where in an answer's values each stands, None where the
    store holds no such feature. forms: how its values look in Feast.
    """

    names: Sequence[str]
    places: Sequence[int | None]
    forms: Sequence[Form | None]
    answers: Sequence[Answer]

    def columns(self) -> list[list[Any]]:
        """Return stored values by feature, None where there is none."""
        if not self.answers:
            return [[] for _ in self.names]
        width = len([place for place in self.places if place is not None])
        nothing = (None,) * width
        held = list(zip(*(one.values or nothing for one in self.answers), strict=True))
        return [[None] * len(self.answers) if place is None else list(held[place]) for place in self.places]

    def plain(self) -> dict[str, list[Any]]:
        """Return the values as Feast's own `to_dict` gives them."""
        made = dict(zip(self.names, self.columns(), strict=True))
        for name, form in zip(self.names, self.forms, strict=True):
            if form is not None and form.to_python is not None:
                made[name] = [None if one is None else form.to_python(one) for one in made[name]]
        return made

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
        for column, form in zip(self.columns(), self.forms, strict=True):
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
            made.update(block.plain())
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
