"""The lesions of one case on both sides: where they lie, how large and how visible they are, and what became of each."""

from dataclasses import dataclass

import numpy as np

from helpers.scans import volume
from helpers.scoring import false_positives, metrics

NEAR_CAPSULE_MM = 5.0
FOUND_IOU = 0.5
SIZES = ("small", "medium", "large")  # under 10 mm, 10 to 20 mm, over 20 mm


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


@dataclass(frozen=True)
class Matching:
    """How reference and predicted lesions belong together.

    overlap           int64 (references, predictions), voxels in both.
    reference_voxels  int64 (references,); prediction_voxels likewise.
    reference_group   int (references,), which group a reference lesion is in.
    prediction_group  int (predictions,), −1 for one that meets no reference.
    iou               float (groups,), of all the group's references with all its predictions; 0 for a group without any.
    """

    overlap: np.ndarray
    reference_voxels: np.ndarray
    prediction_voxels: np.ndarray
    reference_group: np.ndarray
    prediction_group: np.ndarray
    iou: np.ndarray

    @property
    def found(self):
        """bool (references,): its group's IoU is above 0.5."""
        return self.iou[self.reference_group] > FOUND_IOU if len(self.iou) else np.zeros(0, bool)

    @property
    def touched(self):
        """bool (references,): any predicted voxel lies in it."""
        return self.overlap.any(1)

    @property
    def true(self):
        """bool (predictions,): it belongs to a group with IoU above 0.5."""
        belongs = self.prediction_group >= 0
        return belongs & (np.append(self.iou, 0.0)[self.prediction_group] > FOUND_IOU)

    @property
    def touching(self):
        """bool (predictions,): it meets any reference lesion."""
        return self.overlap.any(0)


@dataclass
class Components:
    """The lesions of one case, reference first and prediction second, in the box that holds them.

    box     the box in the scan, three slices (z, y, x); labels (reference, prediction) uint8 in it.
    table   `lesions.overlaps` of the two sides; found is its Matching.
    depth_mm, contrast_hu  a float array per side, nan where there is no liver or no scan.
    looks   a dict of arrays per side: what `error_kinds.measure` says, and `false_positive_type`.
    """

    box: tuple
    labels: tuple
    sides: tuple
    table: np.ndarray
    found: Matching
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
        table = overlaps(sides[0].pieces, sides[0].count, sides[1].pieces, sides[1].count)
        (surface, predicted_surface), liver_box = liver
        depths = _depths(sides, inner, (surface, liver_box), spacing_mm)
        healthy = None if hu is None else hu[(reference == 1) & (prediction != 2)]
        contrasts = tuple(_contrasts(side, hu, inner, healthy) for side in sides)
        around = labels[0] == 0, None if hu is None else hu[inner], predicted_surface, inner, liver_box, spacing_mm
        looks = [false_positives.measure(side, *around) for side in sides]
        looks = tuple(look | {"false_positive_type": false_positives.false_positive_type(look, healthy)} for look in looks)
        box = tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(box, inner, strict=True))
        return cls(box, labels, sides, table, match(table), depths, contrasts, looks)

    def counts(self, voxel_ml, affine):
        """The columns of cases.csv that count lesions."""
        found, false = self.found, ~self.found.touching
        numbers = [in_file_order(side.at, side.number, side.pieces.shape, affine) for side in self.sides]
        theirs = self.table[np.ix_(np.r_[0, numbers[0]], np.r_[0, numbers[1]])]
        out = {
            "lesions": len(found.reference_group), "lesions_found_iou50": int(found.found.sum()),
            "lesions_found_any": int(found.touched.sum()), "predicted_lesions": len(found.prediction_group),
            "predicted_true_iou50": int(found.true.sum()), "predicted_true_any": int(found.touching.sum()),
            "false_lesions": int(false.sum()), "false_ml": float(found.prediction_voxels[false].sum() * voxel_ml),
        }  # fmt: skip
        for name, least in (("50", 0.5), ("any", 0.0)):
            counted = lits_official_detections(theirs, least)
            out |= {f"lits_official_{kind}_{name}": n for kind, n in zip(("tp", "fp", "fn"), counted, strict=True)}
        return out

    def rows(self, case, voxel_ml):
        """Rows of lesions.csv, reference lesions first, the largest first on either side."""
        out, start = [], np.array([part.start for part in self.box])
        for side, name in enumerate(("reference", "prediction")):
            voxels = (self.found.reference_voxels, self.found.prediction_voxels)[side]
            centres = np.rint(self.sides[side].centres + start).astype(int)
            slices = self.sides[side].slices + start[0]
            verdicts = {name: column.tolist() for name, column in lesion_verdicts(self.found, side).items()}
            looks = {name: column.tolist() for name, column in self.looks[side].items()}
            for number, k in enumerate(np.argsort(-voxels, kind="stable"), start=1):
                ml, depth = float(voxels[k] * voxel_ml), float(self.depth_mm[side][k])
                diameter = volume.diameter_mm(ml)
                row = {"case": case, "side": name, "lesion": number, "piece": int(k) + 1, "volume_ml": ml}
                row |= {"diameter_mm": diameter, "size": size_of(diameter)}
                row |= dict(zip(("index_z", "index_y", "index_x"), centres[k].tolist(), strict=True))
                row |= dict(zip(("first_slice", "last_slice"), slices[k].tolist(), strict=True))
                row |= {"depth_mm": depth, "place": _place(depth, diameter), "contrast_hu": float(self.contrast_hu[side][k])}
                row |= {name: column[k] for name, column in (verdicts | looks).items()}
                out.append(row if row["kind"] == "false" else row | {"false_positive_type": ""})
        return out


