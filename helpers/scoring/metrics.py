"""What LiTS measures on a pair of masks: overlap, volume and surface distance, each with its answer for empty masks.

A value that does not exist (the distance to an empty surface) is nan, never 0 and never left out without a word.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

CLASSES = ("liver", "tumour")  # liver is label >= 1, tumour is label == 2
NEAR_MM = 8.0  # within this a tree is quickest; beyond, it has to look at too many voxels that are almost as near
FEW = 5000


def confusion_by_slice(reference, prediction):
    """How often each pair of labels meets, slice by slice.

    reference, prediction  uint8 (z, y, x) of one shape, labels 0, 1, 2.
    returns                int64 (z, 3, 3), [slice, label in reference, label in prediction].

    Raises ValueError for any other label.
    """
    highest = max(int(labels.max(initial=0)) for labels in (reference, prediction))
    if highest > 2:
        raise ValueError(f"a mask holds the label {highest}; labels are 0 background, 1 liver, 2 tumour")
    pairs = (np.bincount((r * np.uint8(3) + p).ravel(), minlength=9) for r, p in zip(reference, prediction, strict=True))
    return np.stack([pair.reshape(3, 3) for pair in pairs])


def counts(confusion, organ):
    """(voxels in reference, in prediction, in both) of a class, from confusions (…, 3, 3)."""
    first = CLASSES.index(organ) + 1
    parts = confusion[..., first:, :], confusion[..., first:], confusion[..., first:, first:]
    return tuple(part.sum((-1, -2)) for part in parts)


def dice(reference, prediction, both):
    """2·both / (reference + prediction) from voxel counts (numbers or arrays); 1 where both masks are empty, 0 where one is.

    Source: the LiTS organisers' "Dice per case".
    """
    total = np.asarray(reference + prediction, dtype=float)
    return np.where(total > 0, 2.0 * both / np.maximum(total, 1), 1.0)[()]


def jaccard(reference, prediction, both):
    """both / union from voxel counts, by the same rule for empties; VOE is 1 − this."""
    union = np.asarray(reference + prediction - both, dtype=float)
    return np.where(union > 0, both / np.maximum(union, 1), 1.0)[()]


def volume_differences(reference, prediction):
    """Relative volume difference in both conventions, from voxel counts or millilitres.

    returns  ((R − P) / P, as the organisers' current script has it; (P − R) / R, as their table of 2017 has it);
             nan where the divisor is 0.
    """
    difference = float(prediction) - float(reference)
    return (-difference / prediction if prediction else np.nan), (difference / reference if reference else np.nan)


def burden(confusion):
    """Share of the liver that is tumour, in (reference, prediction); nan where there is no liver."""
    liver, tumour = counts(confusion, "liver")[:2], counts(confusion, "tumour")[:2]
    return tuple(float(t / n) if n else np.nan for t, n in zip(tumour, liver, strict=True))


def surface(mask):
    """The voxels of a mask bool (z, y, x) that erosion with the 18-neighbour element takes away; beyond the border is outside.

    Slice by slice, because a voxel stays when its 3 × 3 square is full and so is the cross above and below it.
    Source: the LiTS organisers' surface, Heimann et al. 2009, doi 10.1109/TMI.2009.2013851.
    """
    import cv2

    square, cross = np.ones((3, 3), np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    eroded = partial(cv2.erode, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    planes = np.ascontiguousarray(mask).view(np.uint8)
    nothing = np.zeros(planes.shape[1:], np.uint8)
    out = np.empty(planes.shape, bool)
    below, here = nothing, eroded(planes[0], cross)
    for z, plane in enumerate(planes):
        above = eroded(planes[z + 1], cross) if z + 1 < len(planes) else nothing
        out[z] = plane > (eroded(plane, square) & below & above)
        below, here = here, above
    return out


@dataclass(frozen=True)
class SurfaceDistances:
    """Millimetres from every surface voxel of the reference to the prediction's surface, and the other way; both may be empty."""

    from_reference: np.ndarray
    from_prediction: np.ndarray

    @property
    def both(self):
        return np.concatenate([self.from_reference, self.from_prediction])

    def assd_mm(self):
        """Average symmetric surface distance: the sum of all distances by their number, both directions pooled."""
        return float(self.both.mean()) if len(self.both) else np.nan

    def rmsd_mm(self):
        """Root mean square of all distances, both directions pooled."""
        return float(np.sqrt(np.square(self.both).mean())) if len(self.both) else np.nan

    def msd_mm(self):
        """The largest distance in either direction (Hausdorff)."""
        return float(self.both.max()) if len(self.both) else np.nan

    def hd95_mm(self):
        """The larger of the two directions' 95th percentiles, interpolated (MONAI's; MedPy pools the directions first)."""
        ways = (self.from_reference, self.from_prediction)
        return max(float(np.percentile(way, 95)) for way in ways) if len(self.both) else np.nan

    def surface_dice(self, tolerance_mm):
        """Share of all surface voxels within a tolerance of the other surface.

        Counts voxels, as MONAI does; google-deepmind's surface-distance weighs them by area, which differs by some hundredths.
        """
        return float((self.both <= tolerance_mm).mean()) if len(self.both) else np.nan


def distances_between(a, b, spacing_mm):
    """The SurfaceDistances of two masks, between the centres of their surface voxels.

    a, b        bool (z, y, x) of one shape: surfaces, as `surface` gives them.
    spacing_mm  three positive edges (z, y, x).
    returns     SurfaceDistances, empty on both sides when one surface is.
    """
    if not a.any() or not b.any():
        return SurfaceDistances(np.zeros(0), np.zeros(0))
    return SurfaceDistances(nearest_distances_mm(a, b, spacing_mm), nearest_distances_mm(b, a, spacing_mm))


def nearest_distances_mm(start, goal, spacing_mm):
    """Distance in mm from every True voxel of `start` to the nearest True voxel of `goal`, between centres.

    start, goal  bool (z, y, x) of one shape, C-contiguous; `goal` holds at least one voxel.
    returns      float64 (n,), in the order of `np.flatnonzero(start)`; 0 where both are True.
    """
    index = np.flatnonzero(start)  # of the flat array: several times faster than along three axes
    apart = ~goal.ravel()[index]
    out = np.zeros(len(index))
    if apart.any():
        out[apart] = _apart(index[apart], goal, spacing_mm)
    return out


def _apart(index, goal, spacing_mm):
    tree, places = tree_of(goal, spacing_mm), places_mm(index, goal.shape, spacing_mm)
    out = tree.query(places, distance_upper_bound=NEAR_MM)[0]
    far = np.isinf(out)
    if far.any():
        axis = _odd_axis(spacing_mm) if np.count_nonzero(far) > FEW else None
        if axis is None:
            out[far] = tree.query(places[far])[0]
        else:
            out[far] = _by_planes(np.unravel_index(index[far], goal.shape), goal, spacing_mm, axis)
    return out


def places_mm(index, shape, spacing_mm):
    """Centres in mm (n, 3) of voxels that are given by their index in the flat array."""
    return np.stack(np.unravel_index(index, shape), axis=1) * np.asarray(spacing_mm, float)


def tree_of(mask, spacing_mm):
    """A search tree over the True voxels of a mask (z, y, x), in mm."""
    from scipy.spatial import cKDTree

    return cKDTree(places_mm(np.flatnonzero(mask), mask.shape, spacing_mm), leafsize=32, balanced_tree=False)


def _odd_axis(spacing_mm):
    """The axis across which voxels are square, or None when all three edges differ."""
    for axis in range(3):
        first, second = (spacing_mm[a] for a in range(3) if a != axis)
        if abs(first - second) <= 1e-6 * first:
            return axis
    return None


def _by_planes(at, goal, spacing_mm, axis):
    """Distances of the voxels `at` (three index arrays), from exact distances within every plane across `axis`.

    In a plane squared distances are whole numbers of pixels, so that OpenCV's float32 gives them exactly after rounding;
    then each voxel asks plane after plane above and below, until the planes alone are farther than what it has found.
    """
    import cv2

    planes = np.ascontiguousarray(np.moveaxis(goal, axis, 0))
    z, (y, x) = at[axis], (at[a] for a in range(3) if a != axis)
    step_mm, edge_mm = spacing_mm[axis], spacing_mm[(axis + 1) % 3]
    squared = np.full(planes.shape, np.inf, np.float32)
    for k in np.flatnonzero(planes.any((1, 2))):
        background = (~planes[k]).view(np.uint8)
        squared[k] = np.rint(np.square(cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)))
    best = squared[z, y, x] * np.float64(edge_mm**2)
    for k in range(1, len(planes)):
        away = (k * step_mm) ** 2
        left = np.flatnonzero(best > away)
        if not len(left):
            break
        for side in (z[left] - k, z[left] + k):
            inside = (side >= 0) & (side < len(planes))
            which = left[inside]
            found = squared[side[inside], y[which], x[which]] * np.float64(edge_mm**2) + away
            best[which] = np.minimum(best[which], found)
    return np.sqrt(best)
