"""What LiTS measures on a pair of masks: overlap, volume, surface distance, also of empty masks.

A value that does not exist (the distance to an empty surface) is nan, never 0 and never left out.
"""

from dataclasses import dataclass

import edt
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

CLASSES = ("liver", "tumour")  # liver is label >= 1, tumour is label == 2
NEIGHBOURS = ndimage.generate_binary_structure(3, 2)  # the 18 that share a face or an edge
NEAR_MM = 8.0  # within this a search tree is quickest; beyond, many voxels are almost as near
MANY_FAR = 40_000  # voxels farther than that from which a distance map is quicker than the tree


def confusion_by_slice(reference, prediction):
    """How often each pair of labels meets: int64 (z, 3, 3), [slice, label in reference, label in
    prediction], of two uint8 (z, y, x).

    Raises ValueError for labels other than 0, 1, 2.
    """
    highest = max(int(labels.max(initial=0)) for labels in (reference, prediction))
    if highest > 2:
        raise ValueError(
            f"a mask holds the label {highest}; labels are 0 background, 1 liver, 2 tumour"
        )
    codes = (3 * r + p for r, p in zip(reference, prediction, strict=True))
    return np.stack([np.bincount(code.ravel(), minlength=9).reshape(3, 3) for code in codes])


def counts(confusion, organ):
    """(voxels in reference, in prediction, in both) of a class, from confusions (…, 3, 3)."""
    first = CLASSES.index(organ) + 1
    tables = confusion[..., first:, :], confusion[..., first:], confusion[..., first:, first:]
    return tuple(table.sum((-1, -2)) for table in tables)


def dice(reference, prediction, both):
    """2·both / (reference + prediction) from voxel counts; 1 if both masks are empty, 0 if one is.

    Source: the LiTS organisers' "Dice per case".
    """
    total = np.asarray(reference + prediction, dtype=float)
    return np.where(total > 0, 2.0 * both / np.maximum(total, 1), 1.0)[()]


def dice_per_organ(reference, prediction):
    """{"liver_dice", "tumour_dice"} of labels uint8 (z, y, x): in a tenth of the time that
    `case_scores.score` takes.
    """
    confusion = confusion_by_slice(reference, prediction).sum(0)
    return {f"{organ}_dice": float(dice(*counts(confusion, organ))) for organ in CLASSES}


def jaccard(reference, prediction, both):
    """both / union from voxel counts, by the same rule for empties; VOE is 1 − this."""
    union = np.asarray(reference + prediction - both, dtype=float)
    return np.where(union > 0, both / np.maximum(union, 1), 1.0)[()]


def volume_differences(reference, prediction):
    """Relative volume difference from voxel counts or millilitres: ((R − P) / P, as in the
    organisers' current script; (P − R) / R, as in their table of 2017); nan where the divisor is 0.
    """
    difference = float(prediction) - float(reference)
    lits_official = -difference / prediction if prediction else np.nan
    return lits_official, (difference / reference if reference else np.nan)


def burden(confusion):
    """Share of the liver that is tumour, in (reference, prediction); nan without a liver."""
    liver, tumour = counts(confusion, "liver")[:2], counts(confusion, "tumour")[:2]
    return tuple(float(t / n) if n else np.nan for t, n in zip(tumour, liver, strict=True))


def surface(mask):
    """The voxels of a mask bool (z, y, x) that erosion by 18 neighbours takes; outside is empty.

    Source: the LiTS organisers' surface, Heimann et al. 2009, doi 10.1109/TMI.2009.2013851.
    """
    return mask & ~ndimage.binary_erosion(mask, NEIGHBOURS)


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances in mm from each surface voxel to the other mask's surface; both may be empty."""

    from_reference: np.ndarray
    from_prediction: np.ndarray

    @property
    def both(self):
        return np.concatenate([self.from_reference, self.from_prediction])

    def assd_mm(self):
        """Average symmetric surface distance: the mean of all distances, both directions pooled."""
        return float(self.both.mean()) if len(self.both) else np.nan

    def rmsd_mm(self):
        """Root mean square of all distances, both directions pooled."""
        return float(np.sqrt(np.square(self.both).mean())) if len(self.both) else np.nan

    def msd_mm(self):
        """The largest distance in either direction (Hausdorff)."""
        return float(self.both.max()) if len(self.both) else np.nan

    def hd95_mm(self):
        """The larger of both directions' 95th percentiles, interpolated; MedPy pools them first."""
        directions = (self.from_reference, self.from_prediction)
        return max(float(np.percentile(mm, 95)) for mm in directions) if len(self.both) else np.nan

    def surface_dice(self, tolerance_mm):
        """Share of all surface voxels within a tolerance of the other surface.

        Counts voxels, as MONAI does; google-deepmind's surface-distance weighs them by area, which
        differs by some hundredths.
        """
        return float((self.both <= tolerance_mm).mean()) if len(self.both) else np.nan


def distances_between(a, b, spacing_mm):
    """The SurfaceDistances of two surfaces bool (z, y, x), as `surface` gives them, between the
    centres of their voxels; empty on both sides when one surface is. spacing_mm: (z, y, x).
    """
    if not a.any() or not b.any():
        return SurfaceDistances(np.zeros(0), np.zeros(0))
    return SurfaceDistances(*(nearest_distances_mm(*pair, spacing_mm) for pair in ((a, b), (b, a))))


def nearest_distances_mm(start, goal, spacing_mm):
    """Distance in mm from each True voxel of `start` to the nearest one of `goal`, between centres:
    float64 (n,), in the order of `np.flatnonzero(start)`.

    start, goal  bool (z, y, x) of one shape, C-contiguous; `goal` holds at least one voxel.
    Exact; where more than MANY_FAR voxels are far off, those have seven digits.
    """
    index = np.flatnonzero(start)  # of the flat array: several times faster than along three axes
    out = np.zeros(len(index))
    apart = np.flatnonzero(~goal.ravel()[index])
    if len(apart):
        tree, centres = tree_of(goal, spacing_mm), centres_mm(index[apart], goal.shape, spacing_mm)
        out[apart] = tree.query(centres, distance_upper_bound=NEAR_MM)[0]
        far = np.isinf(out[apart])
        if np.count_nonzero(far) > MANY_FAR:
            distance_map = edt.edt(~goal, anisotropy=tuple(spacing_mm), parallel=1)
            out[apart[far]] = distance_map.ravel()[index[apart[far]]]
        elif far.any():
            out[apart[far]] = tree.query(centres[far])[0]
    return out


def tree_of(mask, spacing_mm):
    """A search tree over the centres of the True voxels of a mask (z, y, x), in mm."""
    centres = centres_mm(np.flatnonzero(mask), mask.shape, spacing_mm)
    return cKDTree(centres, leafsize=32, balanced_tree=False)


def centres_mm(index, shape, spacing_mm):
    """Centres in mm (n, 3) of voxels that are given by their index in the flat array."""
    return np.stack(np.unravel_index(index, shape), axis=1) * np.asarray(spacing_mm, float)
