"""Boxes of masks, and where a network's pixels lie on the scan: whole slices at working size, the liver's box, the way back."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grid:
    """A box of the scan, resized in-plane, then cut or padded about its centre to a canvas.

    box     ((z0, z1), (y0, y1), (x0, x1)) in the scan's voxels, ends excluded.
    shape   (rows, columns) of the box after resizing.
    canvas  (rows, columns) that a network sees; equal to `shape` when nothing is cut or padded.
    """

    box: tuple
    shape: tuple
    canvas: tuple

    def cut(self, plane, labels=False, fill=0):
        """One slice (y, x) of the scan as the network sees it, (canvas rows, canvas columns)."""
        (_, _), (y0, y1), (x0, x1) = self.box
        return fitted(resized(plane[y0:y1, x0:x1], self.shape, labels), self.canvas, fill)

    def back(self, plane, out, labels=False):
        """Put a network's plane back into `out`, a slice (y, x) of the scan; the inverse of `cut`."""
        (_, _), (y0, y1), (x0, x1) = self.box
        out[y0:y1, x0:x1] = resized(fitted(plane, self.shape, 0), (y1 - y0, x1 - x0), labels)
        return out

    def stack(self, volume_zyx, labels=False, fill=0):
        """`cut` for all slices of the box: (slices, canvas rows, canvas columns)."""
        (z0, z1) = self.box[0]
        return np.stack([self.cut(plane, labels, fill) for plane in volume_zyx[z0:z1]])

    @property
    def lost_share(self):
        """Share of the box that the canvas cuts off; 0 when it holds all of it."""
        rows, columns = (min(c, s) / s for c, s in zip(self.canvas, self.shape, strict=True))
        return 1.0 - rows * columns


def resized(plane, shape, labels=False):
    """Resample a plane (y, x): nearest for labels, area when it shrinks, else linear."""
    import cv2

    if plane.shape == tuple(shape):
        return plane
    if labels:
        how = cv2.INTER_NEAREST_EXACT
    else:
        how = cv2.INTER_AREA if shape[0] < plane.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(plane), (shape[1], shape[0]), interpolation=how)


def fitted(plane, shape, fill=0):
    """Cut or pad a plane about its centre to `shape`; cutting and padding undo each other exactly."""
    out = np.full(shape, fill, dtype=plane.dtype)
    here, there = [], []
    for have, want in zip(plane.shape, shape, strict=True):
        n, skip = min(have, want), abs(have - want) // 2
        here.append(slice(skip, skip + n) if have > want else slice(0, n))
        there.append(slice(skip, skip + n) if want > have else slice(0, n))
    out[tuple(there)] = plane[tuple(here)]
    return out


def whole_slices(shape_zyx, spacing_mm, size, working_spacing_mm=0.0):
    """Grid of the gate and liver stages: whole slices on a canvas of size × size.

    working_spacing_mm  0 makes the longer edge fill the canvas, in true proportions; any other value resamples to it.
    Either way what is short of the canvas is padded, what exceeds it is cut.
    """
    slices, rows, columns = shape_zyx
    box = ((0, slices), (0, rows), (0, columns))
    edges_mm = rows * spacing_mm[1], columns * spacing_mm[2]
    step_mm = working_spacing_mm or max(edges_mm) / size
    shape = tuple(max(1, round(edge / step_mm)) for edge in edges_mm)
    return Grid(box, shape, (size, size))


def box_of(*masks):
    """The smallest box with all that is not 0 in any of the masks (z, y, x), as three slices; None when all are empty."""
    ends = []
    for axis in range(3):
        if axis == 1:  # the z range is known now: look no further than it
            masks = [mask[ends[0]] for mask in masks]
        kept = np.flatnonzero(np.logical_or.reduce([_profile(mask, axis) for mask in masks]))
        if not len(kept):
            return None
        ends.append(slice(int(kept[0]), int(kept[-1]) + 1))
    return tuple(ends)


def widened(box, margins, shape):
    """A box of three slices with so many voxels more on either side of each axis, cut to an array of that shape."""
    sides = zip(box, margins, shape, strict=True)
    return tuple(slice(max(0, side.start - margin), min(n, side.stop + margin)) for side, margin, n in sides)


def _profile(mask, axis):
    """Which planes across an axis hold something; rows are read eight voxels at a time where memory allows."""
    if mask.flags.c_contiguous and mask.itemsize == 1 and axis < 2:
        flat = mask.view(np.uint8).reshape(*mask.shape[: axis + 1], -1)
        words = flat.view(np.uint64) if flat.shape[-1] % 8 == 0 else flat
        found = np.bitwise_or.reduce(words, axis=-1) != 0
        return found if axis == 0 else found.any(0)
    if axis == 2:
        return np.logical_or.reduce([plane.any(0) for plane in mask], axis=0)
    return mask.any(tuple(a for a in range(3) if a != axis))


def liver_box(liver, spacing_mm, margin_mm=15.0, roi_spacing_mm=0.0):
    """Grid of the tumour stage: the liver's bounding box plus a margin, near native resolution.

    liver           bool (z, y, x).
    roi_spacing_mm  0 keeps the scan's own pixels.
    returns         Grid, or None when the mask is empty.
    """
    if (inner := box_of(liver)) is None:
        return None
    margins = [int(np.ceil(margin_mm / mm)) for mm in spacing_mm]
    box = [(side.start, side.stop) for side in widened(inner, margins, liver.shape)]
    rows, columns = (end - start for start, end in box[1:])
    if not roi_spacing_mm:
        return Grid(tuple(box), (rows, columns), (rows, columns))
    shape = tuple(max(8, round(n * mm / roi_spacing_mm)) for n, mm in zip((rows, columns), spacing_mm[1:], strict=True))
    return Grid(tuple(box), shape, shape)


def check(grid, labels):
    """What a region of interest costs a mask uint8 (z, y, x).

    returns  (tumour voxels outside the box, voxels inside it that a way there and back changes); both 0 for a box of the
             scan's own pixels with enough margin.
    """
    inside = tuple(slice(*edge) for edge in grid.box)
    outside = int(np.count_nonzero(labels == 2)) - int(np.count_nonzero(labels[inside] == 2))
    again = np.zeros_like(labels)
    for k, plane in enumerate(grid.stack(labels, labels=True), start=grid.box[0][0]):
        grid.back(plane, again[k], labels=True)
    return outside, int(np.count_nonzero(again[inside] != labels[inside]))
