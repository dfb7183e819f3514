"""Pictures of tables, drawn by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle.errors import PlatformError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from lifecycle.engine import Audit

WIDTH, HEIGHT, DPI = 8.0, 4.5, 110
MOST_BARS = 15


def maturity(curves: Mapping[str, pa.Table], path: Path) -> None:
    """Draw maturity curves by label into `path`; its ending says the form."""
    figure, axes = _axes("days after t", "share of final answers known")
    for name, curve in curves.items():
        decided = curve["decided"][0].as_py()
        axes.plot(
            curve["days"].to_pylist(), curve["share"].to_pylist(), label=f"{name} ({decided:,})", drawstyle="steps-post"
        )
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def leakage(audit: Audit, path: Path) -> None:
    """Draw, for the features that gained most, the AUC as known and naively into `path`."""
    rows = [one for one in audit.features.to_pylist() if one["auc_gain"] is not None][:MOST_BARS][::-1]
    figure, axes = _axes(f"AUC of one feature alone for {audit.label}", "")
    places = range(len(rows))
    axes.barh(places, [one["auc_naive"] - 0.5 for one in rows], 0.7, left=0.5, color="#d1495b", label="naive retrieval")
    axes.barh(places, [one["auc_known"] - 0.5 for one in rows], 0.4, left=0.5, color="#30638e", label="as known at t")
    for place, one in zip(places, rows, strict=True):
        text = f"{one['share']:.1%} of rows changed"
        axes.text(max(one["auc_naive"], one["auc_known"]) + 0.005, place, text, va="center", fontsize=8, color="0.35")
    axes.set_yticks(places, [one["feature"] for one in rows])
    axes.set_xlim(0.5, 1.12)
    axes.set_xticks([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    axes.grid(visible=False, axis="y")
    axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def _axes(across: str, up: str) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise PlatformError(
            "pictures need matplotlib: pip install 'lifecycle[pictures]', or leave --picture out."
        ) from error
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="both", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No date and no program version, so that the same table gives the same picture.
    figure.savefig(path, metadata={"Software": None} if path.suffix == ".png" else {"Date": None})
