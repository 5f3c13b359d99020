"""A scan as another scanner might have made it: brighter, darker, noisier, thinner, thicker."""

from dataclasses import replace

import numpy as np

from helpers.cascade import pipeline
from helpers.comparing.sites import AS_IT_IS, has_true_hu
from helpers.scoring import metrics
from helpers.scoring.sentences import markdown

SHIFT_HU = 40
NOISE = 0.3  # deviation of the added noise by that of HU within the liver
THIN_MM, THICK_MM = 1.5, 5.0
SEED = 7
LEAST = -0.05  # no disturbance may cost more Dice


def measured(scan, networks, settings):
    """Rows of a sites.Scan and its `variants` under the first of some rules: Dice, and how far it
    lies from that of the scan itself.
    """
    volume, reference = scan.read()
    place, rows = scan.place | {"true_hu": has_true_hu(volume)}, []
    for name, *pair in (("itself", volume, reference), *variants(volume, reference)):
        labels = pipeline.segment(pair[0], networks, settings[AS_IT_IS]).labels
        dice = metrics.dice_per_organ(pair[1], labels)
        first = rows[0] if rows else dice
        change = {f"{organ}_change": dice[organ] - first[organ] for organ in dice}
        rows.append(place | {"variant": name} | dice | change)
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


def page(rows, options):
    """(table of variants, it and every scan's changes, as text)."""
    changed = rows[rows.variant != "itself"]
    columns = ["liver_dice_change", "tumour_dice_change"]
    table = changed.groupby("variant", sort=False)[columns].agg(["mean", "min", "max"])
    table.columns = [f"{organ} {which}" for organ, which in table.columns]
    keys, shown = ["site", "case", "true_hu"], []
    for column in columns:
        wide = changed.pivot(index=keys, columns="variant", values=column)
        shown.append(f"{column}:\n\n{markdown(wide[changed.variant.unique()].reset_index())}")
    low = int((changed[columns] < LEAST).to_numpy().sum())
    line = (f"{low} of {2 * len(changed)} changes of Dice are below {LEAST:g}. Noise has "
            f"{NOISE:g} times the deviation of HU in the reference liver. A scan without true HU "
            "was clipped to a window: what that cut off can't move with the rest. A Dice of 0 can "
            "only rise, so a large rise is as bad a sign as a fall.")
    return table.reset_index(), "\n\n".join([line, markdown(table.reset_index()), *shown])
