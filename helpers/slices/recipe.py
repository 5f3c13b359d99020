"""From a scan to the pixels that networks see, and back: whole slices at working size, the liver's
box, windows.
"""

import functools
import json
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from helpers.scans.boxes import box_of, widened
from helpers.slices.pixels import fitted, resized, windowed

STAGES = ("gate", "liver", "tumour")
NEIGHBOUR_MM = 3.0  # about how far away the neighbours of a slice are taken
KEPT = 1 << 26  # bytes of planes that Slices keeps, because neighbours ask for them again


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
        """Put a network's plane back into `out`, a slice (y, x) of the scan; the inverse of
        `cut`.
        """
        (_, _), (y0, y1), (x0, x1) = self.box
        out[y0:y1, x0:x1] = resized(fitted(plane, self.shape, 0), (y1 - y0, x1 - x0), labels)
        return out

    def stack(self, volume_zyx, labels=False, fill=0):
        """`cut` for all slices of the box: (slices, canvas rows, canvas columns)."""
        (z0, z1) = self.box[0]
        return np.stack([self.cut(plane, labels, fill) for plane in volume_zyx[z0:z1]])

    def breaks(self, volume):
        """The rows of the box at which a new stretch of the scan's slices begins."""
        (first, end) = self.box[0]
        return [k - first for k in volume.breaks if first < k < end]

    @property
    def lost_share(self):
        """Share of the box that the canvas cuts off; 0 when it holds all of it."""
        rows, columns = (min(c, s) / s for c, s in zip(self.canvas, self.shape, strict=True))
        return 1.0 - rows * columns


def whole_grid(shape_zyx, spacing_mm, size, working_spacing_mm=0.0):
    """Grid of the gate and liver stages: whole slices on a canvas of size × size.

    working_spacing_mm  0 makes the longer edge fill the canvas, in true proportions; any other
                        value resamples to it.
    Either way what is short of the canvas is padded, what exceeds it is cut.
    """
    slices, rows, columns = shape_zyx
    box = ((0, slices), (0, rows), (0, columns))
    edges_mm = rows * spacing_mm[1], columns * spacing_mm[2]
    step_mm = working_spacing_mm or max(edges_mm) / size
    shape = tuple(max(1, round(edge / step_mm)) for edge in edges_mm)
    return Grid(box, shape, (size, size))


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
    shape = tuple(
        max(8, round(n * mm / roi_spacing_mm))
        for n, mm in zip((rows, columns), spacing_mm[1:], strict=True)
    )
    return Grid(tuple(box), shape, shape)


def check(grid, labels):
    """What a region of interest costs a mask uint8 (z, y, x).

    returns  (tumour voxels outside the box, voxels inside it that a way there and back changes);
             both 0 for a box of the scan's own pixels with enough margin.
    """
    inside = tuple(slice(*edge) for edge in grid.box)
    outside = int(np.count_nonzero(labels == 2)) - int(np.count_nonzero(labels[inside] == 2))
    again = np.zeros_like(labels)
    for k, plane in enumerate(grid.stack(labels, labels=True), start=grid.box[0][0]):
        grid.back(plane, again[k], labels=True)
    return outside, int(np.count_nonzero(again[inside] != labels[inside]))


NOWHERE = Grid(((0, 0),) * 3, (0, 0), (0, 0))


def neighbour_step(spacing_mm, neighbour_mm=NEIGHBOUR_MM):
    """How many slices away the neighbours of a slice are about `neighbour_mm` away, at least 1;
    spacing_mm is (z, y, x).
    """
    return max(1, round(neighbour_mm / spacing_mm[0]))


@dataclass(frozen=True)
class Recipe:
    """How Hounsfield units become the pixels that networks see; travels with the weights.

    windows             one to three pairs (low, high) in HU; each becomes a channel.
    size                pixels along the edge of a whole slice in the gate and liver stages.
    working_spacing_mm  in-plane spacing that whole slices are resampled to; 0 makes their longer
                        edge fill `size`.
    roi_margin_mm       around the liver's box in the tumour stage.
    roi_spacing_mm      in-plane spacing of the tumour stage; 0 keeps the scan's own pixels.
    normalise           "min-max" maps a window to 0…1; "z-score" by mean and deviation of the
                        training slices.
    equalise            True applies OpenCV's CLAHE to every channel.
    reference_hu        in the tumour stage the scan is shifted so that its liver lies here; 0
                        leaves it as it is.
    """

    windows: tuple = ((-40.0, 160.0),)
    size: int = 256
    working_spacing_mm: float = 0.0
    roi_margin_mm: float = 15.0
    roi_spacing_mm: float = 0.0
    normalise: str = "min-max"
    equalise: bool = False
    reference_hu: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "windows", tuple(tuple(float(v) for v in w) for w in self.windows))
        if (not 1 <= len(self.windows) <= 3
            or any(len(w) != 2 or w[0] >= w[1] for w in self.windows)):
            raise ValueError(f"windows {self.windows}: one to three pairs (low, high) in HU are "
                             "needed")
        if self.normalise not in ("min-max", "z-score"):
            raise ValueError(f"normalise {self.normalise!r}: choose 'min-max' or 'z-score'")
        if self.size % 32 or not 64 <= self.size <= 1024:
            raise ValueError(f"size {self.size}: a multiple of 32 from 64 to 1024 is needed (256, "
                             "384, 512)")

    def as_dict(self):
        return json.loads(json.dumps(asdict(self)))


