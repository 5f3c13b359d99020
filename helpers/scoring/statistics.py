"""Means over cases with their bootstrap intervals; cases of one patient are drawn together."""

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

RESAMPLES, SEED = 4000, 7
MEASURES = {
    "liver_dice": "liver Dice", "tumour_dice": "tumour Dice", "macro_dice": "mean of both",
    "lesions_found_iou50": "lesions found, IoU > 0.5", "false_lesions": "false lesions",
}


def ratio(total, cases):
    """A statistic for `bootstrap_ci`: the sum of the first column by that of the second."""
    return total[..., 0] / total[..., 1]


def bootstrap_ci(values, statistic=lambda total, cases: total / cases, groups=None):
    """Low and high end of the 95 % bootstrap interval of a statistic over cases; nan with fewer
    than two groups of cases.

    It is scipy.stats.bootstrap's percentile interval, but resamples for which the statistic is not
    defined (no lesion of a size among them) are no part of it, where scipy has none at all.

    values     float (n,) or (n, k), a row per case.
    statistic  function of sums over the drawn cases (resamples,) or (resamples, k), and of how many
               were drawn, in a shape that divides the sums; their mean by default.
    groups     (n,) whose case each is: whole patients are drawn, with all their cases; None makes
               every case a patient.
    """
    values = np.asarray(values, float)
    groups = np.arange(len(values)) if groups is None else np.asarray(groups)
    number = np.unique(groups, return_inverse=True)[1]
    count = int(number.max(initial=-1)) + 1
    if count < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))
    cases = np.bincount(number)
    sums = np.zeros((count, *values.shape[1:]))
    np.add.at(sums, number, values)
    drawn_cases = cases[drawn].sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = statistic(sums[drawn].sum(1), drawn_cases.reshape(-1, *[1] * (values.ndim - 1)))
    if not np.isfinite(resampled).any():
        return float("nan"), float("nan")
    return tuple(float(end) for end in np.nanpercentile(resampled, [2.5, 97.5]))


def ci_keys(key, *values, **how):
    """`bootstrap_ci` as the keys low and high of a measure."""
    return dict(zip((f"{key}.low", f"{key}.high"), bootstrap_ci(*values, **how), strict=True))


def mean_with_ci(key, values, rule, groups):
    """The keys of one measure over cases: mean, low, high, median, cases, left_out (without value),
    rule.
    """
    values = np.asarray(values, float)
    defined = ~np.isnan(values)
    groups, values, left_out = np.asarray(groups)[defined], values[defined], int((~defined).sum())
    average, median = (values.mean(), np.median(values)) if len(values) else (np.nan, np.nan)
    return {f"{key}.mean": average} | ci_keys(key, values, groups=groups) | {
        f"{key}.median": median, f"{key}.cases": len(values), f"{key}.left_out": left_out,
        f"{key}.rule": rule,
    }


def unpredicted(cases):
    """bool (cases,): those without a usable prediction."""
    return cases.failed.fillna("").astype(str) != ""


def patients(cases):
    """Whose each case of a table is: its column `group` where it has one, else the case itself."""
    if "group" not in cases:
        return cases.case.astype(str)
    return cases.group.where(cases.group.fillna("").astype(str) != "", cases.case).astype(str)


def plain(value):
    """Numbers that JSON knows: no numpy types, None for nan and infinity."""
    if isinstance(value, (np.integer, int)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, (np.floating, float)):
        return round(float(value), 6) if np.isfinite(value) else None
    return value


def paired_difference(first, second, column):
    """Differences of one column per case, second less first, of the cases that both tables hold:
    dict of table (case, first, second, difference), mean, low, high (95 % bootstrap), p (Wilcoxon's
    signed-rank test over patients, two-sided; None when no case differs), cases, patients, better,
    worse.

    Raises ValueError when the two have no case in common.
    """
    table = first[["case", column]].merge(second[["case", column]], on="case")
    if table.empty:
        raise ValueError("the two runs have no case in common; score the same split of both")
    table.columns = ["case", "first", "second"]
    table["difference"] = table.second - table["first"]
    table = table.sort_values("case", kind="stable").reset_index(drop=True)
    change = table.difference.to_numpy(float)
    groups = patients(second).set_axis(second.case)[table.case].to_numpy()
    # the test takes its values for independent ones
    by_patient = table.difference.groupby(groups).mean()
    p = float(wilcoxon(by_patient).pvalue) if (by_patient != 0).any() else np.nan
    low, high = bootstrap_ci(change, groups=groups)
    numbers = {"low": low, "high": high, "mean": float(change.mean()), "p": p}
    numbers = {name: value if np.isfinite(value) else None for name, value in numbers.items()}
    counts = {"cases": len(table), "patients": len(by_patient)}
    counts |= {"better": int((change > 0).sum()), "worse": int((change < 0).sum())}
    return {"table": table} | numbers | counts


def holm(p):
    """Holm's correction of several tests' p (n,); nan where nothing was tested, and in the result.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    p = np.asarray(p, float)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # nan comes last
    out = np.full(len(p), np.nan)
    out[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return out


def side_by_side(first, second):
    """A row per measure: means of both, their difference with its interval and Wilcoxon's p."""
    rows = []
    # a missing prediction is no better than the worst
    worst = max(first.false_lesions.max(), second.false_lesions.max())
    first, second = (
        cases.assign(false_lesions=cases.false_lesions.mask(unpredicted(cases), worst))
        for cases in (first, second)
    )
    for column, name in MEASURES.items():
        paired = paired_difference(first, second, column)
        means = {side: paired["table"][side].mean() for side in ("first", "second")}
        names = ("low", "high", "p", "better", "worse", "cases")
        row = {"measure": name} | means | {"difference": paired["mean"]}
        rows.append(row | {key: paired[key] for key in names})
    return pd.DataFrame(rows)


def flat(rows, other):
    """The comparison as keys of the summary: `paired.tumour_dice.mean`, `.low`, `.high`, `.p`."""
    out = {"paired.with": other,
           "paired.rule": "this run less the other, per case; p is Wilcoxon's over patients, None "
           "when none differs"}
    for column, row in zip(MEASURES, rows.to_dict("records"), strict=True):
        for name in ("mean", "low", "high", "p"):
            out[f"paired.{column}.{name}"] = plain(row["difference" if name == "mean" else name])
    return out
