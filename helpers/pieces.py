"""The lesions of one case on both sides: where they lie, how large and how visible they are, and what became of each."""

from dataclasses import dataclass

import numpy as np

from helpers import error_kinds, lesions, masks, nearest, organisers

NEAR_CAPSULE_MM = 5.0


@dataclass
class Side:
    """One mask's lesions in a box: `pieces` (z, y, x) numbered 1 … count, and place and number of each of their voxels.

    Voxels that share a face are one lesion, as in the LiTS organisers' scoring.
    centres  of each lesion in voxels of the box, float (count, 3); slices: its first and last one, int (count, 2).
    """

    pieces: np.ndarray
    count: int
    at: np.ndarray  # int (voxels, 3)
    number: np.ndarray  # int (voxels,)
    centres: np.ndarray
    slices: np.ndarray

    @classmethod
    def of(cls, tumour):
        import cc3d

        pieces, count = cc3d.connected_components(tumour, connectivity=6, return_N=True)
        measured = cc3d.statistics(pieces)
        ends = [(box[0].start, box[0].stop - 1) for box in measured["bounding_boxes"][1:]]
        index = np.flatnonzero(tumour)
        at = np.stack(np.unravel_index(index, tumour.shape), axis=1)
        slices = np.array(ends, int).reshape(-1, 2)
        return cls(pieces, count, at, pieces.ravel()[index].astype(np.int64), measured["centroids"][1:], slices)

    def mean(self, values):
        """Mean over each lesion of a value per voxel, float (count,)."""
        voxels = np.bincount(self.number, minlength=self.count + 1)[1:]
        return np.bincount(self.number, weights=values, minlength=self.count + 1)[1:] / voxels


@dataclass
class Pieces:
    """The lesions of one case, reference first and prediction second, in the box that holds them.

    box     the box in the scan, three slices (z, y, x); labels (reference, prediction) uint8 in it.
    table   `lesions.overlaps` of the two sides; found is its Matching.
    depth_mm, contrast_hu  a float array per side, nan where there is no liver or no scan.
    looks   a dict of arrays per side: what `error_kinds.measure` says, and `looks_like`.
    """

    box: tuple
    labels: tuple
    sides: tuple
    table: np.ndarray
    found: lesions.Matching
    depth_mm: tuple
    contrast_hu: tuple
    looks: tuple

    @classmethod
    def of(cls, reference, prediction, spacing_mm, box, inner, liver, hu):
        """From labels in `box` of the scan.

        inner  the box of all tumour inside `box`; hu is in the same `box` or None.
        liver  (surfaces of the reference liver and of the predicted one, bool, and where their box lies inside `box`).
        """
        labels = reference[inner], prediction[inner]
        sides = tuple(Side.of(part == 2) for part in labels)
        table = lesions.overlaps(sides[0].pieces, sides[0].count, sides[1].pieces, sides[1].count)
        (surface, predicted_surface), liver_box = liver
        depths = _depths(sides, inner, (surface, liver_box), spacing_mm)
        healthy = None if hu is None else hu[(reference == 1) & (prediction != 2)]
        contrasts = tuple(_contrasts(side, hu, inner, healthy) for side in sides)
        around = labels[0] == 0, None if hu is None else hu[inner], predicted_surface, inner, liver_box, spacing_mm
        looks = [error_kinds.measure(side, *around) for side in sides]
        looks = tuple(look | {"looks_like": error_kinds.looks_like(look, healthy)} for look in looks)
        box = tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(box, inner, strict=True))
        return cls(box, labels, sides, table, lesions.match(table), depths, contrasts, looks)

    def counts(self, voxel_ml, affine):
        """The columns of cases.csv that count lesions."""
        found, false = self.found, ~self.found.touching
        numbers = [organisers.in_file_order(side.at, side.number, side.pieces.shape, affine) for side in self.sides]
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
        out, start = [], np.array([part.start for part in self.box])
        for side, name in enumerate(("reference", "prediction")):
            voxels = (self.found.reference_voxels, self.found.prediction_voxels)[side]
            centres = np.rint(self.sides[side].centres + start).astype(int)
            slices = self.sides[side].slices + start[0]
            verdicts = {name: column.tolist() for name, column in lesions.verdicts(self.found, side).items()}
            looks = {name: column.tolist() for name, column in self.looks[side].items()}
            for number, k in enumerate(np.argsort(-voxels, kind="stable"), start=1):
                ml, depth = float(voxels[k] * voxel_ml), float(self.depth_mm[side][k])
                diameter = masks.diameter_mm(ml)
                row = {"case": case, "side": name, "lesion": number, "piece": int(k) + 1, "volume_ml": ml}
                row |= {"diameter_mm": diameter, "size": lesions.size_of(diameter)}
                row |= dict(zip(("index_z", "index_y", "index_x"), centres[k].tolist(), strict=True))
                row |= dict(zip(("first_slice", "last_slice"), slices[k].tolist(), strict=True))
                row |= {"depth_mm": depth, "place": _place(depth, diameter), "contrast_hu": float(self.contrast_hu[side][k])}
                row |= {name: column[k] for name, column in (verdicts | looks).items()}
                out.append(row if row["kind"] == "false" else row | {"looks_like": ""})
        return out


def _depths(sides, inner, liver, spacing_mm):
    """Distance of every lesion's centre to the reference liver's surface, mm; nan without a liver."""
    surface, liver_box = liver
    if not surface.any() or not any(side.count for side in sides):
        return tuple(np.full(side.count, np.nan) for side in sides)
    offset = np.array([i.start - o.start for i, o in zip(inner, liver_box, strict=True)])
    tree = nearest.tree_of(surface, spacing_mm)
    return tuple(tree.query((side.centres + offset) * np.asarray(spacing_mm))[0] for side in sides)


def _contrasts(side, hu, inner, healthy):
    """Mean HU of every lesion less the mean of liver that nobody calls tumour; nan without a scan."""
    if hu is None or not len(healthy):
        return np.full(side.count, np.nan)
    return side.mean(hu[inner][tuple(side.at.T)]) - float(healthy.mean())


def _place(depth_mm, diameter_mm):
    """ "capsule" for a lesion that comes within 5 mm of the liver's surface, "deep" for the others."""
    if np.isnan(depth_mm):
        return ""
    return "capsule" if depth_mm < diameter_mm / 2 + NEAR_CAPSULE_MM else "deep"