def _depths(sides, inner, liver, spacing_mm):
    """Distance of every lesion's centre to the reference liver's surface, mm; nan without a liver."""
    surface, liver_box = liver
    if not surface.any() or not any(side.count for side in sides):
        return tuple(np.full(side.count, np.nan) for side in sides)
    offset = np.array([i.start - o.start for i, o in zip(inner, liver_box, strict=True)])
    tree = metrics.tree_of(surface, spacing_mm)
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


def overlaps(reference_pieces, references, prediction_pieces, predictions):
    """Voxels that every reference and every predicted lesion have in common, int64 (references + 1, predictions + 1).

    Row 0 and column 0 stand for background, so that rows and columns add up to the lesions' sizes.
    """
    here = (reference_pieces > 0) | (prediction_pieces > 0)
    width = predictions + 1
    code = reference_pieces[here].astype(np.int64) * width + prediction_pieces[here]
    return np.bincount(code, minlength=(references + 1) * width).reshape(references + 1, width)


def match(table):
    """Group lesions that belong together, from `overlaps`.

    Reference lesions whose largest overlap is with the same prediction are one group (it merged them), and every
    prediction joins the group that it overlaps most (several that join one group split it). So did the organisers
    mean it. Equal overlaps tie all they concern together, so that neither order nor orientation decides.

    returns  Matching.
    """
    inner = np.asarray(table[1:, 1:], dtype=np.int64)
    group = _joined((inner == inner.max(1, keepdims=True, initial=1)) & (inner > 0))
    while True:
        groups = int(group.max(initial=-1)) + 1
        weight = np.zeros((groups, inner.shape[1]), np.int64)
        np.add.at(weight, group, inner)
        best = (weight == weight.max(0, keepdims=True, initial=1)) & (weight > 0)
        joined = _joined(best)
        if int(joined.max(initial=-1)) + 1 == groups:
            break
        group = joined[group]
    joins = np.where(best.any(0), best.argmax(0), -1) if groups else np.full(inner.shape[1], -1)
    sizes = table[1:].sum(1), table[:, 1:].sum(0)
    iou = np.zeros(groups)
    for k in range(groups):
        both = weight[k, joins == k].sum()
        iou[k] = both / (sizes[0][group == k].sum() + sizes[1][joins == k].sum() - both)
    return Matching(inner, *sizes, group, joins, iou)


def _joined(links):
    """Number the rows of a bool table (rows, columns) so that rows which share a column have one number, from 0 up."""
    from scipy.sparse.csgraph import connected_components

    return connected_components(links @ links.T, directed=False)[1]


def size_of(diameter_mm):
    """The size class of a lesion: "small" under 10 mm, "medium" up to 20 mm, "large" above."""
    return SIZES[0] if diameter_mm < 10 else SIZES[1] if diameter_mm <= 20 else SIZES[2]


