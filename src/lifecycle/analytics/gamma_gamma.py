"""
Gamma-Gamma: what a customer spends per purchase.

Fader & Hardie (2013), "The Gamma-Gamma model of monetary value". A customer's purchases are Gamma(p, nu) around a mean
of their own, and nu ~ Gamma(q, gamma) over customers. It supposes that spend does not depend on how often one buys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import gammaln, psi

from lifecycle.analytics.fitting import maximize, positive
from lifecycle.analytics.tables import frame
from lifecycle.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST = 2


@dataclass(frozen=True)
class GammaGamma:
    """A fitted Gamma-Gamma model: `gamma` is in the unit of the amounts."""

    p: float
    q: float
    gamma: float
    log_likelihood: float = float("nan")
    customers: int = 0

    @classmethod
    def fit(cls, summary: Any) -> GammaGamma:
        """
        Fit by maximum likelihood to customers with `frequency` above 0 and `monetary` above 0; others are left out.

        Raises DataError where fewer than two are left, or where the data cannot tell the parameters.
        """
        x, mean = _columns(summary)
        taken = (x > 0) & (mean > 0)
        if taken.sum() < LEAST:
            raise DataError(
                f"Gamma-Gamma needs customers with a repeat purchase above 0, and of {len(x)} there are {taken.sum()}. "
                "Observe for longer."
            )
        x, mean = x[taken], mean[taken]
        middle = float(x @ mean / x.sum())
        starts = [(2.0, 3.0, middle), (5.0, 2.0, middle / 5)]
        names = ("p", "q", "gamma")
        (p, q, gamma), best = maximize(
            "Gamma-Gamma", names, lambda given: _log_likelihood(given, x, mean), starts, len(x)
        )
        return cls(p, q, gamma, best, len(x))

    def expected_amount(self, summary: Any) -> Floats:
        """
        Return, per row, the expected mean amount of the customer's purchases, in the unit of the amounts.

        The customer's own mean and the population's, weighed by how much was seen (equation 5 of the note); the
        population's for who has no repeat purchase above 0. NaN where the model's mean is infinite.
        """
        x, mean = _columns(summary)
        own = (x > 0) & (mean > 0)
        count, total = np.where(own, x, 0.0), np.where(own, x * mean, 0.0)
        below = self.p * count + self.q - 1
        return np.where(below > 0, self.p * (self.gamma + total) / np.where(below > 0, below, 1.0), np.nan)


def _columns(summary: Any) -> tuple[Floats, Floats]:
    rows = frame(summary, ["frequency", "monetary"])
    x = rows["frequency"].to_numpy(dtype=float, na_value=np.nan)
    mean = np.nan_to_num(rows["monetary"].to_numpy(dtype=float, na_value=np.nan), nan=0.0)
    positive("Gamma-Gamma", frequency=x, monetary=mean)
    return x, mean


def _log_likelihood(parameters: Floats, x: Floats, mean: Floats) -> tuple[float, Floats]:
    """Return equation 1a of the note in logarithms, summed over customers, and its gradient."""
    p, q, gamma = parameters
    total = x * mean
    value = gammaln(p * x + q) - gammaln(p * x) - gammaln(q) + q * np.log(gamma)
    value += (p * x - 1) * np.log(mean) + p * x * np.log(x) - (p * x + q) * np.log(gamma + total)
    shared = psi(p * x + q) - np.log(gamma + total)
    slopes = (
        x * (shared - psi(p * x) + np.log(total)),
        shared - psi(q) + np.log(gamma),
        q / gamma - (p * x + q) / (gamma + total),
    )
    return float(value.sum()), np.array([slope.sum() for slope in slopes])
