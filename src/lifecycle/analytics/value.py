"""What each customer is expected to buy and to be worth, from a purchase model and a spend model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lifecycle.analytics.tables import frame, like
from lifecycle.errors import UsageError

if TYPE_CHECKING:
    from lifecycle.analytics.bg_nbd import BgNbd
    from lifecycle.analytics.gamma_gamma import GammaGamma
    from lifecycle.analytics.pareto_nbd import ParetoNbd

MOST_STEPS = 10_000


def customer_value(
    summary: Any,
    purchases: BgNbd | ParetoNbd,
    spend: GammaGamma | None = None,
    *,
    horizon: float,
    discount: float = 0.0,
    key: str = "consumer_id",
) -> Any:
    """
    Score each customer of a summary over the next `horizon` units of time.

    summary: of `purchase_summary`, with `monetary` where a spend model is given. discount: the rate per unit of time, 0
    for none; purchases of each unit count as made at its end.

    Returns, in the summary's kind of table and order: the key, `p_alive` (at T), `expected_purchases` in the horizon,
    and with a spend model `expected_amount` per purchase and `value`, the discounted expected amounts of the horizon,
    in the amount's unit. Revenue, not margin.
    """
    if not horizon > 0 or horizon > MOST_STEPS:
        raise UsageError(
            f"horizon is {horizon}; it must be above 0 and at most {MOST_STEPS} units of the summary's time."
        )
    if discount < 0:
        raise UsageError(f"discount is {discount}; it must be 0 or more per unit of time, such as 0.002 per week.")
    made = pd.DataFrame({key: frame(summary, [key])[key]})
    made["p_alive"] = purchases.p_alive(summary)
    made["expected_purchases"] = purchases.expected_purchases(summary, horizon)
    if spend is not None:
        made["expected_amount"] = spend.expected_amount(summary)
        counted = made["expected_purchases"] if discount == 0 else _discounted(purchases, summary, horizon, discount)
        made["value"] = counted * made["expected_amount"]
    return like(summary, made)


def _discounted(purchases: BgNbd | ParetoNbd, summary: Any, horizon: float, discount: float) -> Any:
    ends = [*np.arange(1.0, horizon), horizon]
    total: Any = 0.0
    before: Any = 0.0
    for end in ends:
        until = purchases.expected_purchases(summary, float(end))
        total = total + (until - before) * (1 + discount) ** -end
        before = until
    return total
