"""Chosen slices as still figures: the scan in grey, the prediction filled, the reference a line.

`opened` is everywhere a function of a case's name: (Volume, reference, prediction), both uint8.
"""

from pathlib import Path

import cv2
import numpy as np

from helpers import runs
from helpers.looking import overlays, plots
from helpers.scans import labels, reading
from helpers.scoring import mask_pairs, probabilities, run_scores

PIXELS = 420  # along a side of a panel
LEGEND = ("predicted liver", "predicted tumour", "reference liver", "reference tumour")
DIFFERENCES = ("predicted tumour", "missed", "false", "reference liver")
LOST_BY = {  # in short; `attribution.STAGES` has it at length
    "gate": "the gate dropped it", "liver": "outside the predicted liver",
    "tumour": "not seen", "clean-up": "removed by a rule", "outline": "poorly outlined",
}
AROUND_MM = 35  # a missed lesion's surroundings, on either side


def opener(cases, chosen=None):
    """The function that opens a case of a scoring, or None where its files lie elsewhere now.

    cases   the table of cases; chosen: the rows of `run_scores.cases_of` that were scored, None for
            masks of `helpers.score`.
    """
    if chosen is not None:
        rows = chosen.set_index("case", drop=False)
        return lambda case: read(rows.loc[case])
    if "reference_file" not in cases or not all(Path(f).is_file() for f in cases.reference_file):
        return None
    files = cases.set_index("case")
    return lambda case: mask_pairs.opened(files.loc[case])


def read(row):
    """(Volume, reference, prediction) of a row of `run_scores.cases_of`; a missing one is empty."""
    volume, reference = reading.read_row(row)
    try:
        path = runs.Run(row["run"]).prediction(row["case"])
        return volume, reference, run_scores.read_prediction(path, volume)
    except ValueError:
        return volume, reference, reference * 0


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


