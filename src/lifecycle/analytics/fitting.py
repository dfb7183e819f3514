"""Maximum likelihood over positive parameters, with errors that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from lifecycle.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    LogLikelihood = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]

FARTHEST = 10.0  # |ln parameter / start|: past 22,000 times the start a maximum lies at 0 or infinity
FLAT = 1e-5  # largest slope, per customer and unit of ln parameter, that counts as a maximum


def maximize(
    model: str, names: Sequence[str], log_likelihood: LogLikelihood, starts: Sequence[Sequence[float]], customers: int
) -> tuple[tuple[float, ...], float]:
    """
    Return the parameters with the greatest log-likelihood, and it.

    log_likelihood: of the parameters, with its gradient by them. The search is over their logarithms, which keeps
    them positive and makes the result the same in every unit of time and money. starts: each is tried, the best
    result counts. Raises DataError where none converges or a parameter runs off.
    """

    def loss(logs: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = np.exp(logs)
        value, slope = log_likelihood(parameters)
        return -value / customers, -slope * parameters / customers

    centre = np.log(np.asarray(starts[0], dtype=float))
    bounds = [(middle - FARTHEST, middle + FARTHEST) for middle in centre]
    options = {"maxiter": 2000, "maxfun": 10000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 20}
    found = [
        minimize(loss, np.log(np.asarray(start)), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        for start in starts
    ]
    best = min(found, key=lambda one: float(one.fun) if np.isfinite(one.fun) else np.inf)
    _check(model, names, best, centre)
    return tuple(float(value) for value in np.exp(best.x)), -float(best.fun) * customers


def _check(model: str, names: Sequence[str], found: Any, centre: NDArray[np.float64]) -> None:
    reached = ", ".join(f"{name}={value:.4g}" for name, value in zip(names, np.exp(found.x), strict=True))
    lost = [name for name, x, middle in zip(names, found.x, centre, strict=True) if abs(x - middle) > FARTHEST - 1e-6]
    if lost or not np.isfinite(found.fun) or np.abs(found.jac).max() > FLAT:
        reason = (
            f"{' and '.join(lost)} ran off without a maximum" if lost else f"the search stopped short ({found.message})"
        )
        raise DataError(
            f"{model} does not fit these customers: {reason}, at {reached}. The customers may be too much alike, "
            "too few, or observed too briefly for the model's mixture. Take a longer observation or more customers, "
            "leave out accounts that buy by a schedule, or use the other purchase model."
        )


def positive(model: str, **columns: NDArray[np.float64]) -> None:
    """Raise DataError unless every column is finite and none is negative."""
    for name, values in columns.items():
        wrong = ~(np.isfinite(values) & (values >= 0))
        if wrong.any():
            raise DataError(
                f"{model} needs {name} of 0 or more; row {int(wrong.argmax())} has {values[wrong.argmax()]}. "
                "Make the summary with `lifecycle.analytics.purchase_summary`."
            )
