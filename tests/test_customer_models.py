"""Purchase and spend models against their definitions, done the slow way, and on customers with known parameters."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.integrate import quad
from scipy.special import betaln

from lifecycle.analytics import BgNbd, GammaGamma, ParetoNbd, bg_nbd, customer_value, gamma_gamma, pareto_nbd
from lifecycle.analytics.histories import Histories
from lifecycle.errors import DataError, UsageError

# Customers of one shop: silent, loyal, seen at the very end, bought often in a day, and first seen at the end.
HISTORIES = pd.DataFrame(
    {
        "consumer_id": ["a", "b", "c", "d", "e", "f"],
        "frequency": [0, 3, 12, 250, 1, 0],
        "recency": [0.0, 20.0, 38.0, 30.0, 39.0, 0.0],
        "T": [39.0, 38.0, 38.0, 39.0, 39.0, 0.0],
        "monetary": [np.nan, 20.0, 35.5, 4.0, 120.0, np.nan],
    }
)
BG = BgNbd(0.243, 4.414, 0.793, 2.426)
PARETO = ParetoNbd(0.553, 10.578, 0.606, 11.669)
SPEND = GammaGamma(6.25, 3.74, 15.44)


@pytest.mark.parametrize("model", [BG, BgNbd(0.5, 2.0, 1.0, 1.5)], ids=["cdnow", "a-is-1"])
def test_bg_nbd_conditional_purchases_are_the_mean_over_rate_and_dropout(model):
    # E[Y(t)] = P(alive) x the mean over lambda and p, given alive, of (1 - exp(-lambda p t)) / p.
    expected = []
    for x, age, alive in zip(HISTORIES["frequency"], HISTORIES["T"], model.p_alive(HISTORIES), strict=True):
        norm = betaln(model.a, model.b + x)

        def bought(p, x=x, age=age, norm=norm):
            gone = (1 + p * 26 / (model.alpha + age)) ** -(model.r + x)
            return (1 - gone) / p * np.exp((model.a - 1) * np.log(p) + (model.b + x - 1) * np.log1p(-p) - norm)

        expected.append(alive * quad(bought, 0, 1, epsabs=0, epsrel=1e-11, limit=400)[0])
    np.testing.assert_allclose(model.expected_purchases(HISTORIES, 26), expected, rtol=1e-6)


@pytest.mark.parametrize("model", [PARETO, ParetoNbd(0.5, 20.0, 1.0, 0.3)], ids=["cdnow", "s-is-1"])
def test_pareto_nbd_p_alive_is_the_share_of_the_likelihood(model):
    expected = []
    for x, recency, age in zip(HISTORIES["frequency"], HISTORIES["recency"], HISTORIES["T"], strict=True):

        def left(y, x=x, age=age):
            # Divided by the likelihood of still being there, so that nothing under- or overflows.
            purchase = (model.r + x) * np.log((model.alpha + age) / (model.alpha + y))
            leave = model.s * np.log(model.beta + age) - (model.s + 1) * np.log(model.beta + y)
            return model.s * np.exp(purchase + leave)

        expected.append(1 / (1 + quad(left, recency, age, epsabs=0, epsrel=1e-12, limit=500)[0]))
    np.testing.assert_allclose(model.p_alive(HISTORIES), expected, rtol=1e-9)


@pytest.mark.parametrize("power", [1.0, 0.606, 2.5])
def test_pareto_nbd_new_customer_purchases_are_the_integral_of_the_rate(power):
    model = ParetoNbd(0.553, 10.578, power, 11.669)
    rate = quad(lambda t: model.r / model.alpha * (model.beta / (model.beta + t)) ** power, 0, 52)[0]
    assert model.expected_repeats(52.0) == pytest.approx(rate, rel=1e-9)


@pytest.mark.parametrize("kind", ["bg_nbd", "pareto_nbd", "gamma_gamma"])
def test_gradients_are_the_slopes_of_the_likelihood(kind):
    at = {"bg_nbd": (0.3, 5.0, 0.9, 2.0), "pareto_nbd": (0.6, 9.0, 0.5, 12.0), "gamma_gamma": (5.0, 3.0, 20.0)}[kind]
    if kind == "gamma_gamma":
        bought = HISTORIES[HISTORIES["frequency"] > 0]
        given = (bought["frequency"].to_numpy(float), bought["monetary"].to_numpy())
        of = lambda parameters: gamma_gamma._log_likelihood(np.array(parameters), *given)  # noqa: E731 (one expression)
    else:
        seen = Histories.of(kind, HISTORIES)
        module = {"bg_nbd": bg_nbd, "pareto_nbd": pareto_nbd}[kind]
        of = lambda parameters: module._log_likelihood(np.array(parameters), seen)  # noqa: E731
    slope = of(at)[1]
    for place, value in enumerate(at):
        step = value * 1e-6
        up, down = (of([*at[:place], value + sign * step, *at[place + 1 :]])[0] for sign in (1, -1))
        assert slope[place] == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-6)


def test_likelihoods_are_finite_at_both_ends_of_what_a_customer_can_do():
    often = pd.DataFrame({"frequency": [1, 5000], "recency": [1e-3, 700.0], "T": [900.0, 700.0]})
    for model in (BG, PARETO):
        alive = model.p_alive(often)
        assert ((alive >= 0) & (alive <= 1)).all()
        assert np.isfinite(model.expected_purchases(often, 1000.0)).all()


def simulated(count, age=60.0):
    """Draw customers of a Pareto/NBD with r = 0.6, alpha = 8, s = 0.7, beta = 12."""
    draw = np.random.default_rng(20261123)
    rate, leave = draw.gamma(0.6, 1 / 8.0, count), draw.gamma(0.7, 1 / 12.0, count)
    life = np.minimum(draw.exponential(1 / leave), age)
    frequency = draw.poisson(rate * life)
    # The last of n purchases that fall evenly on a life.
    last = life * draw.random(count) ** (1 / np.maximum(frequency, 1))
    return pd.DataFrame({"frequency": frequency, "recency": np.where(frequency > 0, last, 0.0), "T": age})


def test_simulated_customers_give_their_parameters_back():
    summary = simulated(8000)
    found = ParetoNbd.fit(summary)
    true, _ = pareto_nbd._log_likelihood(np.array([0.6, 8.0, 0.7, 12.0]), Histories.of("", summary))
    # Twice the gain over the true parameters is chi-squared with 4 degrees of freedom: above 18.5 in 1 of 1,000.
    assert 0 < 2 * (found.log_likelihood - true) < 18.5
    known = ParetoNbd(0.6, 8.0, 0.7, 12.0)
    total = float(known.expected_purchases(summary, 30.0).sum())
    assert float(found.expected_purchases(summary, 30.0).sum()) == pytest.approx(total, rel=0.03)


def test_a_fit_does_not_depend_on_the_unit_or_the_order():
    weeks = simulated(1000)
    days = weeks.assign(recency=weeks["recency"] * 7, T=weeks["T"] * 7).sample(frac=1, random_state=1)
    one, other = BgNbd.fit(weeks), BgNbd.fit(days)
    assert (other.r, other.alpha / 7, other.a, other.b) == pytest.approx((one.r, one.alpha, one.a, one.b), rel=1e-3)


def test_amounts_lie_between_the_customers_own_mean_and_the_populations():
    amounts = SPEND.expected_amount(HISTORIES)
    population = SPEND.p * SPEND.gamma / (SPEND.q - 1)
    assert amounts[0] == pytest.approx(population)
    assert population > amounts[1] > 20.0
    assert amounts[3] == pytest.approx(4.0, rel=0.02)
    assert population < amounts[4] < 120.0


def test_value_is_purchases_times_amount_and_less_when_discounted():
    table = pa.Table.from_pandas(HISTORIES)
    plain = customer_value(table, BG, SPEND, horizon=52).to_pandas()
    assert isinstance(customer_value(HISTORIES, BG, horizon=1), pd.DataFrame)
    np.testing.assert_allclose(plain["value"], plain["expected_purchases"] * plain["expected_amount"])
    less = customer_value(table, BG, SPEND, horizon=52, discount=0.002).to_pandas()
    assert (less["value"] < plain["value"]).all()
    assert (less["value"] > plain["value"] * 1.002**-52).all()
    assert plain["consumer_id"].tolist() == HISTORIES["consumer_id"].tolist()


def test_a_silent_customers_likelihood_is_the_chance_of_no_purchase():
    silent = pd.DataFrame({"frequency": [0], "recency": [0.0], "T": [10.0]})
    value, _ = bg_nbd._log_likelihood(
        np.array([0.243, 4.414, 0.793, 2.426]), Histories(*silent.to_numpy(float).T, np.ones(1))
    )
    assert value == pytest.approx(0.243 * np.log(4.414 / 14.414))


@pytest.mark.parametrize("model", [BgNbd, ParetoNbd])
def test_what_cannot_be_fitted_says_what_to_do(model):
    once = pd.DataFrame({"frequency": [0, 0], "recency": [0.0, 0.0], "T": [5.0, 9.0]})
    with pytest.raises(DataError, match="of 2 customers none has one"):
        model.fit(once)
    clockwork = pd.DataFrame({"frequency": [10] * 50, "recency": [10.0] * 50, "T": [10.0] * 50})
    with pytest.raises(DataError, match="too much alike"):
        model.fit(clockwork)
    with pytest.raises(DataError, match="row 1 has frequency 0, recency 2"):
        model.fit(pd.DataFrame({"frequency": [1, 0], "recency": [1.0, 2.0], "T": [5.0, 9.0]}))
    with pytest.raises(DataError, match="no column 'T'"):
        model.fit(pd.DataFrame({"frequency": [1], "recency": [1.0]}))


def test_spend_needs_repeat_purchases_and_a_horizon_lies_ahead():
    with pytest.raises(DataError, match="of 1 there are 0"):
        GammaGamma.fit(HISTORIES.iloc[[0]])
    with pytest.raises(UsageError, match="horizon is 0"):
        customer_value(HISTORIES, BG, horizon=0)
    with pytest.raises(UsageError, match="discount is -1"):
        customer_value(HISTORIES, BG, horizon=1, discount=-1)


def test_purchases_of_a_day_are_one_and_the_first_is_no_repeat():
    from lifecycle.analytics import purchase_summary

    made = purchase_summary(
        pa.table(
            {
                "who": ["b", "a", "a", "a", "a", "c"],
                "at": pa.array(
                    # 23:30 UTC of the 3rd is already the 4th in Berlin; the 11th is after the observation.
                    [
                        "2025-03-01T10:00",
                        "2025-03-01T09:00",
                        "2025-03-03T23:30",
                        "2025-03-04T08:00",
                        "2025-03-11T00:00",
                        "2025-03-11T00:00",
                    ],
                    pa.string(),
                )
                .cast(pa.timestamp("us"))
                .cast(pa.timestamp("us", "UTC")),
                "cents": [500, 100, 300, 500, 900, 1],
            }
        ),
        observation_end=date(2025, 3, 10),
        key="who",
        time="at",
        amount="cents",
        unit_days=1,
        time_zone="Europe/Berlin",
    )
    assert made.to_pylist() == [
        {"who": "a", "frequency": 1, "recency": 3.0, "T": 9.0, "monetary": 800.0},
        {"who": "b", "frequency": 0, "recency": 0.0, "T": 9.0, "monetary": None},
    ]


def test_transactions_of_nobody_are_refused():
    from lifecycle.analytics import purchase_summary

    given = pd.DataFrame({"consumer_id": ["a", None], "event_timestamp": [pd.Timestamp("2025-03-01")] * 2})
    with pytest.raises(DataError, match="1 of 2 transactions have no consumer_id"):
        purchase_summary(given, observation_end=date(2025, 3, 10))
    with pytest.raises(UsageError, match="unit_days is 0"):
        purchase_summary(given, observation_end=date(2025, 3, 10), unit_days=0)
