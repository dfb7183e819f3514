"""
BG/NBD: purchases as a Poisson process until a customer drops out after a purchase.

Fader, Hardie & Lee (2005), "Counting your customers" the easy way: an alternative to the Pareto/NBD model,
Marketing Science 24(2). While alive, a customer buys at rate lambda ~ Gamma(r, alpha); after each purchase they leave
with probability p ~ Beta(a, b). Times are in the unit of the summary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, gammaln, hyp2f1, psi

from lifecycle.analytics.fitting import maximize
from lifecycle.analytics.histories import Histories

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

NEAR_ONE = 1e-4


@dataclass(frozen=True)
class BgNbd:
    """A fitted BG/NBD model: its four parameters, and how well and on how many customers it was fitted."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float = float("nan")
    customers: int = 0

    @classmethod
    def fit(cls, summary: Any) -> BgNbd:
        """
        Fit by maximum likelihood to a purchase summary (`frequency`, `recency`, `T`).

        Raises DataError where the data cannot tell the parameters.
        """
        seen = Histories.of("BG/NBD", summary)
        rate = seen.repeats_per_time()
        starts = [(1.0, 1.0 / rate, 1.0, 2.0), (0.25, 0.25 / rate, 0.5, 2.0)]
        names = ("r", "alpha", "a", "b")
        (r, alpha, a, b), best = maximize(
            "BG/NBD", names, lambda given: _log_likelihood(given, seen), starts, seen.customers
        )
        return cls(r, alpha, a, b, best, seen.customers)

    def p_alive(self, summary: Any) -> Floats:
        """Return, per row of the summary, the probability that the customer has not dropped out by T."""
        x, recency, age = Histories.columns("BG/NBD", summary)
        return self._alive(x, recency, age)

    def expected_purchases(self, summary: Any, time: float) -> Floats:
        """Return, per row, the purchases expected in the `time` units after T (equation 10 of the paper)."""
        x, recency, age = Histories.columns("BG/NBD", summary)
        return self._alive(x, recency, age) * self._while_alive(x, age, time)

    def expected_repeats(self, time: ArrayLike) -> Floats:
        """Return the repeat purchases expected of a new customer by each `time` since the first (equation 9)."""
        times = np.asarray(time, dtype=float)
        return self._while_alive(np.zeros_like(times), np.zeros_like(times), times)

    def _alive(self, x: Floats, recency: Floats, age: Floats) -> Floats:
        odds = np.log(self.b + np.maximum(x, 1) - 1) - np.log(self.a)
        odds -= (self.r + x) * np.log((self.alpha + age) / (self.alpha + recency))
        return np.where(x > 0, expit(odds), 1.0)

    def _while_alive(self, x: Floats, age: Floats, time: float | Floats) -> Floats:
        if abs(self.a - 1) >= NEAR_ONE:
            return self._closed(self.a, x, age, time)
        # The formula is 0/0 at a = 1, and smooth around it: the mean of both sides is off by the square of the step.
        return (self._closed(1 - NEAR_ONE, x, age, time) + self._closed(1 + NEAR_ONE, x, age, time)) / 2

    def _closed(self, a: float, x: Floats, age: Floats, time: float | Floats) -> Floats:
        # Euler's transformation of the paper's 2F1(r+x, b+x; a+b+x-1; z): its terms no longer overflow for large x.
        rest = self.alpha / (self.alpha + age + time) + age / (self.alpha + age + time)
        series = hyp2f1(a + self.b - 1 - self.r, a - 1, a + self.b + x - 1, 1 - rest)
        bought: Floats = (a + self.b + x - 1) / (a - 1) * (1 - rest ** (a - 1) * series)
        return bought


def _log_likelihood(parameters: Floats, seen: Histories) -> tuple[float, Floats]:
    """Return equation 6 of the paper in logarithms, summed over customers, and its gradient."""
    r, alpha, a, b = parameters
    x, recency, age, weight = seen.x, seen.recency, seen.age, seen.weight
    alive = -(r + x) * np.log(alpha + age)
    left = np.where(x > 0, np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + recency), -np.inf)
    either = np.logaddexp(alive, left)
    value = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + either
    value += gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
    here = np.exp(alive - either)
    gone = 1 - here
    slopes = (
        psi(r + x) - psi(r) + np.log(alpha) - here * np.log(alpha + age) - gone * np.log(alpha + recency),
        r / alpha - (r + x) * (here / (alpha + age) + gone / (alpha + recency)),
        psi(a + b) - psi(a + b + x) + gone / a,
        psi(a + b) + psi(b + x) - psi(b) - psi(a + b + x) - gone / (b + np.maximum(x, 1) - 1),
    )
    return float(weight @ value), np.array([weight @ slope for slope in slopes])
