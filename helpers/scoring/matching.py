"""Which lesions belong together, and which are found: as we and as the LiTS organisers count."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components

from helpers.scans import volume

FOUND_IOU = 0.5


@dataclass(frozen=True)
class Matching:
    """How reference and predicted lesions belong together; pairs hold references first.

    overlap  int64 (references, predictions), voxels in both.
    voxels   the lesions' sizes, int64 (references,) and (predictions,).
    group    which group each lesion is in, int; −1 for a prediction that meets no reference.
    iou      float (groups,), of all the group's references with all its predictions; 0 without any.
    """

    overlap: np.ndarray
    voxels: tuple
    group: tuple
    iou: np.ndarray

    @property
    def reference_found(self):
        """bool (references,): the IoU of its group is above 0.5."""
        return self.iou_of_group(0) > FOUND_IOU

    @property
    def reference_hit(self):
        """bool (references,): any predicted voxel lies in it."""
        return self.overlap.any(1)

    @property
    def true_positive(self):
        """bool (predictions,): it belongs to a group with IoU above 0.5."""
        return self.iou_of_group(1) > FOUND_IOU

    @property
    def false_positive(self):
        """bool (predictions,): it meets no reference lesion."""
        return ~self.overlap.any(0)

    def iou_of_group(self, side):
        """IoU of each lesion's group, 0 for a lesion without one; side 0 is the reference."""
        return np.append(self.iou, 0.0)[self.group[side]]

    def verdicts(self, side):
        """What became of every lesion of one side: columns of lesions.csv, arrays (lesions,).

        Columns: group, iou of the group, dice of this lesion with the other side of its group,
        found_iou50 and found_any (for a prediction: whether it is true by that rule), and `kind`:
        reference   "found", "merged" (found with neighbours, in one prediction), "split" (found,
                    in several predictions), "merged and split", "poor" (hit, but IoU at most
                    0.5), "missed" (no predicted voxel in it);
        prediction  "true", "merge" (of several references), "split" (one of several in a
                    reference), "merge and split", "poor" (hits a reference, IoU at most 0.5),
                    "false" (hits none).
        """
        group, other = self.group[side], self.group[1 - side]
        slots = len(self.iou) + 1  # the last one, which −1 points at, stands for "no group"
        references, predictions = (np.bincount(g[g >= 0], minlength=slots) for g in self.group)
        grouped = other >= 0
        against = np.bincount(other[grouped], self.voxels[1 - side][grouped], minlength=slots)
        same_group = self.group[0][:, None] == self.group[1]
        both = (self.overlap * same_group).sum(1 - side) * (group >= 0)
        found = (self.reference_found, self.true_positive)[side]
        hit = (self.reference_hit, ~self.false_positive)[side]
        merged, split = references[group] > 1, predictions[group] > 1
        good, merge, none = (("found", "merged", "missed"), ("true", "merge", "false"))[side]
        kind = np.select(
            [~hit, ~found, merged & split, merged, split],
            [none, "poor", f"{merge} and split", merge, "split"], good,
        )
        return {
            "group": group, "iou": self.iou_of_group(side),
            "dice": 2 * both / (self.voxels[side] + against[group]),
            "found_iou50": found, "found_any": hit, "kind": kind,
        }


def overlaps(reference, prediction):
    """Voxels that every reference and every predicted lesion have in common: int64 (references + 1,
    predictions + 1); row and column 0 stand for background, so that rows and columns add up to the
    lesions' sizes.

    reference, prediction  int (z, y, x), lesions numbered from 1, 0 elsewhere.
    """
    somewhere = (reference > 0) | (prediction > 0)
    height, width = (int(components.max(initial=0)) + 1 for components in (reference, prediction))
    code = reference[somewhere].astype(np.int64) * width + prediction[somewhere]
    return np.bincount(code, minlength=height * width).reshape(height, width)


