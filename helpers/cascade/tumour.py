"""Which findings of the tumour's network are lesions."""

import cc3d
import numpy as np
from scipy import ndimage

from helpers.scans.boxes import at_least, box_of
from helpers.slices.pixels import level

TRUNCATE = 2.0  # deviations after which a smoothing ends


def smoothed(probability, liver, rules, spacing_mm):
    """Probability as the rules for lesions read it, uint8 (z, y, x): 0 outside the liver, then
    smoothed along z.
    """
    out, box = np.zeros(liver.shape, np.uint8), box_of(liver)
    if box is None:
        return out
    sigma = rules.smooth_mm / spacing_mm[0]
    reach = int(TRUNCATE * sigma + 0.5)  # slices as far as the smoothing carries
    box = slice(max(0, box[0].start - reach), box[0].stop + reach), *box[1:]
    inside = np.where(liver[box], probability[box], np.uint8(0))
    if sigma:
        inside = ndimage.gaussian_filter1d(inside, sigma, axis=0, truncate=TRUNCATE)
    out[box] = inside
    return out


def keep_lesions(probability, spacing_mm, rules):
    """Lesions from a `smoothed` probability: 6-connected components of what passes the threshold,
    without specks.

    probability  uint8 (z, y, x).
    rules        pipeline.Rules, or any object with tumour_threshold and min_lesion_ml.
    returns      (the lesions, bool (z, y, x); their number; the specks, as `components` has them).
    """
    passing = at_least(probability, level(rules.tumour_threshold))
    lesions = np.zeros(passing.shape, bool)
    region, component_of, findings = components(passing, spacing_mm)
    if region is None:
        return lesions, 0, []
    is_lesion = [finding["ml"] >= rules.min_lesion_ml for finding in findings]
    lesions[region] = np.array([False, *is_lesion])[component_of]  # 0 is what is between them
    specks = [finding for finding, keep in zip(findings, is_lesion, strict=True) if not keep]
    return lesions, sum(is_lesion), specks


def outside_liver(probability, liver, spacing_mm, rules):
    """What passes the threshold and has no voxel in the liver, as `components` has it.

    probability  uint8 (z, y, x), as the network gave it.
    """
    passing = at_least(probability, level(rules.tumour_threshold))
    region, component_of, findings = components(passing, spacing_mm)
    touching = set(np.unique(component_of[liver[region]])) if findings else set()
    return [finding for k, finding in enumerate(findings, start=1) if k not in touching]


def components(mask, spacing_mm):
    """(box of a mask bool (z, y, x) or None, its 6-connected components there, a dict each).

    The components are numbered from 1. A dict says where a component's middle lies (slice, y, x,
    counted as in the Volume) and its ml.
    """
    region = box_of(mask)
    if region is None:
        return None, None, []
    component_of, count = cc3d.connected_components(mask[region], connectivity=6, return_N=True)
    measured = cc3d.statistics(component_of)
    middles = measured["centroids"] + [side.start for side in region]
    ml = measured["voxel_counts"] * np.prod(spacing_mm) / 1000
    places = [dict(zip(("slice", "y", "x"), map(round, map(float, middles[k])), strict=True))
              for k in range(1, count + 1)]
    return region, component_of, [place | {"ml": float(ml[k])}
                                  for k, place in enumerate(places, start=1)]
