"""The lesions of one case on both sides: where, how large, how visible, and what became of each."""

from dataclasses import dataclass

import cc3d
import numpy as np

from helpers.scans import boxes, volume
from helpers.scoring import false_positives, matching, metrics

NEAR_CAPSULE_MM = 5.0  # of a lesion whose place is "capsule", from the liver's surface
SIZES = ("small", "medium", "large")  # under 10 mm, 10 to 20 mm, over 20 mm
SIDES = ("reference", "prediction")


@dataclass(frozen=True)
class Lesions:
    """The lesions of one mask: voxels that share a face, as in the LiTS organisers' scoring.

    components   int (z, y, x), lesions numbered 1 … count, in a box of all tumour; corner: where
                 that begins in the case's box.
    index_zyx    int (voxels, 3), in the case's box; number int (voxels,): whose each voxel is.
    centres_zyx  in voxels of the case's box, float (count, 3).
    slices       first and last one of each lesion, int (count, 2).
    """

    components: np.ndarray
    corner: tuple
    count: int
    index_zyx: np.ndarray
    number: np.ndarray
    centres_zyx: np.ndarray
    slices: np.ndarray

    @classmethod
    def of(cls, tumour, corner=(0, 0, 0)):
        components, count = cc3d.connected_components(tumour, connectivity=6, return_N=True)
        statistics = cc3d.statistics(components)
        boxes = statistics["bounding_boxes"][1:]
        slices = np.array([(box[0].start, box[0].stop - 1) for box in boxes], int).reshape(-1, 2)
        index = np.flatnonzero(tumour)
        index_zyx = np.stack(np.unravel_index(index, tumour.shape), axis=1) + corner
        number = components.ravel()[index].astype(np.int64)
        centres_zyx = statistics["centroids"][1:] + corner
        return cls(components, corner, count, index_zyx, number, centres_zyx, slices + corner[0])

    def mean(self, values):
        """Mean over each lesion of a value per voxel, float (count,)."""
        voxels = np.bincount(self.number, minlength=self.count + 1)[1:]
        return np.bincount(self.number, weights=values, minlength=self.count + 1)[1:] / voxels


