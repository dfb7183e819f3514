"""
CDNOW's 2,357 customers: predicted against actual repeat purchases, in numbers and as docs/img/cdnow-holdout.png.

    LIFECYCLE_REAL_DATA=... python benchmarks/cdnow_holdout.py

Weeks; purchases of a day are one; calibration 1997-01-01 to 1997-09-30, holdout the 39 weeks to 1998-06-30.
"""

from __future__ import annotations

import os
import time
from datetime import date
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

from lifecycle.analytics import BgNbd, GammaGamma, ParetoNbd, purchase_summary

mpl.use("Agg")
from matplotlib import pyplot as plt

START, CALIBRATION = pd.Timestamp("1997-01-01"), date(1997, 9, 30)
CALIBRATION_WEEKS, HOLDOUT_WEEKS = 39, 39
MOST = 7
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "img" / "cdnow-holdout.png"
COLOURS = {"BG/NBD": "#0072b2", "Pareto/NBD": "#d55e00"}


def read(name, columns):
    path = Path(os.environ["LIFECYCLE_REAL_DATA"]) / "cdnow" / name
    table = pd.read_csv(path, sep=r"\s+", header=None, skiprows=int("master" in name), names=columns)
    return table.assign(day=pd.to_datetime(table["day"], format="%Y%m%d"))


def main():
    sample = read("CDNOW_sample.txt", ["master_id", "customer", "day", "cds", "dollars"])
    summary = purchase_summary(sample, observation_end=CALIBRATION, key="customer", time="day", amount="dollars")
    models = {"BG/NBD": BgNbd.fit(summary), "Pareto/NBD": ParetoNbd.fit(summary)}
    days = sample.drop_duplicates(["customer", "day"])
    first = days.groupby("customer")["day"].min()
    weeks = np.arange(1, CALIBRATION_WEEKS + HOLDOUT_WEEKS + 1)
    repeats = days[days["day"] > days["customer"].map(first)]
    actual = np.array([(repeats["day"] < START + pd.Timedelta(weeks=int(week))).sum() for week in weeks])
    begun = ((first - START).dt.days / 7).to_numpy()
    tracked = {
        name: np.array([model.expected_repeats(np.maximum(week - begun, 0)).sum() for week in weeks])
        for name, model in models.items()
    }
    held = days[days["day"] > pd.Timestamp(CALIBRATION)].groupby("customer").size()
    after = held.reindex(summary["customer"], fill_value=0).to_numpy()
    bins = np.minimum(summary["frequency"], MOST)
    means = pd.DataFrame({"actual": after}).assign(
        **{name: model.expected_purchases(summary, float(HOLDOUT_WEEKS)) for name, model in models.items()}
    )
    report(models, means, bins, actual, tracked)
    draw(weeks, actual, tracked, means.groupby(bins).mean())
    whole()


def report(models, means, bins, actual, tracked):
    for name, model in models.items():
        print(name, model)
    print(means.groupby(bins).agg("mean").round(3).assign(customers=bins.value_counts()))
    totals = means.sum()
    print("holdout totals", totals.round(1).to_dict(), (totals / totals["actual"] - 1).round(4).to_dict())
    for name in models:
        for week in (CALIBRATION_WEEKS, CALIBRATION_WEEKS + HOLDOUT_WEEKS):
            told, true = tracked[name][week - 1], actual[week - 1]
            print(f"{name} by week {week}: {told:.0f} of {true} ({told / true - 1:+.1%})")
        print(name, "mean absolute error per customer", round(float((means[name] - means["actual"]).abs().mean()), 3))
        print(name, "correlation", round(float(np.corrcoef(means[name], means["actual"])[0, 1]), 3))


def draw(weeks, actual, tracked, by_count):
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), dpi=110)
    left.plot(weeks, actual, color="black", label="actual")
    for name, expected in tracked.items():
        left.plot(weeks, expected, color=COLOURS[name], linestyle="--", label=name)
    left.axvline(CALIBRATION_WEEKS, color="grey", linewidth=0.8)
    left.text(CALIBRATION_WEEKS + 1, 120, "holdout", color="grey")
    left.set(xlabel="week since 1997-01-01", ylabel="repeat purchases so far", title="2,357 customers")
    left.legend(frameon=False)
    places = np.arange(MOST + 1)
    right.bar(places - 0.27, by_count["actual"], 0.27, color="black", label="actual")
    for step, name in enumerate(tracked):
        right.bar(places + 0.27 * step, by_count[name], 0.27, color=COLOURS[name], label=name)
    right.set_xticks(places, [*map(str, range(MOST)), f"{MOST}+"])
    right.set(xlabel="repeat purchases in the 39 weeks before", ylabel="mean per customer", title="39 weeks of holdout")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Software": None})
    print("written to", PICTURE, PICTURE.stat().st_size, "bytes")


def whole():
    table = read("CDNOW_master.txt", ["customer", "day", "cds", "dollars"])
    begun = time.perf_counter()
    summary = purchase_summary(table, observation_end=CALIBRATION, key="customer", time="day", amount="dollars")
    print(f"{len(summary)} customers summarised in {time.perf_counter() - begun:.2f} s")
    for model in (BgNbd, ParetoNbd, GammaGamma):
        begun = time.perf_counter()
        found = model.fit(summary)
        print(f"{time.perf_counter() - begun:.2f} s", found)


if __name__ == "__main__":
    main()