def pixels(hu_plane, grid, recipe):
    """One slice of HU (y, x) as a network's channels: uint8 (windows, canvas rows, canvas
    columns).
    """
    planes = [grid.cut(windowed(hu_plane, window)) for window in recipe.windows]
    if recipe.equalise:
        clahe = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
        planes = [clahe.apply(plane) for plane in planes]
    return np.stack(planes)


def reference_shift(hu, liver, recipe):
    """HU to add to a scan, so that its liver lies at the recipe's `reference_hu`; 0 where the
    recipe names none.

    hu, liver  int16 and bool (z, y, x); the liver is the reference's in training, the predicted one
               in a cascade. Its level is the median without the darkest 30 %, where tumours and the
               edges of vessels lie.
    """
    if not recipe.reference_hu or not liver.any():
        return 0
    return round(recipe.reference_hu - float(np.percentile(hu[liver], 65)))


def grid_of(volume, stage, recipe, liver=None):
    """The Grid of a stage for one scan; the tumour stage needs the liver, bool (z, y, x), and gives
    None for an empty one.
    """
    if stage == "tumour":
        return liver_box(liver, volume.spacing_mm, recipe.roi_margin_mm, recipe.roi_spacing_mm)
    return whole_grid(volume.hu.shape, volume.spacing_mm, recipe.size, recipe.working_spacing_mm)


class Slices:
    """Slices of a scan as a network sees them, made when they are asked for, and the way back onto
    the scan's grid.

    Stands in for an array uint8 (rows, windows, y, x): it has a length and a shape, and an array of
    rows picks planes. A long scan needs no more memory than a short one: only the planes asked for
    last are kept, because neighbours ask again.
    volume  the scan; grid: where its rows lie; shift: HU added to every slice.
    step    how many rows away a row's neighbours are; breaks: rows whose lower neighbour is
            missing.
    """

    def __init__(self, volume, grid, recipe, shift=0, neighbour_mm=NEIGHBOUR_MM, kept_bytes=KEPT):
        first, end = grid.box[0]
        self.grid, self.scan_shape, self.spacing_mm = grid, volume.hu.shape, volume.spacing_mm
        self.step = neighbour_step(volume.spacing_mm, neighbour_mm)
        self.breaks = grid.breaks(volume)
        self.shape = (end - first, len(recipe.windows), *grid.canvas)
        kept = max(32, kept_bytes // max(1, int(np.prod(self.shape[1:]))))
        self._plane = functools.lru_cache(kept)(
            lambda k: pixels(volume.hu[first + k] + np.int16(shift), grid, recipe)
        )

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        return np.stack([self._plane(int(k)) for k in rows])

    def rows_of(self, *masks):
        """The rows whose slices show something that is in all the masks, bool (z, y, x) on the
        scan's grid.
        """
        slices = zip(*(mask[slice(*self.grid.box[0])] for mask in masks), strict=True)
        return np.flatnonzero([np.logical_and.reduce(planes).any() for planes in slices])

    def put_back(self, planes, rows, out):
        """Lay a network's planes (rows, y, x) where they come from in `out`, (z, y, x) on the
        scan's grid.
        """
        for k, plane in zip(rows, planes, strict=True):
            self.grid.back(plane, out[self.grid.box[0][0] + k])


def whole_slices(volume, recipe, neighbour_mm=NEIGHBOUR_MM):
    """All of a scan's slices as Slices, for the gate and the liver's network."""
    return Slices(volume, grid_of(volume, "liver", recipe), recipe, 0, neighbour_mm)


def liver_region(volume, liver, recipe, neighbour_mm=NEIGHBOUR_MM):
    """The box of the liver, bool (z, y, x), with its margin, as Slices for the tumour's network;
    none for an empty liver.
    """
    grid = grid_of(volume, "tumour", recipe, liver) or NOWHERE
    return Slices(volume, grid, recipe, reference_shift(volume.hu, liver, recipe), neighbour_mm)
