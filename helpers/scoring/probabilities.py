"""Whether probabilities mean what they say: of voxels that are given 0.8, 0.8 should be tumour."""

import numpy as np
import pandas as pd

from helpers.scoring import metrics
from helpers.scoring.statistics import mean_with_ci, patients
from helpers.slices.pixels import PEAK

CALIBRATION_BINS = 10
UNCERTAINTY_RULE = (
    "voxels of the predicted liver; wrong where exactly one of reference and prediction is tumour; spread is the standard "
    "deviation of the tumour probability over four mirrored views, doubt the nearness of their mean to a half; the Spearman "
    "correlation is between a case's mean spread and 1 − tumour Dice, over cases with a spread"
)
CALIBRATION_RULE = (
    "expected calibration error: mean over voxels of |share that is the organ − probability said|, in ten bins of probability; "
    "tumour: voxels of the reference liver; liver: all but those that are neither liver nor given any probability, which would "
    "dilute it to nothing; probabilities as the networks gave them, before smoothing along z; a mean over cases, those with "
    "such voxels"
)
UNCERTAINTY_EDGES = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.51)  # bins of the spread, a standard deviation of probabilities, at most 0.5


def reliability(levels, organ, bins=CALIBRATION_BINS):
    """What voxels of each bin of probability were said to be, and what they are.

    levels   DataFrame as `attribution.levels` gives it, of one case or of many.
    returns  DataFrame of the bins that hold voxels: bin (0 …), voxels, probability (their mean), share (that is the organ).
    """
    part = levels[levels.organ == organ]
    if organ == "tumour":
        part = part[part.label >= 1]
        true = part.label == 2
    else:
        true = part.label >= 1
        part, true = part[true | (part.level > 0)], true[true | (part.level > 0)]
    number = np.minimum(part.level * bins // PEAK, bins - 1)
    n = part.voxels
    sums = pd.DataFrame({"bin": number, "voxels": n, "probability": n * part.level / PEAK, "share": n * true})
    sums = sums.groupby("bin", as_index=False).sum()
    return sums.assign(probability=sums.probability / sums.voxels, share=sums.share / sums.voxels)


def calibration_error(bins):
    """Expected calibration error of a table of `reliability`; nan without voxels."""
    return float((bins.voxels * (bins.share - bins.probability).abs()).sum() / bins.voxels.sum()) if len(bins) else float("nan")


def calibration_by_case(levels, organ):
    """Expected calibration error of every case that has probabilities, a Series by case."""
    return levels.groupby("case")[list(levels)].apply(lambda part: calibration_error(reliability(part, organ))).astype(float)


def calibration_summary(cases, levels):
    """The keys `<organ>.calibration_error` (all voxels together), `…_per_case` with its interval, and `<organ>.overconfidence`.

    overconfidence  mean probability less share of the organ, of the same voxels: above 0 the network says it too often.
    """
    out = {"calibration_error.rule": CALIBRATION_RULE}
    for organ in levels.organ.unique():
        bins = reliability(levels, organ)
        voxels = bins.voxels.sum()
        out[f"{organ}.calibration_error"] = calibration_error(bins)
        out[f"{organ}.overconfidence"] = (bins.voxels * (bins.probability - bins.share)).sum() / voxels if voxels else np.nan
        per_case = calibration_by_case(levels, organ).reindex(cases.case)
        out |= mean_with_ci(f"{organ}.calibration_error_per_case", per_case, "cases with probability maps", patients(cases))
    return out


def levels(reference, evidence):
    """How many voxels of each label have each level of probability: all that a ROC curve needs.

    returns  list of dicts organ, label (0, 1, 2), level (0 … 255), voxels; levels without voxels are left out.
    """
    rows = []
    for organ in metrics.CLASSES:
        likely = getattr(evidence, organ)
        if likely is None:
            continue
        counts = np.zeros(3 * 256, np.int64)
        for truth, plane in zip(reference, likely, strict=True):
            counts += np.bincount((truth.astype(np.int16) * 256 + plane).ravel(), minlength=3 * 256)
        for i in np.flatnonzero(counts):
            rows.append({"organ": organ, "label": int(i // 256), "level": int(i % 256), "voxels": int(counts[i])})
    return rows


def roc(positives, negatives):
    """ROC curve of a score in steps, from how often each value occurs.

    positives, negatives  counts (n_levels,), the lowest level first.
    returns               (false positive rate, true positive rate, area); both rates fall from 1 to 0. The area is nan when
                          there are only positives or only negatives; equal levels count one half, as in Mann and Whitney.
    """
    positives, negatives = np.asarray(positives, float), np.asarray(negatives, float)
    if not positives.sum() or not negatives.sum():
        return np.array([1.0, 0.0]), np.array([1.0, 0.0]), float("nan")
    tpr = np.append(positives[::-1].cumsum()[::-1] / positives.sum(), 0.0)
    fpr = np.append(negatives[::-1].cumsum()[::-1] / negatives.sum(), 0.0)
    return fpr, tpr, float(-(np.diff(fpr) * (tpr[1:] + tpr[:-1])).sum() / 2)


def roc_of_scores(truth, scores):
    """`roc` for single scores: truth bool (n,), scores float (n,)."""
    values, index = np.unique(np.asarray(scores, float), return_inverse=True)
    truth = np.asarray(truth, bool)
    return roc(*(np.bincount(index[which], minlength=len(values)) for which in (truth, ~truth)))


def curve(level_table, organ, within_liver=False):
    """ROC curve (`attribution.roc`) of all cases' voxels; tumour against all else, or against the rest of the liver."""
    part = level_table[level_table.organ == organ]
    if within_liver:
        part = part[part.label > 0]
    positive = part.label >= (1 if organ == "liver" else 2)
    counts = (part[p].groupby("level").voxels.sum().reindex(range(256), fill_value=0) for p in (positive, ~positive))
    return roc(*counts)


def uncertainty_levels(reference, prediction, spread, likely):
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


def uncertainty_roc(table, measure):
    """`attribution.roc` of a measure as a detector of wrong voxels, all cases together."""
    part = table[table.measure == measure]
    by = [part[part.wrong == wrong].groupby("level").voxels.sum().reindex(range(256), fill_value=0) for wrong in (True, False)]
    return roc(*by)


def by_bin(table):
    """Spread in bins of EDGES: a DataFrame with low, high, voxels, wrong (voxels), rate (wrong of them), of_errors (of all)."""
    part = table[table.measure == "spread"]
    number = np.digitize(part.level / PEAK, UNCERTAINTY_EDGES[1:-1])
    count = [np.bincount(number, weights=part.voxels * keep, minlength=len(UNCERTAINTY_EDGES) - 1) for keep in (1, part.wrong)]
    out = pd.DataFrame({"low": UNCERTAINTY_EDGES[:-1], "high": UNCERTAINTY_EDGES[1:], "voxels": count[0], "wrong": count[1]})
    return out.assign(rate=out.wrong / out.voxels.where(out.voxels > 0), of_errors=out.wrong / max(1, out.wrong.sum()))


def uncertainty_by_case(table):
    """Mean spread of every case, as a probability, a Series by case."""
    part = table[table.measure == "spread"]
    sums = pd.DataFrame({"case": part.case, "sum": part.level * part.voxels / PEAK, "voxels": part.voxels}).groupby("case").sum()
    return sums["sum"] / sums.voxels


def against_dice(cases, table):
    """(Spearman's rho, its p, cases) of mean spread and 1 − tumour Dice; nan with fewer than three cases or no difference."""
    from scipy.stats import spearmanr

    mean, dice = uncertainty_by_case(table), cases.set_index("case").tumour_dice
    both = pd.DataFrame({"mean": mean, "wrong": 1 - dice}).dropna()
    if len(both) < 3 or both.nunique().min() < 2:
        return float("nan"), float("nan"), len(both)
    found = spearmanr(both["mean"], both.wrong)
    return float(found.statistic), float(found.pvalue), len(both)


def uncertainty_summary(cases, table):
    """The keys `uncertainty.*` of the summary."""
    rho, p, n = against_dice(cases, table)
    return {
        "uncertainty.auc": uncertainty_roc(table, "spread")[2], "uncertainty.auc_of_doubt": uncertainty_roc(table, "doubt")[2],
        "uncertainty.spearman": rho, "uncertainty.spearman.p": p, "uncertainty.cases": n, "uncertainty.rule": UNCERTAINTY_RULE,
    }  # fmt: skip
