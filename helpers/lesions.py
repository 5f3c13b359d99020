"""Which lesions were found: components, how they meet, and groups of lesions that belong together."""

from dataclasses import dataclass

import numpy as np

FOUND_IOU = 0.5
SIZES = ("small", "medium", "large")  # under 10 mm, 10 to 20 mm, over 20 mm


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


def verdicts(found, side):
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