def match(table):
    """The Matching of lesions that belong together, from `overlaps`.

    Reference lesions whose largest overlap is with the same prediction are one group (it merged
    them), and every prediction joins the group that it overlaps most (several that join one group
    split it). So did the organisers mean it. Equal overlaps tie all they concern together, so that
    neither order nor orientation decides.
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
    return Matching(inner, sizes, (group, joins), iou)


def _joined(links):
    """Number the rows of a bool table from 0, so that rows which share a column have one number."""
    return connected_components(links @ links.T, directed=False)[1]


def lits_official_detections(table, least_overlap=0.5):
    """(true positives, false positives, false negatives) as the organisers' script counts them.

    table  `overlaps`, lesions numbered as the file's own array meets them (`in_file_order`).

    It differs from ours (`match`) in three ways, faults of the script that published numbers carry:
    1. for the union of a group it looks up the predictions under another group's number: the union
       comes out too small or too large, depending on the order of labels, so that an unrelated
       lesion can turn a miss into a hit and a hit into a miss;
    2. a group of several references that is found counts as one, one that is missed takes off all
       of them: the true positives can fall below 0;
    3. a reference without lesions made it stop; here all predictions are false positives then.

    Source: PatrickChrist/lits-challenge-scoring, `detect_lesions`, redone on the table of overlaps.
    """
    inner = np.asarray(table[1:, 1:], np.int64)
    references, predictions = inner.shape
    meeting = np.flatnonzero(inner.any(0))  # predictions that meet no reference take no part
    if not len(meeting):
        return 0, predictions, references
    # references of one prediction are merged
    owner = np.where(inner.any(1), inner.argmax(1), -1 - np.arange(references))
    # groups in the order of their first members, each named by its first
    groups = [np.flatnonzero(owner == o) for o in dict.fromkeys(owner.tolist())]
    names = [int(group[0]) + 1 for group in groups]
    together = np.stack([inner[group].sum(0) for group in groups])  # (groups, predictions)
    joins = together.argmax(0)
    joined = {name: meeting[joins[meeting] == g] for g, name in enumerate(names)}
    reference_voxels, prediction_voxels = table[1:].sum(1), table[:, 1:].sum(0)
    hits = [g for g, name in enumerate(names) if len(joined[name])]
    positives = len(hits)
    for g in sorted(hits, key=lambda g: joined[names[g]][0]):
        group, predicted = groups[g], joined[names[g]]
        # fault 1: its first prediction's number, taken for a group's
        wrong = joined.get(int(predicted[0]) + 1, meeting[:0])
        both = inner[np.ix_(group, wrong)].sum()
        union = reference_voxels[group].sum() + prediction_voxels[wrong].sum() - both
        if together[g, predicted].sum() / union <= least_overlap:
            joined[names[g]] = meeting[:0]
            positives -= len(group)  # fault 2
    return int(positives), int(predictions - positives), int(references - positives)


def in_file_order(index_zyx, number, shape, affine):
    """Numbers of lesions, int (lesions,), in the order in which a scan through the file's own array
    meets them; `table[np.r_[0, order]]` brings a table's rows into it.

    index_zyx  int (n, 3), all lesion voxels; number: int (n,), which lesion each belongs to.
    shape      of the array (z, y, x); affine (4, 4) of the file.
    """
    file_shape = volume.to_file_axes(np.broadcast_to(np.uint8(0), shape), affine).shape
    key = np.zeros(len(index_zyx), np.int64)
    for axis, size in enumerate(file_shape):
        along = np.arange(size).reshape([-1 if k == axis else 1 for k in range(3)])
        # a view: how far along the file's axis every (z, y, x) lies
        position = volume.to_canonical(np.broadcast_to(along, file_shape), affine)
        key = key * size + position[tuple(index_zyx.T)]
    first = np.full(int(number.max(initial=0)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, number, key)
    return np.argsort(first[1:]) + 1
