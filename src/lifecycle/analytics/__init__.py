"""
Models of a customer base, survival curves and state-transition matrices: Arrow or pandas in, the same out.

`purchase_summary` makes of transactions what the purchase models read; `BgNbd`, `ParetoNbd` and `GammaGamma` are
fitted by maximum likelihood; `customer_value` scores with them, and `score` does all of it at a midnight. docs/value.md
has worked examples on published data.
"""

from __future__ import annotations

from lifecycle.analytics.bg_nbd import BgNbd
from lifecycle.analytics.gamma_gamma import GammaGamma
from lifecycle.analytics.pareto_nbd import ParetoNbd
from lifecycle.analytics.scoring import Scores, score
from lifecycle.analytics.summary import purchase_summary
from lifecycle.analytics.survival import kaplan_meier, quantile_time
from lifecycle.analytics.transitions import exits, matrix, steps
from lifecycle.analytics.value import customer_value

__all__ = [
    "BgNbd",
    "GammaGamma",
    "ParetoNbd",
    "Scores",
    "customer_value",
    "exits",
    "kaplan_meier",
    "matrix",
    "purchase_summary",
    "quantile_time",
    "score",
    "steps",
]
