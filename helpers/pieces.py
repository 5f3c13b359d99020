"""The lesions of one case on both sides: where they lie, how large and how visible they are, and what became of each."""

from dataclasses import dataclass

import numpy as np

from helpers import lesions, metrics, organisers

NEAR_CAPSULE_MM = 5.0


@dataclass
class Pieces:
    """The lesions of one case, on both sides, in the box that holds them.

    box     the box in the scan, three slices (z, y, x).
    labels  (reference, prediction) uint8 in that box; pieces likewise, numbered 1 … n.
    found   lesions.Matching; table is its `overlaps`.
    """

    box: tuple
    labels: tuple
    pieces: tuple
    table: np.ndarray
    found: lesions.Matching
    spacing_mm: tuple
    depth_mm: tuple
    contrast_hu: tuple

    @classmethod
    def of(cls, reference, prediction, spacing_mm, box, surfaces, hu):
        """From the labels in `box` of the scan, `hu` in the same box or None."""
        inner = metrics.box_of(reference == 2, prediction == 2) or (slice(0, 1),) * 3
        labels = reference[inner], prediction[inner]
        (a, n), (b, m) = (lesions.components(part == 2) for part in labels)
        table = lesions.overlaps(a, n, b, m)
        (liver_surface, _), liver_box = surfaces["liver"]
        offset = [i.start - o.start for i, o in zip(inner, liver_box, strict=True)]
        depths = _depths((a, b), (n, m), offset, liver_surface, spacing_mm)
        healthy = None if hu is None else hu[(reference == 1) & (prediction != 2)]
        contrasts = [_contrasts(part, k, None if hu is None else hu[inner], healthy) for part, k in ((a, n), (b, m))]
        box = tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(box, inner, strict=True))
        return cls(box, labels, (a, b), table, lesions.match(table), tuple(spacing_mm), tuple(depths), tuple(contrasts))

    def counts(self, voxel_ml, affine):
        """The columns of cases.csv that count lesions."""
        found, false = self.found, ~self.found.touching
        numbers = [organisers.in_file_order(part, affine) for part in self.pieces]
        theirs = self.table[np.ix_(np.r_[0, numbers[0]], np.r_[0, numbers[1]])]
        out = {
            "lesions": len(found.reference_group), "lesions_found_iou50": int(found.found.sum()),
            "lesions_found_any": int(found.touched.sum()), "predicted_lesions": len(found.prediction_group),
            "predicted_true_iou50": int(found.true.sum()), "predicted_true_any": int(found.touching.sum()),
            "false_lesions": int(false.sum()), "false_ml": float(found.prediction_voxels[false].sum() * voxel_ml),
        }  # fmt: skip
        for name, least in (("50", 0.5), ("any", 0.0)):
            counted = organisers.detections(theirs, least)
            out |= {f"organisers_{kind}_{name}": n for kind, n in zip(("tp", "fp", "fn"), counted, strict=True)}
        return out

    def rows(self, case, voxel_ml):
        """Rows of lesions.csv, reference lesions first, the largest first on either side."""
        out = []
        for side, name in enumerate(("reference", "prediction")):
            voxels = (self.found.reference_voxels, self.found.prediction_voxels)[side]
            about = _shapes(self.pieces[side], len(voxels), self.box)
            order = np.argsort(-voxels, kind="stable")
            for number, k in enumerate(order, start=1):
                ml = float(voxels[k] * voxel_ml)
                diameter = (6000.0 * ml / np.pi) ** (1 / 3)  # of the ball with this volume
                row = {"case": case, "side": name, "lesion": number, "piece": int(k) + 1, "volume_ml": ml}
                row |= {"diameter_mm": diameter, "size": lesions.size_of(diameter)} | about[k]
                row |= {"depth_mm": self.depth_mm[side][k], "place": _place(self.depth_mm[side][k], diameter)}
                out.append(row | {"contrast_hu": self.contrast_hu[side][k]} | lesions.verdict(self.found, side, k))
        return out


def _shapes(pieces, count, box):
    """Centre (voxels of the scan) and first and last slice of every lesion."""
    import cc3d

    about, start = cc3d.statistics(pieces), np.array([part.start for part in box])
    rows = []
    for k in range(1, count + 1):
        centre, (z, _, _) = about["centroids"][k] + start, about["bounding_boxes"][k]
        row = dict(zip(("index_z", "index_y", "index_x"), (int(round(c)) for c in centre), strict=True))
        rows.append(row | {"first_slice": z.start + box[0].start, "last_slice": z.stop - 1 + box[0].start})
    return rows


def _depths(pieces, counts, offset, liver_surface, spacing_mm):
    """Distance of every lesion's centre to the reference liver's surface, mm; nan without a liver."""
    import cc3d
    from scipy.spatial import cKDTree

    if not sum(counts) or not liver_surface.any():
        return [np.full(n, np.nan) for n in counts]
    tree = cKDTree(np.argwhere(liver_surface) * np.asarray(spacing_mm), balanced_tree=False, compact_nodes=False)
    centres = [cc3d.statistics(part)["centroids"][1 : n + 1] + offset for part, n in zip(pieces, counts, strict=True)]
    return [tree.query(c * np.asarray(spacing_mm))[0] if len(c) else np.zeros(0) for c in centres]


def _place(depth_mm, diameter_mm):
    """ "capsule" for a lesion that comes within 5 mm of the liver's surface, "deep" for the others."""
    if np.isnan(depth_mm):
        return ""
    return "capsule" if depth_mm < diameter_mm / 2 + NEAR_CAPSULE_MM else "deep"


def _contrasts(pieces, count, hu, healthy):
    """Mean HU of every lesion less the mean of liver that nobody calls tumour; nan without a scan."""
    if hu is None or not len(healthy):
        return np.full(count, np.nan)
    inside = pieces > 0
    sums = np.bincount(pieces[inside], weights=hu[inside], minlength=count + 1)[1:]
    return sums / np.bincount(pieces[inside], minlength=count + 1)[1:] - float(healthy.mean())
