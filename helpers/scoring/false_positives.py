"""What false lesions look like: vessel, gallbladder, rim of the liver, another organ.

The rules see place, shape and HU of a lesion's own voxels and two liver masks, nothing of the
anatomy around. They sort errors for a person who decides what to train on next; they are no
diagnosis.
"""

import numpy as np
import pandas as pd

FALSE_POSITIVE_TYPES = {
    "gallbladder": "gallbladder-like",
    "outside": "outside the liver",
    "vessel": "vessel-like",
    "edge": "at the liver's edge",
    "other": "artefact or other",
}
GALLBLADDER_HU = (0.0, 25.0)  # bile; sludge, stones and contrast medium lie above
EVEN = 1.25  # homogeneous up to so many times the noise of healthy liver: the scan's, and some rim
EDGE_MM = 5.0  # mean distance from the predicted liver's surface up to which a lesion hugs it
LONG = 3.0  # longest axis over the second from which a lesion is a tube
SAMPLE = 500  # voxels of a lesion that are asked for their distance, evenly taken
FALSE_POSITIVE_RULE = (
    "false lesions touch no reference lesion; the first that fits: gallbladder-like (mean of 0 to "
    "25 HU, a deviation of at most 1.25 times the noise of healthy liver, partly outside the "
    "reference liver or within 5 mm of the predicted one's surface), outside (more than half of it "
    "not in the reference liver), vessel-like (brighter than the liver, or three times as long as "
    "wide), edge (5 mm or less from the predicted liver's surface, in the mean of its voxels), "
    "other; outline: wrong voxels of lesions that touch a reference"
)


def measure(lesions, reference, liver_tree, spacing_mm, hu=None):
    """Place, shape and HU of every lesion of one side, a dict of float arrays (lesions,).

    lesions     Lesions; reference: uint8 labels, hu: int16 or None, both (z, y, x), the case's box.
    liver_tree  `metrics.tree_of` the predicted liver's surface in that box, None without one.
    returns     hu and hu_deviation of its voxels (nan without a scan); elongation, the longest axis
                over the second, 1 for a ball or a plate; edge_mm, mean distance of its voxels to
                the surface (nan without one); outside, its share out of the reference liver.
    """
    at = tuple(lesions.index_zyx.T)
    mean = square = np.full(lesions.count, np.nan)
    if hu is not None:
        values = hu[at].astype(float)
        mean, square = lesions.mean(values), lesions.mean(values**2)
    return {
        "hu": mean, "hu_deviation": np.sqrt(np.maximum(square - mean**2, 0)),
        "elongation": _elongation(lesions, spacing_mm),
        "edge_mm": _edge_mm(lesions, liver_tree, spacing_mm),
        "outside": lesions.mean(reference[at] == 0),
    }


def _elongation(lesions, spacing_mm):
    """Root of the ratio of the two largest variances of a lesion's voxels.

    Each voxel stands for a cube with the longest of its edges, or one of a thick slice were a tube.
    """
    if not lesions.count:
        return np.zeros(0)
    places_mm = (lesions.index_zyx - lesions.corner) * np.asarray(spacing_mm)
    centres_mm = np.stack([lesions.mean(places_mm[:, axis]) for axis in range(3)], axis=1)
    offset = places_mm - centres_mm[lesions.number - 1]
    covariance = [[lesions.mean(offset[:, a] * offset[:, b]) for a in range(3)] for b in range(3)]
    voxel = np.eye(3) * max(spacing_mm) ** 2 / 12
    variances = np.linalg.eigvalsh(np.moveaxis(np.array(covariance), 2, 0) + voxel)
    return np.sqrt(variances[:, 2] / variances[:, 1])


def _edge_mm(lesions, liver_tree, spacing_mm):
    if liver_tree is None or not lesions.count:
        return np.full(lesions.count, np.nan)
    order = np.argsort(lesions.number, kind="stable")
    voxels = np.bincount(lesions.number, minlength=lesions.count + 1)
    rank = np.arange(len(order)) - np.concatenate([[0], voxels.cumsum()])[lesions.number[order]]
    sample = order[rank % -(-voxels // SAMPLE)[lesions.number[order]] == 0]
    distance = liver_tree.query(lesions.index_zyx[sample] * np.asarray(spacing_mm))[0]
    number = lesions.number[sample]
    return np.bincount(number, weights=distance)[1:] / np.bincount(number)[1:]


def false_positive_type(measured, healthy):
    """What each lesion would be if it were false, an array of keys of FALSE_POSITIVE_TYPES.

    measured  what `measure` gave.
    healthy   HU of the liver that nobody calls tumour, any shape; None or empty without a scan:
              then no rule about HU fits.
    """
    level = noise = np.nan
    if healthy is not None and len(healthy):
        # the middle half: vessels and a wrong outline don't count as noise
        quarters = np.percentile(healthy, [75, 25])
        level, noise = float(healthy.mean()), float(np.subtract(*quarters) / 1.349)
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


def counted(cases, lesions):
    """How many false lesions and millilitres each look has, and what real lesions have around them.

    cases, lesions  the tables.
    returns         DataFrame with columns look, lesions, ml, in order; the last row is "outline".
    """
    false = lesions[(lesions.side == "prediction") & (lesions.kind == "false")]
    by_look = false.groupby("false_positive_type").volume_ml.agg(["count", "sum"])
    by_look = by_look.reindex(list(FALSE_POSITIVE_TYPES), fill_value=0)
    wrong_voxels = cases.tumour_prediction_voxels - cases.tumour_both_voxels
    outline_ml = (wrong_voxels * cases.voxel_ml).sum() - cases.false_ml.sum()
    rows = [
        {"look": look, "lesions": int(row["count"]), "ml": float(row["sum"])}
        for look, row in by_look.iterrows()
    ]
    rows.append({"look": "outline", "lesions": 0, "ml": max(0.0, float(outline_ml))})
    return pd.DataFrame(rows)


def summarise(cases, lesions):
    """The keys `false.<look>.lesions` and `.ml` of the summary."""
    out = {}
    for row in counted(cases, lesions).itertuples():
        out |= {f"false.{row.look}.lesions": row.lesions} if row.look != "outline" else {}
        out |= {f"false.{row.look}.ml": row.ml}
    return out | {"false.rule": FALSE_POSITIVE_RULE}
