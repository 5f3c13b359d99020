"""Whether the network knows where it is wrong: the spread over mirrored views against wrong voxels of the predicted liver."""

import numpy as np
import pandas as pd

from helpers import attribution
from helpers.components import PEAK

EDGES = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.51)  # bins of the spread, a standard deviation of probabilities, at most 0.5
RULE = (
    "voxels of the predicted liver; wrong where exactly one of reference and prediction is tumour; spread is the standard "
    "deviation of the tumour probability over four mirrored views, doubt the nearness of their mean to a half; the Spearman "
    "correlation is between a case's mean spread and 1 − tumour Dice, over cases with a spread"
)


def levels(reference, prediction, spread, likely):
    """How many right and wrong voxels of the predicted liver have each level of two measures of uncertainty.

    All are uint8 (z, y, x): labels, the spread, and the tumour probability.
    returns  list of dicts measure ("spread", or "doubt": 0 for a probability of 0 or 1, 255 for a half), level (0 … 255), wrong,
             voxels; levels without voxels are left out.
    """
    inside = prediction >= 1
    wrong = (prediction[inside] == 2) != (reference[inside] == 2)
    doubt = PEAK - np.abs(2 * likely[inside].astype(np.int16) - PEAK)
    rows = []
    for measure, values in (("spread", spread[inside]), ("doubt", doubt)):
        counts = np.bincount(values + 256 * wrong.astype(np.int64), minlength=512)
        rows += [
            {"measure": measure, "level": int(i % 256), "wrong": bool(i // 256), "voxels": int(counts[i])}
            for i in np.flatnonzero(counts)
        ]
    return rows


def roc(table, measure):
    """`attribution.roc` of a measure as a detector of wrong voxels, all cases together."""
    part = table[table.measure == measure]
    by = [part[part.wrong == wrong].groupby("level").voxels.sum().reindex(range(256), fill_value=0) for wrong in (True, False)]
    return attribution.roc(*by)


def by_bin(table):
    """Spread in bins of EDGES: a DataFrame with low, high, voxels, wrong (voxels), rate (wrong of them), of_errors (of all)."""
    part = table[table.measure == "spread"]
    number = np.digitize(part.level / PEAK, EDGES[1:-1])
    count = [np.bincount(number, weights=part.voxels * keep, minlength=len(EDGES) - 1) for keep in (1, part.wrong)]
    out = pd.DataFrame({"low": EDGES[:-1], "high": EDGES[1:], "voxels": count[0], "wrong": count[1]})
    return out.assign(rate=out.wrong / out.voxels.where(out.voxels > 0), of_errors=out.wrong / max(1, out.wrong.sum()))


def by_case(table):
    """Mean spread of every case, as a probability, a Series by case."""
    part = table[table.measure == "spread"]
    sums = pd.DataFrame({"case": part.case, "sum": part.level * part.voxels / PEAK, "voxels": part.voxels}).groupby("case").sum()
    return sums["sum"] / sums.voxels


def against_dice(cases, table):
    """(Spearman's rho, its p, cases) of mean spread and 1 − tumour Dice; nan with fewer than three cases or no difference."""
    from scipy.stats import spearmanr

    mean, dice = by_case(table), cases.set_index("case").tumour_dice
    both = pd.DataFrame({"mean": mean, "wrong": 1 - dice}).dropna()
    if len(both) < 3 or both.nunique().min() < 2:
        return float("nan"), float("nan"), len(both)
    found = spearmanr(both["mean"], both.wrong)
    return float(found.statistic), float(found.pvalue), len(both)


def summarise(cases, table):
    """The keys `uncertainty.*` of the summary."""
    rho, p, n = against_dice(cases, table)
    return {
        "uncertainty.auc": roc(table, "spread")[2], "uncertainty.auc_of_doubt": roc(table, "doubt")[2],
        "uncertainty.spearman": rho, "uncertainty.spearman.p": p, "uncertainty.cases": n, "uncertainty.rule": RULE,
    }  # fmt: skip
