"""Means over cases with their bootstrap intervals."""

import numpy as np

RESAMPLES, SEED = 4000, 7


def interval(values, statistic=np.mean):
    """Low and high end of the 95 % bootstrap interval of a statistic over cases; nan with fewer than two cases.

    values     float (n,) or (n, k): the statistic is taken along the first axis.
    statistic  function of (resamples, n) or (resamples, n, k) and `axis=1`.
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(SEED).integers(0, len(values), (RESAMPLES, len(values)))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = statistic(values[drawn], axis=1)
    return tuple(float(q) for q in np.nanpercentile(found, [2.5, 97.5])) if np.isfinite(found).any() else (float("nan"),) * 2


def spread(key, values, rule):
    """The keys of one measure over cases: mean, low, high, median, number of cases, how many had no value, rule."""
    values = np.asarray(values, float)
    there = values[~np.isnan(values)]
    low, high = interval(there)
    mean, median = (there.mean(), np.median(there)) if len(there) else (np.nan, np.nan)
    names = ("mean", "low", "high", "median", "cases", "left_out")
    numbers = (mean, low, high, median, len(there), len(values) - len(there))
    return {f"{key}.{name}": number for name, number in zip(names, numbers, strict=True)} | {f"{key}.rule": rule}


def plain(value):
    """Numbers that JSON knows: no numpy types, None for nan and infinity."""
    if isinstance(value, (np.integer, int)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, (np.floating, float)):
        return round(float(value), 6) if np.isfinite(value) else None
    return value