def lesion_verdicts(found, side):
    """What became of every lesion of one side: columns of lesions.csv, a dict of arrays (lesions,).

    found  Matching; side 0 for the reference, 1 for the prediction.
    Columns: group, iou of the group, dice of this lesion with the other side of its group, found_iou50 and found_any
    (for a prediction: whether it is true by that rule), and `kind`:
    reference   "found", "merged" (found with neighbours, in one prediction), "split" (found, in several predictions),
                "merged and split", "poor" (touched, but IoU at most 0.5), "missed" (no predicted voxel in it);
    prediction  "true", "merge" (of several references), "split" (one of several in a reference), "merge and split",
                "poor" (touches a reference, IoU at most 0.5), "false" (touches none).
    """
    groups = (found.reference_group, found.prediction_group)
    own, other, voxels = groups[side], groups[1 - side], (found.reference_voxels, found.prediction_voxels)
    belongs = own >= 0
    slots = len(found.iou) + 1  # the last one, which −1 points at, stands for "no group"
    members = [np.bincount(group[group >= 0], minlength=slots) for group in groups]
    against = np.bincount(other[other >= 0], weights=voxels[1 - side][other >= 0], minlength=slots)
    meets = found.overlap * (groups[0][:, None] == groups[1])
    both = meets.sum(1 - side) * belongs
    hit, touched = (found.found, found.touched) if side == 0 else (found.true, found.touching)
    merged, split = members[0][own] > 1, members[1][own] > 1
    names = (("found", "merged", "missed"), ("true", "merge", "false"))[side]
    kind = np.select(
        [~touched, ~hit, merged & split, merged, split], [names[2], "poor", f"{names[1]} and split", names[1], "split"], names[0]
    )
    return {
        "group": own, "iou": np.append(found.iou, 0.0)[own], "dice": 2 * both / (voxels[side] + against[own]),
        "found_iou50": hit, "found_any": touched, "kind": kind,
    }  # fmt: skip


def lits_official_detections(table, least_overlap=0.5):
    """(true positives, false positives, false negatives) as the organisers' script counts them.

    table  `lesions.overlaps`, lesions numbered in the order in which the file's own array meets them (`in_file_order`).

    It differs from ours (`lesions.match`) in three ways, all faults of the script that published numbers carry:
    1. for the union of a group it looks up the predictions under another group's number: the union comes out too small or
       too large, depending on the order of labels, so that an unrelated lesion can turn a miss into a hit and a hit into a miss;
    2. a group of several references that is found counts as one, one that is missed takes off all of them: the true
       positives can fall below 0;
    3. a reference without lesions made it stop; here all predictions are false positives then.

    Source: PatrickChrist/lits-challenge-scoring, `detect_lesions`, told again on the table of overlaps.
    """
    inner = np.asarray(table[1:, 1:], np.int64)
    references, predictions = inner.shape
    seen = np.flatnonzero(inner.any(0))  # predictions that meet no reference take no part
    if not len(seen):
        return 0, predictions, references
    owner = np.where(inner.any(1), inner.argmax(1), -1 - np.arange(references))  # references of one prediction are merged
    groups = [np.flatnonzero(owner == o) for o in dict.fromkeys(owner.tolist())]  # in the order of their first members
    names = [int(group[0]) + 1 for group in groups]
    together = np.stack([inner[group].sum(0) for group in groups])  # (groups, predictions)
    joins = together.argmax(0)
    parts = {name: seen[joins[seen] == g] for g, name in enumerate(names)}  # predictions by the number of their group
    reference_voxels, prediction_voxels = table[1:].sum(1), table[:, 1:].sum(0)
    taken = sorted((g for g, name in enumerate(names) if len(parts[name])), key=lambda g: parts[names[g]][0])
    positives = len(taken)
    for g in taken:
        group, own = groups[g], parts[names[g]]
        wrong = parts.get(int(own[0]) + 1, seen[:0])  # fault 1: its first prediction's number, taken for a group's
        union = reference_voxels[group].sum() + prediction_voxels[wrong].sum() - inner[np.ix_(group, wrong)].sum()
        if together[g, own].sum() / union <= least_overlap:
            parts[names[g]] = seen[:0]
            positives -= len(group)  # fault 2
    return int(positives), int(predictions - positives), int(references - positives)


def in_file_order(at, number, shape, affine):
    """Numbers of lesions in the order in which a scan through the file's own array meets them.

    at       int (n, 3), places (z, y, x) of all lesion voxels; number int (n,), which lesion each belongs to.
    shape    of the array (z, y, x); affine (4, 4) of the file.
    returns  int (lesions,); `table[np.r_[0, order]]` brings the rows of a table into that order.
    """

    file_shape = volume.to_file_axes(np.broadcast_to(np.uint8(0), shape), affine).shape
    key = np.zeros(len(at), np.int64)
    for axis, size in enumerate(file_shape):
        along = np.arange(size).reshape([-1 if k == axis else 1 for k in range(3)])
        ours = volume.to_canonical(np.broadcast_to(along, file_shape), affine)  # a view: how far along the file's axis, for (z, y, x)
        key = key * size + ours[tuple(at.T)]
    first = np.full(int(number.max(initial=0)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, number, key)
    return np.argsort(first[1:]) + 1
