"""Where in an array something lies: its box, its components."""

import cc3d
import numpy as np
from scipy import ndimage


def box_of(*masks):
    """The smallest box with all that is not 0 in any of the masks (z, y, x), as three slices; None
    when all are empty.

    By planes, because numpy stops at the first voxel: 15 ms for 512 × 512 × 500, scipy's
    find_objects takes 250.
    """
    z = _range(np.logical_or.reduce([mask.any((1, 2)) for mask in masks]))
    if z is None:
        return None
    shadow = np.logical_or.reduce([mask[z].any(0) for mask in masks])
    return z, _range(shadow.any(1)), _range(shadow.any(0))


def at_least(values, threshold):
    """Where values uint8 (z, y, x) reach a threshold above 0: bool, of the same shape, that takes
    memory only where values lie.
    """
    out, box = np.zeros(values.shape, bool), box_of(values)
    if box is not None:
        out[box] = values[box] >= threshold
    return out


def _range(profile):
    places = np.flatnonzero(profile)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else None


def widened(box, margins, shape):
    """A box of three slices with so many voxels more on either side of each axis, cut to an array
    of that shape.
    """
    sides = zip(box, margins, shape, strict=True)
    return tuple(
        slice(max(0, side.start - margin), min(n, side.stop + margin)) for side, margin, n in sides
    )


def components(mask):
    """The 26-connected components of a mask bool (z, y, x): (labels (z, y, x), 1 … count; count).

    cc3d 4.1 fails on specks in a row of single voxels ("maximum length exception"), scipy doesn't.
    """
    if sorted(mask.shape)[1] == 1:
        return ndimage.label(mask, np.ones((3, 3, 3)))
    return cc3d.connected_components(mask, connectivity=26, return_N=True)
