"""What false lesions look like: vessel, gallbladder, rim of the liver, another organ; told by place, shape and HU.

The rules see a lesion's own voxels and two liver masks, nothing of the anatomy around. They sort errors for a person who decides
what to train on next; they are no diagnosis.
"""

import numpy as np
import pandas as pd

from helpers.scoring import metrics

FALSE_POSITIVE_TYPES = {
    "gallbladder": "gallbladder-like",
    "outside": "outside the liver",
    "vessel": "vessel-like",
    "edge": "at the liver's edge",
    "other": "artefact or other",
}
GALLBLADDER_HU = (0.0, 25.0)  # bile; sludge, stones and contrast medium lie above
EVEN = 1.25  # homogeneous up to this many times the noise of the healthy liver: that of the scan, and some rim
EDGE_MM = 5.0  # mean distance of a lesion's voxels from the predicted liver's surface up to which it hugs it
LONG = 3.0  # longest axis over the second from which a lesion is a tube
SAMPLE = 500  # voxels of a lesion that are asked for their distance, evenly taken
FALSE_POSITIVE_RULE = (
    "false lesions touch no reference lesion; the first that fits: gallbladder-like (mean of 0 to 25 HU, a deviation of at most "
    "1.25 times the noise of healthy liver, partly outside the reference liver or within 5 mm of the predicted one's surface), "
    "outside (more than half of it not in the reference liver), vessel-like (brighter than the liver, or three times as long as "
    "wide), edge (5 mm or less from the predicted liver's surface, in the mean of its voxels), other; outline: wrong voxels of "
    "lesions that touch a reference"
)


def measure(side, outside, hu, surface, inner, liver_box, spacing_mm):
    """Place, shape and HU of every lesion of one side, a dict of float arrays (lesions,).

    side       pieces.Side, in the box `inner`; `outside` bool and `hu` int16 or None are (z, y, x) in the same box.
    surface    the predicted liver's, bool (z, y, x) in `liver_box`.
    returns    hu and hu_deviation of its voxels (nan without a scan); elongation, the longest axis over the second, 1 for a ball
               or a plate; edge_mm, mean distance of its voxels to the surface (nan without one); outside, its share out of the
               reference liver.
    """
    at = tuple(side.at.T)
    values = None if hu is None else hu[at].astype(float)
    mean = np.full(side.count, np.nan) if hu is None else side.mean(values)
    square = mean if hu is None else side.mean(values**2)
    return {
        "hu": mean, "hu_deviation": np.sqrt(np.maximum(square - mean**2, 0)), "elongation": _elongation(side, spacing_mm),
        "edge_mm": _edge_mm(side, surface, inner, liver_box, spacing_mm), "outside": side.mean(outside[at]),
    }  # fmt: skip


def _elongation(side, spacing_mm):
    """Root of the ratio of the two largest variances of a lesion's voxels.

    Each voxel stands for a cube with the longest of its edges, or one voxel of a thick slice would be a tube.
    """
    if not side.count:
        return np.zeros(0)
    places = side.at * np.asarray(spacing_mm)
    centre = np.stack([side.mean(places[:, axis]) for axis in range(3)], axis=1)
    apart = places - centre[side.number - 1]
    spread = [[side.mean(apart[:, a] * apart[:, b]) for a in range(3)] for b in range(3)]
    variances = np.linalg.eigvalsh(np.moveaxis(np.array(spread), 2, 0) + np.eye(3) * max(spacing_mm) ** 2 / 12)
    return np.sqrt(variances[:, 2] / variances[:, 1])


def _edge_mm(side, surface, inner, liver_box, spacing_mm):
    if not surface.any() or not side.count:
        return np.full(side.count, np.nan)
    order = np.argsort(side.number, kind="stable")
    voxels = np.bincount(side.number, minlength=side.count + 1)
    rank = np.arange(len(order)) - np.concatenate([[0], voxels.cumsum()])[side.number[order]]
    some = order[rank % -(-voxels // SAMPLE)[side.number[order]] == 0]
    offset = np.array([i.start - o.start for i, o in zip(inner, liver_box, strict=True)])
    distance = metrics.tree_of(surface, spacing_mm).query((side.at[some] + offset) * np.asarray(spacing_mm))[0]
    number = side.number[some]
    return np.bincount(number, weights=distance, minlength=side.count + 1)[1:] / np.bincount(number)[1:]


def false_positive_type(measured, healthy):
    """What each lesion would be if it were false, an array of keys of LOOKS; see RULE.

    measured  what `measure` gave; healthy: HU of the liver that nobody calls tumour, any shape; None or empty without a scan,
              then no rule about HU fits.
    """
    level, noise = (np.nan, np.nan) if healthy is None or not len(healthy) else (float(healthy.mean()), _noise(healthy))
    hu, (low, high) = measured["hu"], GALLBLADDER_HU
    at_edge = measured["edge_mm"] <= EDGE_MM
    bile = (hu >= low) & (hu <= high) & (measured["hu_deviation"] <= EVEN * noise)
    fits = [
        bile & (at_edge | (measured["outside"] > 0)),
        measured["outside"] > 0.5,
        (hu > level) | (measured["elongation"] >= LONG),
        at_edge,
    ]
    return np.select(fits, list(FALSE_POSITIVE_TYPES)[:-1], "other")


def _noise(hu):
    """Deviation of HU values as the middle half of them shows it, so that vessels and a wrong outline don't count."""
    return float(np.subtract(*np.percentile(hu, [75, 25])) / 1.349)


def counted(cases, lesions):
    """How many false lesions and millilitres each look has, and what real lesions have around them: a DataFrame, in order.

    cases, lesions  the tables. returns  columns look, lesions, ml; the last row is "outline".
    """
    false = lesions[(lesions.side == "prediction") & (lesions.kind == "false")]
    by = false.groupby("false_positive_type").volume_ml.agg(["count", "sum"]).reindex(list(FALSE_POSITIVE_TYPES), fill_value=0)
    wrong_ml = ((cases.tumour_prediction_voxels - cases.tumour_both_voxels) * cases.voxel_ml).sum() - cases.false_ml.sum()
    rows = [{"look": look, "lesions": int(row["count"]), "ml": float(row["sum"])} for look, row in by.iterrows()]
    return pd.DataFrame([*rows, {"look": "outline", "lesions": 0, "ml": max(0.0, float(wrong_ml))}])


def summarise(cases, lesions):
    """The keys `false.<look>.lesions` and `.ml` of the summary."""
    out = {}
    for row in counted(cases, lesions).itertuples():
        out |= {f"false.{row.look}.lesions": row.lesions} if row.look != "outline" else {}
        out |= {f"false.{row.look}.ml": row.ml}
    return out | {"false.rule": FALSE_POSITIVE_RULE}
