"""Which stage of the cascade lost a lesion, and what its probabilities say: from the files that notebook 05 leaves."""

import json
from dataclasses import dataclass

import numpy as np

from helpers import components, label_files, metrics, paths

STAGES = {
    "gate": "the gate dropped all its slices",
    "liver": "half of it or more lies outside the predicted liver",
    "tumour": "the tumour network gives it no probability above the threshold",
    "clean-up": "the network saw it, post-processing removed it",
    "outline": "it was met, but outlined too poorly (IoU at most 0.5)",
}


@dataclass
class Evidence:
    """What the cascade left about a case: its log, and probabilities and their spread, uint8 (z, y, x), where they were kept."""

    log: dict
    liver: np.ndarray | None = None
    tumour: np.ndarray | None = None
    spread: np.ndarray | None = None

    @property
    def threshold(self):
        """The least grey level of the tumour probability that counts as tumour."""
        return self.log["rules"]["tumour_threshold"] * components.PEAK


def read(run, case, volume):
    """The Evidence that notebook 05 wrote for a case of a run; None when there is no log.

    Raises ValueError, naming the file, for one that can't be read or doesn't fit the scan.
    """
    path = run.log(case)
    if not path.is_file():
        return None
    try:
        log = paths.read_json(path)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: is no JSON ({error})") from error
    if log.get("outcome") != "failed" and not {"gate_slices", "rules"} <= log.keys():
        raise ValueError(f"{path}: was written by an older notebook 05; run it again")
    files = {organ: run.probability(case, organ) for organ in metrics.CLASSES} | {"spread": run.spread(case)}
    return Evidence(log, **{name: label_files.read_mask(file, volume) for name, file in files.items() if file.is_file()})


def slices_kept(log):
    """Which slices the gate let through, bool (slices,), feet first; all of them when there was no gate."""
    kept = np.zeros(int(log["slices"]), bool)
    kept[slice(*log["gate_slices"])] = True
    return kept


def blame(pieces, evidence):
    """Which stage lost each reference lesion: a key of STAGES, "" for a lesion that was found.

    pieces    case_scores.Pieces.
    returns   dict of piece number (1 … n) to the stage.
    """
    predicted = pieces.labels[1]
    kept = slices_kept(evidence.log)[pieces.box[0]]
    likely = None if evidence.tumour is None else evidence.tumour[pieces.box]
    corner = [edge.start for edge in pieces.box]
    dropped = [found for found in evidence.log.get("removed", []) if found["why"] == "gallbladder"]  # left the liver as well
    bladders = [np.subtract(found["index_zyx"], corner) for found in dropped]
    out = {}
    for k, (found, touched) in enumerate(zip(pieces.found.found, pieces.found.touched, strict=True), start=1):
        if found:
            out[k] = ""
            continue
        z, y, x = pieces.sides[0].at[pieces.sides[0].number == k].T
        if not kept[np.unique(z)].any():
            out[k] = "gate"
        elif (predicted[z, y, x] >= 1).mean() <= 0.5:
            out[k] = "clean-up" if _lies_on(bladders, z, y, x) else "liver"
        elif touched:
            out[k] = "outline"
        else:
            seen = likely is not None and (likely[z, y, x] >= evidence.threshold).any()
            out[k] = "clean-up" if seen else "tumour"
    return out


def _lies_on(spots, z, y, x):
    """Whether one of some spots (z, y, x) lies in the box of a lesion's voxels."""
    return any(all(c.min() <= at <= c.max() for c, at in zip((z, y, x), spot, strict=True)) for spot in spots)


def levels(reference, evidence):
    """How many voxels of each label have each level of probability: all that a ROC curve needs.

    returns  list of dicts organ, label (0, 1, 2), level (0 … 255), voxels; levels without voxels are left out.
    """
    rows = []
    for organ in metrics.CLASSES:
        likely = getattr(evidence, organ)
        if likely is None:
            continue
        counts = np.zeros(3 * 256, np.int64)
        for truth, plane in zip(reference, likely, strict=True):
            counts += np.bincount((truth.astype(np.int16) * 256 + plane).ravel(), minlength=3 * 256)
        for i in np.flatnonzero(counts):
            rows.append({"organ": organ, "label": int(i // 256), "level": int(i % 256), "voxels": int(counts[i])})
    return rows


def roc(positives, negatives):
    """ROC curve of a score in steps, from how often each value occurs.

    positives, negatives  counts (n_levels,), the lowest level first.
    returns               (false positive rate, true positive rate, area); both rates fall from 1 to 0. The area is nan when
                          there are only positives or only negatives; equal levels count one half, as in Mann and Whitney.
    """
    positives, negatives = np.asarray(positives, float), np.asarray(negatives, float)
    if not positives.sum() or not negatives.sum():
        return np.array([1.0, 0.0]), np.array([1.0, 0.0]), float("nan")
    tpr = np.append(positives[::-1].cumsum()[::-1] / positives.sum(), 0.0)
    fpr = np.append(negatives[::-1].cumsum()[::-1] / negatives.sum(), 0.0)
    return fpr, tpr, float(-(np.diff(fpr) * (tpr[1:] + tpr[:-1])).sum() / 2)


def roc_of_scores(truth, scores):
    """`roc` for single scores: truth bool (n,), scores float (n,)."""
    values, index = np.unique(np.asarray(scores, float), return_inverse=True)
    truth = np.asarray(truth, bool)
    return roc(*(np.bincount(index[which], minlength=len(values)) for which in (truth, ~truth)))
