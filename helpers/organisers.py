"""The LiTS organisers' own lesion counts, faults included, to compare with numbers published under their script."""

import numpy as np


def detections(table, least_overlap=0.5):
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
    from helpers import ct

    file_shape = ct.to_file_axes(np.broadcast_to(np.uint8(0), shape), affine).shape
    key = np.zeros(len(at), np.int64)
    for axis, size in enumerate(file_shape):
        along = np.arange(size).reshape([-1 if k == axis else 1 for k in range(3)])
        ours = ct.to_canonical(np.broadcast_to(along, file_shape), affine)  # a view: how far along the file's axis, for (z, y, x)
        key = key * size + ours[tuple(at.T)]
    first = np.full(int(number.max(initial=0)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, number, key)
    return np.argsort(first[1:]) + 1
