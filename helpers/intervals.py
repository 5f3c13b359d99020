"""Means over cases with their bootstrap intervals; cases of one patient are drawn together."""

import numpy as np

RESAMPLES, SEED = 4000, 7


def mean(total, cases):
    """The statistic that `interval` takes when no other is named: the sum over cases by their number."""
    return total / cases


def ratio(total, cases):
    """A statistic for `interval`: the sum of the first column by that of the second."""
    return total[..., 0] / total[..., 1]


def interval(values, statistic=mean, groups=None):
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


def spread(key, values, rule, groups=None):
    """The keys of one measure over cases: mean, low, high, median, number of cases, how many had no value, rule.

    groups  (n,) whose case each value is, as `interval` takes them.
    """
    values = np.asarray(values, float)
    there = ~np.isnan(values)
    groups = None if groups is None else np.asarray(groups)[there]
    values, left_out = values[there], int((~there).sum())
    low, high = interval(values, groups=groups)
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
