"""What the cascade's rules took away from what its networks said: where, how much, and why."""

from types import SimpleNamespace

import numpy as np
from scipy import ndimage

from helpers.cascade.tumour import smoothed
from helpers.scans.boxes import box_of, components
from helpers.scans.volume import with_likely_spacing
from helpers.slices.pixels import level

MIN_ML = 0.01  # less is noise of the outline


def of_case(prediction, evidence, volume):
    """Rows of dropped.csv, the largest first: organ, index_z (its middle slice), volume_ml, why.

    prediction  uint8 (z, y, x) as 05 wrote it; evidence: an `attribution.Evidence` with the maps.
    returns     an empty list where no probabilities were kept.
    """
    if evidence.liver is None or evidence.tumour is None:
        return []
    rules, voxel_ml = SimpleNamespace(**evidence.log["rules"]), volume.voxel_ml
    liver, mask = prediction >= 1, evidence.liver >= level(rules.liver_threshold)
    small = f"under {rules.min_lesion_ml:g} ml"
    likely = smoothed(evidence.tumour, liver, rules, with_likely_spacing(volume).spacing_mm)
    specks = (likely >= level(rules.tumour_threshold)) & (prediction != 2)
    joined = _touching(mask, liver)
    reasons = {
        ("tumour", small): specks,
        ("liver", "cut off as another organ"): joined & ~liver,
        ("liver", "apart from the liver"): mask & ~joined,
    }
    rows = [
        {"organ": organ, "index_z": z, "volume_ml": ml, "why": why}
        for (organ, why), part in reasons.items() for z, ml in _components(part, voxel_ml)
    ]
    return sorted(rows, key=lambda row: -row["volume_ml"])


def _touching(mask, other):
    """The 26-connected components of a mask, bool (z, y, x), that share a voxel with another."""
    out, box = np.zeros_like(mask), box_of(mask)
    if box is not None:
        labels, count = components(mask[box])
        met = np.bincount(labels[other[box]], minlength=count + 1) > 0
        met[0] = False  # what is between them
        out[box] = met[labels]
    return out


def _components(mask, voxel_ml):
    """(middle slice, ml) of every 6-connected component that isn't noise."""
    box = box_of(mask)
    if box is None:
        return []
    labels, _ = ndimage.label(mask[box])
    ml = np.bincount(labels.ravel())[1:] * voxel_ml
    planes = ndimage.find_objects(labels)
    middle = [box[0].start + (part[0].start + part[0].stop - 1) // 2 for part in planes]
    return [(z, size) for z, size in zip(middle, ml.tolist(), strict=True) if size >= MIN_ML]
