"""Means over cases with their bootstrap intervals; cases of one patient are drawn together."""

import numpy as np

RESAMPLES, SEED = 4000, 7
MEASURES = {
    "liver_dice": "liver Dice", "tumour_dice": "tumour Dice", "macro_dice": "mean of both",
    "lesions_found_iou50": "lesions found, IoU > 0.5", "false_lesions": "false lesions",
}  # fmt: skip


def mean(total, cases):
    """The statistic that `interval` takes when no other is named: the sum over cases by their number."""
    return total / cases


def ratio(total, cases):
    """A statistic for `interval`: the sum of the first column by that of the second."""
    return total[..., 0] / total[..., 1]


def bootstrap_ci(values, statistic=mean, groups=None):
    """Low and high end of the 95 % bootstrap interval of a statistic over cases; nan with fewer than two groups of cases.

    values     float (n,) or (n, k), a row per case.
    statistic  function of sums over the drawn cases (resamples,) or (resamples, k), and of how many were drawn, in a shape that
               divides the sums.
    groups     (n,) whose case each is: whole patients are drawn, with all their cases; None makes every case a patient.
    """
    values = np.asarray(values, float)
    number = np.arange(len(values)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    count = int(number.max(initial=-1)) + 1
    if count < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))
    cases = np.bincount(number)
    sums = np.zeros((count, *values.shape[1:]))
    np.add.at(sums, number, values)
    drawn_cases = cases[drawn].sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = statistic(sums[drawn].sum(1), drawn_cases.reshape(-1, *[1] * (values.ndim - 1)))
    return tuple(float(q) for q in np.nanpercentile(found, [2.5, 97.5])) if np.isfinite(found).any() else (float("nan"),) * 2


def mean_with_ci(key, values, rule, groups=None):
    """The keys of one measure over cases: mean, low, high, median, number of cases, how many had no value, rule.

    groups  (n,) whose case each value is, as `interval` takes them.
    """
    values = np.asarray(values, float)
    there = ~np.isnan(values)
    groups = None if groups is None else np.asarray(groups)[there]
    values, left_out = values[there], int((~there).sum())
    low, high = bootstrap_ci(values, groups=groups)
    middle = (values.mean(), np.median(values)) if len(values) else (np.nan, np.nan)
    numbers = {"mean": middle[0], "low": low, "high": high, "median": middle[1], "cases": len(values), "left_out": left_out}
    return {f"{key}.{name}": number for name, number in numbers.items()} | {f"{key}.rule": rule}


def patients(cases):
    """Whose each case of a table is, for `interval`: its column `group` where there is one, else the case itself."""
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
    """Differences of one column per case, second less first.

    first, second  tables of cases; only cases in both are compared.
    returns        dict: table (case, first, second, difference), mean, low, high (95 % bootstrap), p (Wilcoxon's
                   signed-rank test over patients, two-sided; None when no case differs), cases, patients, better, worse.
    Raises ValueError when the two have no case in common.
    """
    from scipy.stats import wilcoxon

    table = first[["case", column]].merge(second[["case", column]], on="case", suffixes=("_first", "_second"))
    if table.empty:
        raise ValueError("the two runs have no case in common; score the same split of both")
    table.columns = ["case", "first", "second"]
    table["difference"] = table.second - table["first"]
    table = table.sort_values("case", kind="stable").reset_index(drop=True)
    change = table.difference.to_numpy(float)
    whose = patients(second).set_axis(second.case)[table.case]
    low, high = bootstrap_ci(change, groups=whose)
    of_patients = table.difference.groupby(whose.to_numpy()).mean()  # the test takes its values for independent ones
    p = float(wilcoxon(of_patients).pvalue) if (of_patients != 0).any() else None
    out = {
        "table": table, "mean": float(change.mean()), "low": low, "high": high, "p": p,
        "cases": len(table), "patients": len(of_patients),
    }  # fmt: skip
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in out.items()} | {
        "better": int((change > 0).sum()), "worse": int((change < 0).sum())
    }  # fmt: skip


def holm(p):
    """Holm's correction of several tests' p (n,), nan where nothing was tested; returns float (n,), nan in the same places.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    p = np.asarray(p, float)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # nan comes last
    out = np.full(len(p), np.nan)
    out[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return out


def side_by_side(first, second):
    """A row per measure: means of both, their difference with its interval and Wilcoxon's p, as a DataFrame."""
    import pandas as pd

    rows = []
    worst = max(first.false_lesions.max(), second.false_lesions.max())  # a missing prediction is no better than the worst
    first, second = (t.assign(false_lesions=t.false_lesions.where(t.failed.fillna("") == "", worst)) for t in (first, second))
    for column, name in MEASURES.items():
        found = paired_difference(first, second, column)
        means = found["table"]["first"].mean(), found["table"].second.mean()
        rows.append({"measure": name, "first": means[0], "second": means[1], "difference": found["mean"]} | {
            key: found[key] for key in ("low", "high", "p", "better", "worse", "cases")
        })  # fmt: skip
    return pd.DataFrame(rows)


def flat(rows, other):
    """The comparison as keys of the summary: `paired.tumour_dice.mean`, `.low`, `.high`, `.p`."""
    rule = "this run less the other, per case; p is Wilcoxon's over patients, None when none differs"
    out = {"paired.with": other, "paired.rule": rule}
    for column, row in zip(MEASURES, rows.to_dict("records"), strict=True):
        named = {"mean": row["difference"], "low": row["low"], "high": row["high"], "p": row["p"]}
        out |= {f"paired.{column}.{name}": plain(value) for name, value in named.items()}
    return out
