"""The exact distance from every voxel of one set to the nearest voxel of another, quick for near sets and for far ones."""

import numpy as np

NEAR_MM = 8.0  # within this a tree is quickest; beyond, it has to look at too many voxels that are almost as near
FEW = 5000


def distances_mm(start, goal, spacing_mm):
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
