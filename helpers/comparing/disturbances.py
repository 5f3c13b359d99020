"""A scan as another scanner might have made it: brighter, darker, noisier, thinner, thicker."""

from dataclasses import replace

import numpy as np

from helpers.cascade import pipeline
from helpers.comparing import site_scores
from helpers.scoring import metrics

SHIFT_HU = 40
NOISE = 0.3  # deviation of the added noise by that of HU within the liver
THIN_MM, THICK_MM = 1.5, 5.0
SEED = 7


def disturbed(scan, networks, rules):
    """Rows of a sites.Scan and its `variants`: Dice, and how far it lies from that of the scan
    itself."""
    volume, reference = scan.read()
    where = {name: getattr(scan, name) for name in ("site", "case", "group")}
    where["true_hu"] = site_scores.has_true_hu(volume)
    rows = []
    for name, *pair in (("itself", volume, reference), *variants(volume, reference)):
        dice = metrics.dice_per_organ(pair[1], pipeline.segment(pair[0], networks, rules).labels)
        change = {f"{organ}_change": dice[organ] - (rows[0] if rows else dice)[organ]
                  for organ in ("liver_dice", "tumour_dice")}
        rows.append(where | {"variant": name} | dice | change)
    return rows


def variants(volume, reference):
    """Yield (name, Volume, reference) of each variant of a scan.

    Noise is Gaussian, from one seed; its deviation is NOISE times the deviation of HU inside the
    reference liver without tumours, and there is none without a liver. What a picture's window cut
    off stays cut off.
    """
    liver = reference == 1
    yield f"+{SHIFT_HU} HU", _changed(volume, SHIFT_HU), reference
    yield f"−{SHIFT_HU} HU", _changed(volume, -SHIFT_HU), reference
    if liver.any():
        deviation = NOISE * volume.hu[liver].std()
        noise = np.random.default_rng(SEED).standard_normal(volume.hu.shape, np.float32)
        yield "noise", _changed(volume, deviation * noise), reference
    for slice_mm in (THIN_MM, THICK_MM):
        yield f"{slice_mm:g} mm", *resampled(volume, reference, slice_mm)


def _changed(volume, hu):
    """The Volume with so many HU more; the lowest and highest of its values stay, saturated."""
    low, high = int(volume.hu.min()), int(volume.hu.max())
    changed = np.rint(volume.hu + hu).clip(low, high).astype(np.int16)
    saturated = (volume.hu == low) | (volume.hu == high)
    return replace(volume, hu=np.where(saturated, volume.hu, changed))


def resampled(volume, reference, slice_mm):
    """(Volume, labels) with slices of another thickness: between two slices HU are linear, labels
    the nearer one's. The first slice stays where it is.
    """
    last = len(volume.hu) - 1
    count = int(last * volume.spacing_mm[0] / slice_mm + 1e-6) + 1
    at = np.minimum(np.arange(count) * slice_mm / volume.spacing_mm[0], last)
    below = np.minimum(at.astype(int), max(0, last - 1))
    hu = np.empty((count, *volume.hu.shape[1:]), np.int16)
    for k, (first, z) in enumerate(zip(below, at, strict=True)):
        pair = volume.hu[first : first + 2].astype(np.float32)
        hu[k] = np.rint(pair[0] + (z - first) * (pair[-1] - pair[0]))
    spacing_mm = (slice_mm, *volume.spacing_mm[1:])
    return replace(volume, hu=hu, spacing_mm=spacing_mm), reference[np.rint(at).astype(int)]
