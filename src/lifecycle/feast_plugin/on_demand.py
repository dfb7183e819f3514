"""
On-demand views: declared as Feast's own, computed by the engine.

A view names a function of a module in transformations/on_demand. Feast's registry keeps the module's text (as the
transformation's source) and the function's name (as a tag), so that the registry, a release and a receipt all hold
what is computed. Feast makes its function from that text again; a few lines at the end of it call ours with lists.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from feast import OnDemandFeatureView, RequestSource
from feast.feature_view_projection import FeatureViewProjection
from feast.transformation.udf_rehydrate import rehydrate_udf_from_source

from lifecycle.config import find_root
from lifecycle.definitions import Field, OnDemand, Projection
from lifecycle.engine.on_demand import arrow_type, call, load
from lifecycle.errors import UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from feast import Entity, FeatureView
    from feast import Field as FeastField

FUNCTION, KEYS = "lifecycle.function", "lifecycle.keys"
KEY_TYPE = "VARCHAR"
_CALLED = "called_by_feast"
_MARK = "\n\n# What follows is how Feast calls it.\n"
_TAIL = (
    _MARK
    + f"""
def {_CALLED}(given):
    from lifecycle.feast_plugin.on_demand import run

    return run({{}}, {{}}, {{}}, given)
"""
)
_DUCKDB = {
    "Bool": "BOOLEAN",
    "Int32": "INTEGER",
    "Int64": "BIGINT",
    "Float32": "FLOAT",
    "Float64": "DOUBLE",
    "String": "VARCHAR",
    "UnixTimestamp": "TIMESTAMP WITH TIME ZONE",
}


class EngineOnDemandView(OnDemandFeatureView):
    """Feast's on-demand view with a complete schema; made by `on_demand_view`."""

    def infer_features(self) -> None:
        """Leave the schema as declared: Feast would guess it from what the function makes of invented values."""


def on_demand_view(
    name: str,
    function: str,
    *,
    schema: list[FeastField],
    inputs: Sequence[tuple[FeatureView, Sequence[FeastField]]] = (),
    request: Sequence[FeastField] = (),
    keys: Sequence[Entity] = (),
    description: str = "",
) -> OnDemandFeatureView:
    """
    Declare features that `function` computes, row by row, from other features and from what the request brings.

    function: "package.module:function" beside lifecycle.toml, such as
    "transformations.on_demand.charges:against_habit". It takes an Arrow table of all inputs under their own names
    and returns an Arrow array per feature of `schema`. Its module must run by itself: it may import libraries, but
    nothing of the project. inputs: features by view, with types. request: columns that come with each row, of the
    spine or of the entity row online. keys: entities of text keys that it reads. Types are Bool, Int32, Int64,
    Float32, Float64, String, UnixTimestamp, or an Array of one.
    Raises UsageError for two inputs of one name, a view named twice, a module that is not there or does not run.
    """
    key_names = [entity.join_key for entity in keys]
    names = [field.name for _, fields in inputs for field in fields] + [field.name for field in request] + key_names
    names += [f"view {view.name}" for view, _ in inputs]
    twice = sorted(one for one, times in Counter(names).items() if times > 1)
    if twice:
        raise UsageError(f"on-demand view {name!r} reads {', '.join(twice)} more than once: take each from one place.")
    source, called = _code(name, function)
    sources: list[Any] = [_projection(view, fields) for view, fields in inputs]
    if request:
        sources.append(RequestSource(name=f"{name}_request", schema=list(request)))
    given = [_field(name, field) for _, fields in inputs for field in fields]
    brought = [*(_field(name, field) for field in request), *(Field(key, KEY_TYPE) for key in key_names)]
    ours = OnDemand(
        name=name,
        function=called,
        source=source,
        inputs=tuple(_inputs(one) for one in sources if isinstance(one, FeatureViewProjection)),
        request=tuple(brought),
        features=tuple(_field(name, field) for field in schema),
    )
    load(ours)
    text = source + _TAIL.format(ours.function, _types([*given, *brought]), _types(ours.features))
    return EngineOnDemandView(
        name=name,
        sources=sources,
        schema=schema,
        mode="python",
        udf=rehydrate_udf_from_source(text, preferred_name=_CALLED),
        udf_string=text,
        description=description,
        tags={FUNCTION: called, KEYS: ",".join(key_names)},
    )


