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
    them positive and makes the result the same in every unit of time and money. starts: the next is tried where one
    leads to no maximum. Raises DataError where none converges or a parameter runs off.
    """

    def loss(logs: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = np.exp(logs)
        value, slope = log_likelihood(parameters)
        return -value / customers, -slope * parameters / customers

    centre = np.log(np.asarray(starts[0], dtype=float))
    bounds = [(middle - FARTHEST, middle + FARTHEST) for middle in centre]
    options = {"maxiter": 2000, "maxfun": 10000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 20}
    fault = ""
    for start in starts:
        found = minimize(loss, np.log(np.asarray(start)), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        fault = _fault(names, found, centre)
        if not fault:
            return tuple(float(value) for value in np.exp(found.x)), -float(found.fun) * customers
    raise DataError(
        f"{model} does not fit these customers: {fault}. They may be too much alike, too few, or observed "
        "too briefly for the model's mixture. Take a longer observation or more customers, leave out accounts that "
        "buy by a schedule, or use the other purchase model."
    )


def _fault(names: Sequence[str], found: Any, centre: NDArray[np.float64]) -> str:
    """Say what is wrong with a result, or nothing."""
    reached = ", ".join(f"{name}={value:.4g}" for name, value in zip(names, np.exp(found.x), strict=True))
    lost = [name for name, x, middle in zip(names, found.x, centre, strict=True) if abs(x - middle) > FARTHEST - 1e-6]
    if lost:
        return f"{' and '.join(lost)} ran off without a maximum, at {reached}"
    if not np.isfinite(found.fun) or np.abs(found.jac).max() > FLAT:
        return f"the search stopped short ({found.message}), at {reached}"
    return ""


def positive(model: str, **columns: NDArray[np.float64]) -> None:
    """Raise DataError unless every column is finite and none is negative."""
    for name, values in columns.items():
        wrong = ~(np.isfinite(values) & (values >= 0))
        if wrong.any():
            raise DataError(
                f"{model} needs {name} of 0 or more; row {int(wrong.argmax())} has {values[wrong.argmax()]}. "
                "Make the summary with `lifecycle.analytics.purchase_summary`."
            )