@dataclass(frozen=True)
class CaseLesions:
    """The lesions of one case; pairs hold the reference first, the prediction second.

    box       of everything in the scan, three slices (z, y, x); labels uint8 of both sides in it.
    sides     the Lesions of both; table: their `matching.overlaps`; matching: their Matching.
    measured  dict of arrays (lesions,) per side: depth_mm (nan without a liver), contrast_hu (nan
              without a scan), what `false_positives.measure` gives, and `false_positive_type`.
    """

    box: tuple
    labels: tuple
    sides: tuple
    table: np.ndarray
    matching: matching.Matching
    measured: tuple

    @classmethod
    def of(cls, labels, box, tumour_box, liver_surfaces, spacing_mm, hu):
        """From both sides' labels uint8 (z, y, x) in `box` of the scan; also in it: tumour_box, of
        all tumour, liver_surfaces of both, bool, and hu int16 or None.
        """
        corner = [edge.start for edge in tumour_box]
        sides = tuple(Lesions.of(side[tumour_box] == 2, corner) for side in labels)
        table = matching.overlaps(*(side.components for side in sides))
        trees = [None, None]
        if any(side.count for side in sides):
            trees = [metrics.tree_of(s, spacing_mm) if s.any() else None for s in liver_surfaces]
        healthy = None if hu is None else hu[(labels[0] == 1) & (labels[1] != 2)]
        healthy_hu = np.nan if healthy is None or not len(healthy) else float(healthy.mean())
        measured = []
        for side in sides:
            centres_mm = side.centres_zyx * np.asarray(spacing_mm)
            undefined = np.full(side.count, np.nan)
            looks = false_positives.measure(side, labels[0], trees[1], spacing_mm, hu)
            types = false_positives.false_positive_type(looks, healthy)
            depth_mm = trees[0].query(centres_mm)[0] if trees[0] else undefined
            place = {"depth_mm": depth_mm, "contrast_hu": looks["hu"] - healthy_hu}
            measured.append(place | looks | {"false_positive_type": types})
        return cls(box, labels, sides, table, matching.match(table), tuple(measured))

    def counts(self, voxel_ml, affine):
        """The columns of cases.csv that count lesions."""
        shape = self.labels[0].shape
        voxels = ((side.index_zyx, side.number) for side in self.sides)
        orders = [np.r_[0, matching.in_file_order(*where, shape, affine)] for where in voxels]
        table = self.table[np.ix_(*orders)]
        match, false = self.matching, self.matching.false_positive
        columns = {
            "lesions": self.sides[0].count, "lesions_found_iou50": int(match.reference_found.sum()),
            "lesions_found_any": int(match.reference_hit.sum()),
            "predicted_lesions": self.sides[1].count,
            "true_positives_iou50": int(match.true_positive.sum()),
            "true_positives_any": int((~false).sum()), "false_lesions": int(false.sum()),
            "false_ml": float(match.voxels[1][false].sum() * voxel_ml),
        }
        for name, least in (("50", 0.5), ("any", 0.0)):
            counted = zip(("tp", "fp", "fn"), matching.lits_official_detections(table, least))
            columns |= {f"lits_official_{kind}_{name}": number for kind, number in counted}
        return columns

    def rows(self, case, voxel_ml):
        """Rows of lesions.csv, reference lesions first, the largest first on either side."""
        rows = []
        for side, name in enumerate(SIDES):
            order = np.argsort(-self.matching.voxels[side], kind="stable")
            columns = self._columns(side, voxel_ml)
            values = zip(*(np.asarray(column)[order].tolist() for column in columns.values()))
            for number, row in enumerate(values, start=1):
                first = {"case": case, "side": name, "lesion": number}
                rows.append(first | dict(zip(columns, row, strict=True)))
        return rows

    def _columns(self, side, voxel_ml):
        """Columns of lesions.csv, arrays (lesions,) in the order of the components."""
        lesions, measured = self.sides[side], dict(self.measured[side])
        start = np.array([edge.start for edge in self.box])
        volume_ml = self.matching.voxels[side] * voxel_ml
        diameter_mm = np.array([volume.diameter_mm(ml) for ml in volume_ml.tolist()])
        depth_mm, contrast_hu = measured.pop("depth_mm"), measured.pop("contrast_hu")
        z, y, x = np.rint(lesions.centres_zyx + start).astype(int).T
        first, last = (lesions.slices + start[0]).T
        verdicts = self.matching.verdicts(side)
        false = verdicts["kind"] == "false"
        measured["false_positive_type"] = np.where(false, measured["false_positive_type"], "")
        return {
            "component": np.arange(1, lesions.count + 1),
            "volume_ml": volume_ml, "diameter_mm": diameter_mm,
            "size": list(map(size_of, diameter_mm)),
            "index_z": z, "index_y": y, "index_x": x, "first_slice": first, "last_slice": last,
            "where": _where(lesions.centres_zyx, self.labels), "depth_mm": depth_mm,
            "place": np.select([np.isnan(depth_mm), depth_mm < diameter_mm / 2 + NEAR_CAPSULE_MM],
                               ["", "capsule"], "deep"),
            "contrast_hu": contrast_hu, **verdicts, **measured,
        }


def _where(centres_zyx, labels):
    """ "right, front, lower" for each centre: in which halves of the liver's box it lies, that of
    the first labels with a liver.
    """
    livers = (boxes.box_of(side >= 1) for side in labels)
    box = next((box for box in livers if box), None)
    if box is None:
        return [""] * len(centres_zyx)
    beyond = centres_zyx > [(side.start + side.stop - 1) / 2 for side in box]
    names = (("lower", "upper"), ("front", "back"), ("right", "left"))
    return [", ".join(names[axis][int(b[axis])] for axis in (2, 1, 0)) for b in beyond]


def size_of(diameter_mm):
    """The size class of a lesion: "small" under 10 mm, "medium" up to 20 mm, "large" above."""
    return SIZES[0] if diameter_mm < 10 else SIZES[1] if diameter_mm <= 20 else SIZES[2]
