"""Whether probabilities mean what they say: of voxels that are given 0.8, 0.8 should be tumour."""

import numpy as np
import pandas as pd

from helpers.components import PEAK
from helpers.intervals import patients, spread

BINS = 10
RULE = (
    "expected calibration error: mean over voxels of |share that is the organ − probability said|, in ten bins of probability; "
    "tumour: voxels of the reference liver; liver: all but those that are neither liver nor given any probability, which would "
    "dilute it to nothing; probabilities as the networks gave them, before smoothing along z; a mean over cases, those with "
    "such voxels"
)


def reliability(levels, organ, bins=BINS):
    """What voxels of each bin of probability were said to be, and what they are.

    levels   DataFrame as `attribution.levels` gives it, of one case or of many.
    returns  DataFrame of the bins that hold voxels: bin (0 …), voxels, said (mean probability), are (share that is the organ).
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
    sums = pd.DataFrame({"bin": number, "voxels": n, "said": n * part.level / PEAK, "are": n * true})
    sums = sums.groupby("bin", as_index=False).sum()
    return sums.assign(said=sums.said / sums.voxels, are=sums["are"] / sums.voxels)


def error(bins):
    """Expected calibration error of a table of `reliability`; nan without voxels."""
    return float((bins.voxels * (bins["are"] - bins.said).abs()).sum() / bins.voxels.sum()) if len(bins) else float("nan")


def by_case(levels, organ):
    """Expected calibration error of every case that has probabilities, a Series by case."""
    return levels.groupby("case")[list(levels)].apply(lambda part: error(reliability(part, organ))).astype(float)


def summarise(cases, levels):
    """The keys `<organ>.calibration_error` (all voxels together), `…_per_case` with its interval, and `<organ>.overconfidence`.

    overconfidence  mean probability less share of the organ, of the same voxels: above 0 the network says it too often.
    """
    out = {"calibration_error.rule": RULE}
    for organ in levels.organ.unique():
        bins = reliability(levels, organ)
        voxels = bins.voxels.sum()
        out[f"{organ}.calibration_error"] = error(bins)
        out[f"{organ}.overconfidence"] = (bins.voxels * (bins.said - bins["are"])).sum() / voxels if voxels else np.nan
        per_case = by_case(levels, organ).reindex(cases.case)
        out |= spread(f"{organ}.calibration_error_per_case", per_case, "cases with probability maps", patients(cases))
    return out
