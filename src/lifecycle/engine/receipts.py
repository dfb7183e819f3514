"""
Receipts: all that decided a frame's bytes, and nothing else. No clock, no user, no machine.

A receipt is a JSON object. It carries the definitions it used, so that a frame can be made again after the
Feast repo has moved on, and the spine's content hash, so that the same spine is known when it is given again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lifecycle.definitions import Definitions
from lifecycle.times import iso, parse
from lifecycle.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lifecycle.engine.selection import Wanted
    from lifecycle.engine.spines import Spine

KEY = b"lifecycle.receipt"
FORM = 1


@dataclass(frozen=True)
class Receipt:
    """
    What decided a frame's bytes; `content` is JSON's.

    release: its number, or None. spine: kind, reference (path or SQL, if any), time column, rows, hash, per
    column [name, kind, digest], and Arrow schema. request: what training_frame was asked. definitions: those
    used, with their hash. label: rows by status and positives. watermarks: ISO 8601, UTC. not_final: rows
    later than the watermarks. schema: [name, Arrow type] of the output. engine, packages: versions.
    """

    content: dict[str, Any]

    def to_json(self) -> str:
        """Write canonical JSON: sorted keys, no spaces."""
        return json.dumps(self.content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Receipt:
        """Read what `to_json` wrote."""
        return cls(json.loads(text))

    def __getitem__(self, name: str) -> Any:
        return self.content[name]

    @property
    def definitions(self) -> Definitions:
        """The definitions that the frame used."""
        return Definitions.from_json(json.dumps(self.content["definitions"]))

    @property
    def watermarks(self) -> dict[str, datetime]:
        """Per source, the time up to which all facts were in (UTC)."""
        return {source: parse(text) for source, text in self.content["watermarks"].items()}

    def summary(self) -> dict[str, Any]:
        """Return the lines that a person reads first."""
        content = self.content
        features = content["request"]["features"]
        shown: dict[str, Any] = {
            "release": content["release"],
            "rows": content["rows"],
            "features": features if isinstance(features, str) else ", ".join(features),
            "known time": content["request"]["known_time"],
            "not final": content["not_final"],
        }
        if content["label"] is not None:
            counts = content["label"]
            shown["label"] = counts["name"]
            shown |= {f"label {name}": counts[name] for name in ("positive", "mature", "immature", "no_key")}
            # A receipt written before these were counted has none.
            shown |= {f"label {name}": counts.get(name) for name in ("earliest", "latest")}
        shown |= {f"watermark {source}": text for source, text in content["watermarks"].items()}
        return shown | {
            "spine": content["spine"]["hash"],
            "definitions": content["definitions_hash"],
            **{f"code of {one.name}": one.code_hash for one in self.definitions.on_demand},
            "engine": content["engine"],
        }


def used_definitions(definitions: Definitions, wanted: Wanted, label: str | None) -> Definitions:
    """Return the part of `definitions` that a frame uses."""
    return Definitions(
        views=tuple(dict.fromkeys(one.view for one in wanted.selections)),
        services=(wanted.service,) if wanted.service is not None else (),
        labels=(definitions.label(label),) if label is not None else (),
        known_time=definitions.known_time,
        on_demand=tuple(one.view for one in wanted.on_demand),
    )


def definitions_part(used: Definitions) -> dict[str, Any]:
    """Return a receipt's account of the definitions and of the engine that gives them meaning."""
    return {"definitions": json.loads(used.to_json()), "definitions_hash": used.hash, "engine": __version__}


def spine_part(spine: Spine) -> dict[str, Any]:
    """Return a receipt's account of its spine."""
    account = {
        "kind": spine.kind,
        "reference": spine.reference,
        "time": spine.time,
        "rows": spine.rows,
        "hash": spine.hash,
        "columns": spine.column_hashes,
        "schema": [[one.name, str(one.type)] for one in spine.schema],
    }
    return {"spine": account}


def write_times(watermarks: Mapping[str, datetime] | None) -> dict[str, str]:
    """Return watermarks as ISO 8601 text."""
    return {source: iso(at) for source, at in sorted((watermarks or {}).items())}


def versions(duckdb_version: str) -> dict[str, str]:
    """Return the versions of what computes the values and of what writes the bytes."""
    return {"duckdb": duckdb_version, "pyarrow": pa.__version__}
