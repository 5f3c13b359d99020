"""Which findings of the tumour's network are lesions."""

import cc3d
import numpy as np
from scipy import ndimage

from helpers.scans.boxes import box_of
from helpers.slices.pixels import level

TRUNCATE = 2.0  # deviations after which a smoothing ends


def smoothed(probability, liver, rules, spacing_mm):
    """Probability as the rules for lesions read it, uint8 (z, y, x): 0 outside the liver, then
    smoothed along z.
    """
    out, box = np.zeros_like(probability), box_of(liver)
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
    returns      (the lesions, bool (z, y, x); their number; how many specks were dropped).
    """
    findings = probability >= level(rules.tumour_threshold)
    lesions, region = np.zeros(findings.shape, bool), box_of(findings)
    if region is None:
        return lesions, 0, 0
    components, count = cc3d.connected_components(
        findings[region], connectivity=6, return_N=True
    )
    voxels = cc3d.statistics(components)["voxel_counts"]
    keep = voxels * np.prod(spacing_mm) / 1000 >= rules.min_lesion_ml
    keep[0] = False  # what is between them
    lesions[region] = keep[components]
    kept = int(np.count_nonzero(keep))
    return lesions, kept, count - kept
