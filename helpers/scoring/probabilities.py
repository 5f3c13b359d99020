"""Whether probabilities mean what they say: of voxels that are given 0.8, 0.8 should be tumour."""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from helpers.scoring import metrics
from helpers.scoring.statistics import mean_with_ci, patients
from helpers.slices.pixels import PEAK

CALIBRATION_BINS = 10
UNCERTAINTY_RULE = (
    "voxels of the predicted liver; wrong where exactly one of reference and prediction is tumour; "
    "spread is the standard deviation of the tumour probability over four mirrored views, doubt "
    "the nearness of their mean to a half; the Spearman correlation is between a case's mean "
    "spread and 1 − tumour Dice, over cases with a spread"
)
AUC_RULE = "cases with probability maps, voxels of all cases together"
CALIBRATION_RULE = (
    "expected calibration error: mean over voxels of |share that is the organ − probability said|, "
    "in ten bins of probability; tumour: voxels of the reference liver; liver: all but those that "
    "are neither liver nor given any probability, which would dilute it to nothing; probabilities "
    "as the networks gave them, before smoothing along z; a mean over cases, those with such voxels"
)
# bins of the spread, a standard deviation of probabilities, at most 0.5
UNCERTAINTY_EDGES = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.51)


def reliability(levels, organ):
    """The probability that voxels of each bin were given, and what they are.

    levels   DataFrame of rows as `levels` gives them, of one case or of many.
    returns  DataFrame of the bins that hold voxels: bin (0 …), voxels, probability (their mean),
             share (that is the organ).
    """
    levels = levels[levels.organ == organ]
    levels = levels[(levels.label >= 1) | ((levels.level > 0) & (organ == "liver"))]
    n, true = levels.voxels, levels.label >= (2 if organ == "tumour" else 1)
    number = np.minimum(levels.level * CALIBRATION_BINS // PEAK, CALIBRATION_BINS - 1)
    sums = {"bin": number, "voxels": n, "probability": n * levels.level / PEAK, "share": n * true}
    sums = pd.DataFrame(sums).groupby("bin", as_index=False).sum()
    return sums.assign(probability=sums.probability / sums.voxels, share=sums.share / sums.voxels)


def calibration_error(bins):
    """Expected calibration error of a table of `reliability`; nan without voxels."""
    if not len(bins):
        return float("nan")
    wrong = (bins.share - bins.probability).abs()
    return float((bins.voxels * wrong).sum() / bins.voxels.sum())


def summarise(cases, levels):
    """The keys `<organ>.voxel_auc`, `<organ>.calibration_error` (all voxels together), `…_per_case`
    with its interval, and `<organ>.overconfidence`.

    overconfidence  mean probability less share of the organ, of the same voxels: above 0 the
                    network says it too often.
    """
    organs = levels.organ.unique()
    out = {f"{organ}.voxel_auc": curve(levels, organ)[2] for organ in organs}
    if "tumour" in organs:
        out["tumour.voxel_auc_in_liver"] = curve(levels, "tumour", within_liver=True)[2]
    out |= {"voxel_auc.rule": AUC_RULE, "voxel_auc.cases": int(levels.case.nunique())}
    out["calibration_error.rule"] = CALIBRATION_RULE
    by_case = levels.groupby("case")[list(levels)]
    for organ in organs:
        bins = reliability(levels, organ)
        voxels, too_much = bins.voxels.sum(), bins.voxels * (bins.probability - bins.share)
        out[f"{organ}.calibration_error"] = calibration_error(bins)
        out[f"{organ}.overconfidence"] = too_much.sum() / voxels if voxels else np.nan
        errors = by_case.apply(lambda one, organ=organ: calibration_error(reliability(one, organ)))
        out |= mean_with_ci(f"{organ}.calibration_error_per_case", errors.reindex(cases.case),
                            "cases with probability maps", patients(cases))
    return out


def levels(reference, evidence):
    """How many voxels of each label have each level of probability: all that a ROC curve needs.

    returns  list of dicts organ, label (0, 1, 2), level (0 … 255), voxels; levels without voxels
             are left out.
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
            label, level = divmod(int(i), 256)
            rows.append({"organ": organ, "label": label, "level": level, "voxels": int(counts[i])})
    return rows


def roc(positives, negatives):
    """ROC curve of a score in steps, from how often each value occurs.

    positives, negatives  counts (n_levels,), the lowest level first.
    returns               (false positive rate, true positive rate, area); both rates fall from 1 to
                          0. The area is nan when there are only positives or only negatives;
                          equal levels count one half, as in Mann and Whitney.
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
    return roc(*(np.bincount(index[side], minlength=len(values)) for side in (truth, ~truth)))


def curve(level_table, organ, within_liver=False):
    """`roc` of all cases' voxels; tumour against all else, or against the rest of the liver."""
    levels = level_table[level_table.organ == organ]
    if within_liver:
        levels = levels[levels.label > 0]
    return _roc_of_levels(levels, levels.label >= (1 if organ == "liver" else 2))


def _roc_of_levels(table, positive):
    """`roc` of rows with columns level and voxels, of which some are positive, bool (rows,)."""
    by_level = (table[side].groupby("level").voxels.sum() for side in (positive, ~positive))
    return roc(*(voxels.reindex(range(256), fill_value=0) for voxels in by_level))


def uncertainty_levels(reference, prediction, spread, likely):
    """How many right and wrong voxels of the predicted liver have each level of uncertainty.

    All are uint8 (z, y, x): labels, the spread, and the tumour probability.
    returns  list of dicts measure ("spread", or "doubt": 0 for a probability of 0 or 1, 255 for a
             half), level (0 … 255), wrong, voxels; levels without voxels are left out.
    """
    inside = prediction >= 1
    wrong = (prediction[inside] == 2) != (reference[inside] == 2)
    doubt = PEAK - np.abs(2 * likely[inside].astype(np.int16) - PEAK)
    rows = []
    for measure, values in (("spread", spread[inside]), ("doubt", doubt)):
        counts = np.bincount(values + 256 * wrong.astype(np.int64), minlength=512)
        for i in np.flatnonzero(counts):
            row = {"measure": measure, "level": int(i % 256), "wrong": bool(i // 256)}
            rows.append(row | {"voxels": int(counts[i])})
    return rows


def uncertainty_roc(table, measure):
    """`roc` of a measure as a detector of wrong voxels, all cases together."""
    levels = table[table.measure == measure]
    return _roc_of_levels(levels, levels.wrong.astype(bool))


def by_bin(table):
    """Spread in bins of UNCERTAINTY_EDGES: a DataFrame with low, high, voxels, wrong (voxels), rate
    (wrong of them), of_errors (of all wrong ones)."""
    spread = table[table.measure == "spread"]
    number = np.digitize(spread.level / PEAK, UNCERTAINTY_EDGES[1:-1])
    weights, bins = (spread.voxels, spread.voxels * spread.wrong), len(UNCERTAINTY_EDGES) - 1
    voxels, wrong = (np.bincount(number, weight, bins) for weight in weights)
    edges = {"low": UNCERTAINTY_EDGES[:-1], "high": UNCERTAINTY_EDGES[1:]}
    out = pd.DataFrame(edges | {"voxels": voxels, "wrong": wrong})
    rate = out.wrong / out.voxels.where(out.voxels > 0)
    return out.assign(rate=rate, of_errors=out.wrong / max(1, out.wrong.sum()))


def uncertainty_by_case(table):
    """Mean spread of every case, as a probability, a Series by case."""
    spread = table[table.measure == "spread"]
    total = (spread.level * spread.voxels / PEAK).groupby(spread.case).sum()
    return total / spread.voxels.groupby(spread.case).sum()


def against_dice(cases, table):
    """(Spearman's rho, its p, cases) of mean spread and 1 − tumour Dice; nan with fewer than three
    cases or no difference."""
    mean, dice = uncertainty_by_case(table), cases.set_index("case").tumour_dice
    both = pd.DataFrame({"mean": mean, "wrong": 1 - dice}).dropna()
    if len(both) < 3 or both.nunique().min() < 2:
        return float("nan"), float("nan"), len(both)
    correlation = spearmanr(both["mean"], both.wrong)
    return float(correlation.statistic), float(correlation.pvalue), len(both)


def uncertainty_summary(cases, table):
    """The keys `uncertainty.*` of the summary."""
    rho, p, n = against_dice(cases, table)
    return {
        "uncertainty.auc": uncertainty_roc(table, "spread")[2],
        "uncertainty.auc_of_doubt": uncertainty_roc(table, "doubt")[2],
        "uncertainty.spearman": rho, "uncertainty.spearman.p": p, "uncertainty.cases": n,
        "uncertainty.rule": UNCERTAINTY_RULE,
    }
