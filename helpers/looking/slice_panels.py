"""Chosen slices as still figures: the scan in grey, the prediction filled, the reference a line."""

import numpy as np

from helpers import runs
from helpers.looking import overlays, plots
from helpers.scans import labels, reading
from helpers.scoring import probabilities, run_scores

PIXELS = 420  # along a side of a panel
LEGEND = tuple(name for _, name in overlays.of_both(np.zeros((1, 1)), np.zeros((1, 1))))


def pick(slices, count=4, min_voxels=30):
    """The slices to look at: most wrong tumour voxels; best Dice of those with a sizeable tumour.

    slices   DataFrame of slices.csv. At most two slices of one case are taken on either side.
    returns  (worst, best), two DataFrames with the columns of `slices`.
    """
    table = slices.assign(
        wrong=slices.tumour_reference + slices.tumour_prediction - 2 * slices.tumour_both
    )
    worst = table[table.wrong > 0].sort_values(
        ["wrong", "case"], ascending=[False, True], kind="stable"
    )
    best = table[(table.tumour_reference >= min_voxels) & (table.tumour_both > 0)]
    best = best.sort_values(["tumour_dice", "case"], ascending=[False, True], kind="stable")
    return tuple(part.groupby("case", sort=False).head(2).head(count) for part in (worst, best))


def read(row):
    """(Volume, reference, prediction) of a row of `run_scores.cases_of`; a missing one is empty."""
    volume, reference = reading.read_row(row)
    try:
        return (
            volume,
            reference,
            run_scores.read_prediction(runs.Run(row["run"]).prediction(row["case"]), volume),
        )
    except ValueError:
        return volume, reference, reference * 0


def slice_grid(row_of, chosen, title):
    """A still figure of chosen slices, cut to the liver's surroundings.

    row_of  function of a case's name that gives its row of `run_scores.cases_of`.
    chosen  DataFrame with case, index_z and the tumour columns of slices.csv.
    """
    panels, titles, kept = [], [], {}
    for row in chosen.itertuples():
        if row.case not in kept:
            kept = {row.case: read(row_of(row.case))}  # one case at a time in memory
        volume, *masks = kept[row.case]
        r, p = (mask[row.index_z] for mask in masks)
        y, x = square((r | p) > 0, volume.spacing_mm[1:])
        panels.append(panel(volume.hu[row.index_z][y, x], r[y, x], p[y, x], volume.spacing_mm[1:]))
        titles.append(f"{row.case}, slice {row.index_z}\ntumour Dice {row.tumour_dice:.2f}")
    drawn = plots.contact_sheet(panels, titles, columns=4, width=12, legend=LEGEND)
    drawn.suptitle(title, x=0.01, ha="left")
    return drawn


def most_uncertain(spreads):
    """The case whose predicted liver has the largest mean spread, from the table of uncertainty."""
    return probabilities.uncertainty_by_case(spreads).idxmax()


def uncertain(row):
    """A still figure of the slice with most spread: the scan with both masks, and the map.

    row  of `run_scores.cases_of`. Only the predicted liver is drawn: outside the map means nothing.
    """
    case = row["case"]
    volume, reference, prediction = read(row)
    tta_std = labels.read_mask(runs.Run(row["run"]).tta_std(case), volume)
    spread = np.where(prediction >= 1, tta_std, np.uint8(0))
    z = int(spread.sum((1, 2), dtype=np.int64).argmax())
    y, x = square((reference[z] | prediction[z]) > 0, volume.spacing_mm[1:])
    hu, r, p, high = (array[z][y, x] for array in (volume.hu, reference, prediction, spread))
    left = panel(hu, r, p, volume.spacing_mm[1:])
    drawn, axes = plots.figure(1, 2, 10, 4.8, width_ratios=[1, 1.12])
    axes[0].imshow(left)
    aspect = volume.spacing_mm[1] / volume.spacing_mm[2]
    shown = axes[1].imshow(high / 255, cmap="magma", vmin=0, vmax=0.5, aspect=aspect)
    if (wrong := (r == 2) != (p == 2)).any():
        axes[1].contour(wrong, levels=[0.5], colors="white", linewidths=0.8)
    for axis, title in zip(
        axes,
        ("reference and prediction", "spread over four views; white: wrong voxels"),
    ):
        axis.set_title(title)
        axis.set_axis_off()
    overlays.legend(drawn, LEGEND)
    drawn.colorbar(shown, ax=axes[1], shrink=0.8, label="standard deviation of the probability")
    drawn.suptitle(f"{case}, slice {z}: the case with most uncertainty", x=0.01, ha="left")
    return drawn


def panel(hu_plane, reference, prediction, edges_mm):
    """One slice with both masks enlarged, uint8 (y, x, 3); lines thick enough for a small one."""
    both = overlays.of_both(reference, prediction)
    return overlays.paint(*overlays.enlarged(hu_plane, both, edges_mm, PIXELS), line_px=3)


def square(mask, edges_mm):
    """Two slices (y, x): the smallest square round a mask and 15 mm more, within the plane."""
    kept = [np.flatnonzero(mask.any(1 - axis)) for axis in (0, 1)]
    if not len(kept[0]):
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    side_mm = max((k[-1] + 1 - k[0]) * mm for k, mm in zip(kept, edges_mm, strict=True)) + 2 * 15
    parts = []
    for k, mm, length in zip(kept, edges_mm, mask.shape, strict=True):
        side = min(length, round(side_mm / mm))
        start = int(np.clip((k[0] + k[-1] + 1 - side) // 2, 0, length - side))
        parts.append(slice(start, start + side))
    return tuple(parts)