def typical_and_worst(slices):
    """Two rows of slices.csv: that with the median Dice of those with tumour, or else with liver;
    and that with most wrong voxels.
    """
    organ = "tumour" if slices.tumour_reference.any() else "liver"
    shown = slices[slices[f"{organ}_reference"] > 0]
    names = (f"{organ}_{side}" for side in ("reference", "prediction", "both"))
    reference, prediction, both = (slices[name] for name in names)
    order = shown.sort_values(f"{organ}_dice", kind="stable")
    typical = order.iloc[[len(order) // 2]].assign(what="typical, by Dice")
    wrong = reference + prediction - 2 * both
    worst = slices.loc[[wrong.idxmax()]].assign(what="most wrong voxels")
    return typical, worst, organ


def typical_and_worst_grid(opened, slices):
    """The still figure of `typical_and_worst`."""
    typical, worst, organ = typical_and_worst(slices)
    panels, titles = [], []
    for part in (typical, worst):
        row = part.iloc[0]
        case = opened(row.case)
        panels.append(_cut(*case, row.index_z))
        dice = f"{organ} Dice {row[f'{organ}_dice']:.2f}"
        titles.append(f"{row.what}: {row.case}\nslice {row.index_z}, {dice}")
    names = LEGEND
    if organ == "tumour":
        panels.append(_cut(*case, row.index_z, overlays.of_differences))
        titles.append("its errors:\nmissed and false tumour")
        names = dict.fromkeys(LEGEND + DIFFERENCES)
    width = 3.4 * len(panels)
    return plots.contact_sheet(panels, titles, columns=3, width=width, legend=names, trim=False)


def slice_grid(opened, chosen, title):
    """A still figure of chosen slices, cut to the liver's surroundings.

    chosen  DataFrame with case, index_z and the tumour columns of slices.csv.
    """
    panels, titles, last = [], [], {}
    for row in chosen.itertuples():
        if row.case not in last:
            last = {row.case: opened(row.case)}  # one case at a time in memory
        panels.append(_cut(*last[row.case], row.index_z))
        titles.append(f"{row.case}, slice {row.index_z}\ntumour Dice {row.tumour_dice:.2f}")
    drawn = plots.contact_sheet(panels, titles, columns=4, legend=LEGEND, trim=False)
    drawn.suptitle(title, x=0.01, ha="left")
    return drawn


def _cut(volume, reference, prediction, z, look=overlays.of_both):
    """Slice z with both masks, cut to the liver's surroundings."""
    edges_mm = volume.spacing_mm[1:]
    y, x = square((reference[z] | prediction[z]) > 0, edges_mm)
    planes = (array[z][y, x] for array in (volume.hu, reference, prediction))
    return panel(*planes, edges_mm, look)


def missed_lesions(opened, missed):
    """A still figure of rows of lesions.csv, a panel each, with what lies around."""
    panels, titles, last = [], [], {}
    for row in missed.sort_values("case", kind="stable").itertuples():
        if row.case not in last:
            last = {row.case: opened(row.case)}
        volume, reference, prediction = last[row.case]
        z, edges_mm = row.index_z, volume.spacing_mm[1:]
        spans = [
            slice(max(0, middle - round(AROUND_MM / mm)), middle + round(AROUND_MM / mm) + 1)
            for middle, mm in zip((row.index_y, row.index_x), edges_mm, strict=True)
        ]
        cut = (volume.hu[z][*spans], reference[z][*spans], prediction[z][*spans])
        panels.append(panel(*cut, edges_mm, overlays.of_differences))
        by = f"\n{LOST_BY[lost_by]}" if (lost_by := getattr(row, "lost_by", "")) else ""
        size = f"{row.diameter_mm:.0f} mm, {row.volume_ml:.1f} ml"
        titles.append(f"{row.case}, slice {z}\n{size}{by}")
    return plots.contact_sheet(panels, titles, columns=5, legend=DIFFERENCES, trim=False)


def case_pictures(opened, case):
    """A case in three pictures: most tumour, most errors, and from the front."""
    volume, reference, prediction = opened(case)
    either = (reference | prediction) > 0
    tumours = (mask for mask in (reference == 2, prediction == 2) if mask.any())
    seen = next(tumours, either)
    organ, least = ("liver", 1) if seen is either else ("tumour", 2)
    most = int(seen.sum((1, 2)).argmax())
    wrong = (reference >= least) != (prediction >= least)
    worst = int(wrong.sum((1, 2)).argmax())
    front = int(seen.sum((0, 2)).argmax())
    planes = [(volume.hu[z], reference[z], prediction[z]) for z in (most, worst)]
    planes.append(tuple(array[::-1, front] for array in (volume.hu, reference, prediction)))
    titles = (
        f"slice {most}, most {organ}",
        f"slice {worst}, most wrong {organ}",
        f"from the front, row {front}",
    )
    z_mm, y_mm, x_mm = volume.spacing_mm
    edges_mm, looks = [(y_mm, x_mm), (y_mm, x_mm), (z_mm, x_mm)], [overlays.of_both] * 3
    looks[1] = overlays.of_differences if least == 2 else overlays.of_both
    panels = []
    for plane, edges, look in zip(planes, edges_mm, looks):
        cut = square((plane[1] | plane[2]) > 0, edges)
        panels.append(panel(*(array[cut] for array in plane), edges, look))
    names = dict.fromkeys([*LEGEND, *(DIFFERENCES if least == 2 else ())])
    return plots.contact_sheet(panels, titles, columns=3, legend=names, trim=False)


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
    r, p, high = (array[z][y, x] for array in (reference, prediction, spread))
    drawn, axes = plots.figure(1, 2, 10, 4.8, width_ratios=[1, 1.12])
    axes[0].imshow(_cut(volume, reference, prediction, z))
    aspect = volume.spacing_mm[1] / volume.spacing_mm[2]
    shown = axes[1].imshow(high / 255, cmap="magma", vmin=0, vmax=0.5, aspect=aspect)
    if (wrong := (r == 2) != (p == 2)).any():
        axes[1].contour(wrong, levels=[0.5], colors="white", linewidths=0.8)
    titles = ("reference and prediction", "spread over four views; white: wrong voxels")
    for axis, title in zip(axes, titles):
        axis.set_title(title)
        axis.set_axis_off()
    overlays.legend(drawn, LEGEND)
    drawn.colorbar(shown, ax=axes[1], shrink=0.8, label="standard deviation of the probability")
    drawn.suptitle(f"{case}, slice {z}: the case with most uncertainty", x=0.01, ha="left")
    return drawn


def most_uncertain(spreads):
    """The case whose predicted liver has the largest mean spread, from the table of uncertainty."""
    return probabilities.uncertainty_by_case(spreads).idxmax()


def panel(hu_plane, reference, prediction, edges_mm, look=overlays.of_both):
    """One slice with both masks enlarged, uint8 (y, x, 3); lines thick enough for a small one."""
    drawn = look(reference, prediction)
    rgb = overlays.paint(*overlays.enlarged(hu_plane, drawn, edges_mm, PIXELS), line_px=3)
    for letter, x in (("R", 6), ("L", rgb.shape[1] - 22)):  # the patient's
        place = (x, 26)  # above, where there is less bone
        for ink, px in ((0, 5), (255, 2)):  # with a black rim
            look = ((ink,) * 3, px, cv2.LINE_AA)
            cv2.putText(rgb, letter, place, cv2.FONT_HERSHEY_SIMPLEX, 0.7, *look)
    return rgb


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