def run(
    function: Callable[[pa.Table], Any], inputs: dict[str, str], outputs: dict[str, str], given: dict[str, list[Any]]
) -> dict[str, list[Any]]:
    """Call an on-demand function as Feast does: lists by name in and out; inputs, outputs: DuckDB's types by name."""
    features = tuple(Field(name, dtype) for name, dtype in outputs.items())
    view = OnDemand(function.__name__, function.__name__, "", (), (), features)
    arrays = {name: pa.array(given[name], arrow_type(dtype, name)) for name, dtype in inputs.items()}
    return {name: column.to_pylist() for name, column in call(view, function, arrays).items()}


def is_ours(view: OnDemandFeatureView) -> bool:
    """Whether a view was declared by `on_demand_view`, so that the engine can compute it."""
    return FUNCTION in view.tags


def compiled(view: OnDemandFeatureView) -> OnDemand:
    """
    Return our form of an on-demand view, declared in a file or read from a registry.

    Raises UsageError for a view that Feast's own decorator made, for a type that on-demand features cannot have, and
    for a module that does not run by itself.
    """
    if not is_ours(view):
        raise UsageError(
            f"on-demand view {view.name!r} is Feast's own, which a release cannot carry. Declare it with "
            "lifecycle.feast_plugin.on_demand.on_demand_view over a function of transformations/on_demand."
        )
    keys = [Field(name, KEY_TYPE) for name in view.tags[KEYS].split(",") if name]
    request = [_field(view.name, one) for source in view.source_request_sources.values() for one in source.schema]
    made = OnDemand(
        name=view.name,
        function=view.tags[FUNCTION],
        source=str(view.feature_transformation.udf_string).partition(_MARK)[0],
        inputs=tuple(_inputs(one) for one in view.source_feature_view_projections.values()),
        request=(*request, *keys),
        features=tuple(_field(view.name, one) for one in view.features),
    )
    load(made)
    return made


def input_types(view: OnDemandFeatureView) -> dict[tuple[str, str], str]:
    """Return the declared DuckDB type by (view, feature) read."""
    read = view.source_feature_view_projections.values()
    return {(one.name, field.name): _field(view.name, field).dtype for one in read for field in one.features}


def _code(who: str, function: str) -> tuple[str, str]:
    """Return the module's text and the function's name."""
    module, _, called = function.partition(":")
    file = Path(*module.split(".")).with_suffix(".py")
    found = next((folder / file for folder in _folders() if (folder / file).is_file()), None)
    if not called or found is None:
        raise UsageError(
            f"on-demand view {who!r} wants {function!r}, and there is no {file} beside the project's lifecycle.toml. "
            "Write it as package.module:function."
        )
    return found.read_text(encoding="utf-8"), called


def _folders() -> list[Path]:
    """Return where a project's modules may be: beside the working folder's lifecycle.toml, and on Python's path."""
    try:
        own = [find_root(Path.cwd())]  # Feast reads a repo's files in the repo's folder
    except UsageError:
        own = []
    return [*own, *map(Path, sys.path)]


def _inputs(projection: FeatureViewProjection) -> Projection:
    return Projection(
        view=projection.name,
        features=tuple(field.name for field in projection.features),
        join_keys=tuple(sorted(projection.join_key_map.items())),
    )


def _projection(view: FeatureView, fields: Sequence[FeastField]) -> FeatureViewProjection:
    # The view's schema is its relation's, which nobody knows before it is applied; so inputs state their types.
    return FeatureViewProjection(
        name=view.name,
        name_alias=None,
        desired_features=[],
        features=list(fields),
        join_key_map=dict(view.projection.join_key_map),
        timestamp_field=view.batch_source.timestamp_field,
        created_timestamp_column=view.batch_source.created_timestamp_column,
        batch_source=view.batch_source,
    )


def _field(who: str, field: FeastField) -> Field:
    written = str(field.dtype)
    element = written.removeprefix("Array(").removesuffix(")")
    if element not in _DUCKDB:
        raise unknown(f"type of {field.name!r} in on-demand view {who!r}", written, _DUCKDB)
    return Field(field.name, _DUCKDB[element] + ("[]" if element != written else ""))


def _types(fields: Iterable[Field]) -> dict[str, str]:
    return {field.name: field.dtype for field in fields}
