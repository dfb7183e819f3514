"""
Pareto/NBD: purchases as a Poisson process until a customer drops out at any moment.

Schmittlein, Morrison & Colombo (1987), "Counting your customers", Management Science 33(1); notation of Fader & Hardie
(2005), "A note on deriving the Pareto/NBD model". While alive, a customer buys at rate lambda ~ Gamma(r, alpha), and
leaves at rate mu ~ Gamma(s, beta). Times are in the unit of the summary.

The likelihood of one customer is Gamma(r+x)/Gamma(r) alpha^r beta^s times the sum of two positive terms,

    alive   (alpha+T)^-(r+x) (beta+T)^-s
    left    s * integral over y from recency to T of (alpha+y)^-(r+x) (beta+y)^-(s+1)

The textbook writes the integral as a difference of two hypergeometric functions, which cancel where recency is near T
and overflow for frequent buyers. Here it is taken by Gauss-Legendre nodes in ln(min(alpha, beta) + y), in logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, gammaln, logsumexp, psi

from lifecycle.analytics.fitting import maximize
from lifecycle.analytics.histories import Histories

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(48)
NEGLIGIBLE = 40.0  # e-folds below its greatest value at which the integrand no longer counts: e^-40 is 4e-18
NEAR_ONE = 1e-9


@dataclass(frozen=True)
class ParetoNbd:
    """A fitted Pareto/NBD model: its four parameters, and how well and on how many customers it was fitted."""

    r: float
    alpha: float
    s: float
    beta: float
    log_likelihood: float = float("nan")
    customers: int = 0

    @classmethod
    def fit(cls, summary: Any) -> ParetoNbd:
        """
        Fit by maximum likelihood to a purchase summary (`frequency`, `recency`, `T`).

        Raises DataError where the data cannot tell the parameters.
        """
        seen = Histories.of("Pareto/NBD", summary)
        rate = seen.repeats_per_time()
        age = float(seen.weight @ seen.age / seen.customers)
        starts = [(1.0, 1.0 / rate, 1.0, age), (0.5, 0.5 / rate, 0.5, age / 4)]
        names = ("r", "alpha", "s", "beta")
        (r, alpha, s, beta), best = maximize(
            "Pareto/NBD", names, lambda given: _log_likelihood(given, seen), starts, seen.customers
        )
        return cls(r, alpha, s, beta, best, seen.customers)

    def p_alive(self, summary: Any) -> Floats:
        """Return, per row of the summary, the probability that the customer has not dropped out by T."""
        return self._alive(*Histories.columns("Pareto/NBD", summary))

    def expected_purchases(self, summary: Any, time: float) -> Floats:
        """Return, per row, the purchases expected in the `time` units after T (equation 41 of the note)."""
        x, recency, age = Histories.columns("Pareto/NBD", summary)
        return self._alive(x, recency, age) * self._while_alive(x, age, time)

    def expected_repeats(self, time: ArrayLike) -> Floats:
        """Return the repeat purchases expected of a new customer by each `time` since the first."""
        times = np.asarray(time, dtype=float)
        return self._while_alive(np.zeros_like(times), np.zeros_like(times), times)

    def _alive(self, x: Floats, recency: Floats, age: Floats) -> Floats:
        given = np.array([self.r, self.alpha, self.s, self.beta])
        odds = [
            _still(given, part.x, part.age) - _Left(given, part.x, part.recency, part.age).log
            for part in Histories(x, recency, age, np.ones_like(x)).pieces()
        ]
        alive: Floats = expit(np.concatenate([*odds, []]))
        return alive

    def _while_alive(self, x: Floats, age: Floats, time: float | Floats) -> Floats:
        longer = np.log1p(time / (self.beta + age))
        power = self.s - 1
        share = longer if abs(power) < NEAR_ONE else -np.expm1(-power * longer) / power
        return (self.r + x) * (self.beta + age) / (self.alpha + age) * share


class _Left:
    """The second term of the likelihood in logarithms, and the means its gradient needs."""

    def __init__(self, parameters: Floats, x: Floats, recency: Floats, age: Floats) -> None:
        r, alpha, s, beta = parameters
        least = min(alpha, beta)
        # Past this point the integrand has fallen by e^-40, so that all nodes lie where it counts.
        far = (alpha + recency) * np.exp(np.minimum(NEGLIGIBLE / (r + x), 700.0)) - alpha
        low, high = np.log(least + recency), np.log(least + np.maximum(np.minimum(age, far), recency))
        half = (high - low) / 2
        steps = half[:, None] * (NODES + 1)
        y = recency[:, None] + (least + recency[:, None]) * np.expm1(steps)
        self.purchase, self.leave = np.log(alpha + y), np.log(beta + y)
        self.alpha_y, self.beta_y = 1 / (alpha + y), 1 / (beta + y)
        terms = low[:, None] + steps - (r + x)[:, None] * self.purchase - (s + 1) * self.leave + np.log(WEIGHTS)
        most = logsumexp(terms, axis=1)
        with np.errstate(divide="ignore"):  # seen at the very end of the observation: nothing to integrate
            self.log = np.log(s) + np.log(half) + most
        self.share = np.exp(terms - most[:, None])

    def mean(self, values: Floats) -> Floats:
        """Return the mean of a quantity of y, weighed by the integrand."""
        means: Floats = np.einsum("ij,ij->i", self.share, values)
        return means


def _still(parameters: Floats, x: Floats, age: Floats) -> Floats:
    r, alpha, s, beta = parameters
    term: Floats = -(r + x) * np.log(alpha + age) - s * np.log(beta + age)
    return term


def _log_likelihood(parameters: Floats, seen: Histories) -> tuple[float, Floats]:
    """Return the log-likelihood summed over customers, and its gradient."""
    parts = [_of_piece(parameters, part) for part in seen.pieces()]
    return sum(value for value, _ in parts), np.sum([slope for _, slope in parts], axis=0)


def _of_piece(parameters: Floats, seen: Histories) -> tuple[float, Floats]:
    r, alpha, s, beta = parameters
    x, age, weight = seen.x, seen.age, seen.weight
    still, left = _still(parameters, x, age), _Left(parameters, x, seen.recency, age)
    either = np.logaddexp(still, left.log)
    here = np.exp(still - either)
    gone = 1 - here
    value = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta) + either
    slopes = (
        psi(r + x) - psi(r) + np.log(alpha) - here * np.log(alpha + age) - gone * left.mean(left.purchase),
        r / alpha - (r + x) * (here / (alpha + age) + gone * left.mean(left.alpha_y)),
        np.log(beta) - here * np.log(beta + age) + gone * (1 / s - left.mean(left.leave)),
        s / beta - here * s / (beta + age) - gone * (s + 1) * left.mean(left.beta_y),
    )
    return float(weight @ value), np.array([weight @ slope for slope in slopes])
