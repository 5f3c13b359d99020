"""Label files: onto their scan's grid, and to 0 background, 1 liver, 2 tumour, 3 one of both."""

import numpy as np

from helpers.scans import affines, nifti
from helpers.scans.findings import Unfit
from helpers.scans.volume import to_canonical

UNKNOWN = 3  # liver or tumour: the mask doesn't distinguish them


def read_mask(path, like):
    """Read a label file onto the grid of the Volume `like`.

    The volume's affine says which way the axes run, not the mask's: some LiTS masks carry a wrong
    one, while their voxels are aligned. A mask stored in another axis order is brought over by its
    own affine when only then its shape fits.

    returns   uint8 (z, y, x) with the file's own values, rounded.
    Raises Unfit, a ValueError, when the shapes differ, or for values that aren't 0 to 255 after
    rounding to within 0.01.
    """
    array, affine, _ = nifti.load(path)
    return place_mask(array, affine, like, path)


def place_mask(array, affine, like, path=None):
    """`read_mask` for an array (i, j, k) that is in memory already."""
    way = alignment(array.shape, affine, like)
    if way is None:
        shapes = f"the mask has shape {array.shape}, its scan {like.file_shape}"
        raise Unfit("mask-shape", f"{path}: {shapes}; they don't belong together")
    of_axes = like.affine if way == "voxels" else affine
    return np.ascontiguousarray(to_canonical(round_labels(array, path), of_axes, like.flip))


def round_labels(array, path=None):
    """Label values of any type as uint8, rounded where they are off by no more than 0.01.

    Raises Unfit "labels-unexpected" for NaN, values between labels, or other than 0 to 255.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iufb":
        raise Unfit("labels-unexpected", f"{path}: values of type {array.dtype} are no labels")
    low, high = array.min(), array.max()
    if not np.isfinite([low, high]).all():
        raise Unfit("labels-unexpected", f"{path}: the mask holds NaN or infinite values")
    if low < -0.01 or high > 255.01:
        raise Unfit("labels-unexpected",
                    f"{path}: the mask holds values from {low:g} to {high:g}; labels are 0 to 255")
    # cut, so rounded
    labels = (array + array.dtype.type(0.5) if array.dtype.kind == "f" else array).astype(np.uint8)
    if array.dtype.kind == "f" and (off := np.abs(array - labels)).max() > 0.01:
        between = np.unique(array[off > 0.01])[:6].tolist()
        raise Unfit("labels-unexpected",
                    f"{path}: the mask holds values between whole labels, {between} …")
    return labels


def alignment(shape, affine, like):
    """How a mask of this shape and affine lies on the scan `like`.

    returns   "voxels": voxel (i, j, k) of one is that of the other; "axes": the same box of the
              room, stored in another axis order; None: it doesn't fit.
    """
    if (tuple(shape) == like.file_shape
        and not (affines.usable(affine) and _turned(affine, like.affine, shape))):
        return "voxels"
    if (affines.usable(affine)
        and to_canonical(np.broadcast_to(np.uint8(0), shape), affine).shape == like.hu.shape):
        return "axes"
    return None


def _turned(affine, other, shape):
    """True when two affines place a scan in one box of the room, but with other axes."""
    if affines.axes_of(affine) == affines.axes_of(other):
        return False
    return bool(np.abs(affines.extent_mm(affine, shape) - affines.extent_mm(other, shape)).max()
                < 2.0)


def standard_labels(labels):
    """Bring a file's label values to 0 background, 1 liver, 2 tumour.

    0/1/2 stay; 0/255 is a binary tumour mask; 0/127 or 128/255 is liver and tumour in grey.

    returns   (uint8 array of the same shape, the values in it).
    Raises ValueError for any other set of values.
    """
    # by plane: bincount makes int64 of it
    counts = sum(np.bincount(plane.ravel(), minlength=256) for plane in labels)
    in_file = np.flatnonzero(counts).tolist()
    if max(in_file) <= 2:
        return labels, in_file
    table = {frozenset({0, 255}): (255,), frozenset({255}): (255,)}
    for grey in (127, 128):
        table[frozenset({0, grey, 255})] = (grey, 255)
        table[frozenset({0, grey})] = (grey, 255)
    values = table.get(frozenset(in_file))
    if values is None:
        message = (f"the mask holds the values {in_file[:8]}; labels are 0 background, 1 liver, 2 "
                   "tumour")
        raise Unfit("labels-unexpected", message)
    out = np.zeros_like(labels)
    for label, value in zip((1, 2)[-len(values) :], values, strict=True):
        out[labels == value] = label
    return out, in_file
