"""Slice stores: windowed slices as uint8, one memory-mapped array per case, written once by 02 and read ever after."""

import functools
import json
from dataclasses import asdict, dataclass

import numpy as np

from helpers import grids, paths

STAGES = ("gate", "liver", "tumour")
INSIDE = 4  # added to a label where the predicted liver lies, in regions made from predictions


@dataclass(frozen=True)
class Recipe:
    """How Hounsfield units become the pixels that networks see; travels with the weights.

    windows             one to three pairs (low, high) in HU; each becomes a channel.
    size                pixels along the edge of a whole slice in the gate and liver stages.
    working_spacing_mm  in-plane spacing that whole slices are resampled to; 0 makes their longer edge
                        fill `size`.
    roi_margin_mm       around the liver's box in the tumour stage.
    roi_spacing_mm      in-plane spacing of the tumour stage; 0 keeps the scan's own pixels.
    normalise           "min-max" maps a window to 0…1; "z-score" by mean and deviation of the training slices.
    equalise            True applies OpenCV's CLAHE to every channel.
    reference_hu        in the tumour stage the scan is shifted so that its liver lies here; 0 leaves it as it is.
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
        if not 1 <= len(self.windows) <= 3 or any(len(w) != 2 or w[0] >= w[1] for w in self.windows):
            raise ValueError(f"windows {self.windows}: one to three pairs (low, high) in HU are needed")
        if self.normalise not in ("min-max", "z-score"):
            raise ValueError(f"normalise {self.normalise!r}: choose 'min-max' or 'z-score'")
        if self.size % 32 or not 64 <= self.size <= 1024:
            raise ValueError(f"size {self.size}: a multiple of 32 from 64 to 1024 is needed (256, 384, 512)")

    def as_dict(self):
        return json.loads(json.dumps(asdict(self)))


def windowed(hu, window):
    """Clip HU to a window and spread it over 0…255; any shape, uint8."""
    low, high = window
    scaled = (np.clip(hu, low, high).astype(np.float32) - low) * (255.0 / (high - low))
    return np.rint(scaled).astype(np.uint8)


def pixels(hu_plane, grid, recipe):
    """One slice of HU (y, x) as a network's channels: uint8 (windows, canvas rows, canvas columns)."""
    import cv2

    planes = [grid.cut(windowed(hu_plane, window)) for window in recipe.windows]
    if recipe.equalise:
        clahe = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
        planes = [clahe.apply(plane) for plane in planes]
    return np.stack(planes)


def reference_shift(hu, liver, recipe):
    """HU to add to a scan, so that its liver lies at the recipe's `reference_hu`; 0 where the recipe names none.

    hu, liver  int16 and bool (z, y, x); the liver is the reference's in training, the predicted one in a cascade. Its level
               is the median without the darkest 30 %, where tumours and the edges of vessels lie.
    """
    return round(recipe.reference_hu - float(np.percentile(hu[liver], 65))) if recipe.reference_hu else 0


def grid_of(volume, stage, recipe, liver=None):
    """The Grid of a stage for one scan; the tumour stage needs the liver, bool (z, y, x), and gives None for an empty one."""
    if stage == "tumour":
        return grids.liver_box(liver, volume.spacing_mm, recipe.roi_margin_mm, recipe.roi_spacing_mm)
    return grids.whole_slices(volume.hu.shape, volume.spacing_mm, recipe.size, recipe.working_spacing_mm)


def write_case(folder, name, volume, labels, grid, recipe, fingerprint="", liver=None):
    """Write a case's slices below `folder`: image (z, windows, y, x), mask (z, y, x), both uint8, and meta JSON last.

    liver  bool (z, y, x), for the tumour stage: the scan's grey values are referenced to it.
    Raises OSError, naming the case and the room that is left, when they can't be written; no half file stays.
    """
    (z0, z1) = grid.box[0]
    shift = np.int16(0 if liver is None else reference_shift(volume.hu, liver, recipe))
    image = np.stack([pixels(plane + shift, grid, recipe) for plane in volume.hu[z0:z1]])
    meta = {"box": grid.box, "shape": grid.shape, "canvas": grid.canvas, "spacing_mm": volume.spacing_mm}
    try:
        (folder / f"{name}.json").unlink(missing_ok=True)  # from here on until it is back, nothing here is current
        for part, array in (("image", image), ("mask", grid.stack(labels, labels=True))):
            with paths.written_whole(folder / f"{name}.{part}.npy") as beside, open(beside, "wb") as handle:
                np.save(handle, array)
        paths.write_json(folder / f"{name}.json", meta | {"recipe": recipe.as_dict(), "bytes": fingerprint})
    except OSError as error:
        import shutil

        room = f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB are free" if folder.is_dir() else "the folder can't be made"
        message = f"{name}: its slices can't be written to {folder} ({error}; {room}); make room, then run again to go on"
        raise OSError(message) from error


def is_current(folder, name, recipe, fingerprint):
    """True when the store holds this case whole, made from these bytes with this recipe."""
    try:
        meta = paths.read_json(folder / f"{name}.json")
        image, mask = (np.load(folder / f"{name}.{part}.npy", mmap_mode="r") for part in ("image", "mask"))
    except (OSError, ValueError):  # ValueError: a file shorter than it says, or no JSON
        return False
    whole = len(image) == len(mask) == meta["box"][0][1] - meta["box"][0][0]
    return whole and meta["recipe"] == recipe.as_dict() and meta.get("bytes") == fingerprint


class Store:
    """Reads a stage's slices; a few cases are mapped at a time, so memory doesn't grow with their number."""

    def __init__(self, folder, open_cases=32):
        self.folder = folder
        self._open = functools.lru_cache(open_cases)(self._read)
        self.is_marked = functools.cache(self._is_marked)

    def _read(self, case):
        try:
            meta = paths.read_json(self.folder / f"{case}.json")
            image, mask = (np.load(self.folder / f"{case}.{part}.npy", mmap_mode="r") for part in ("image", "mask"))
        except (OSError, ValueError) as error:
            message = f"{self.folder}: the slices of {case} can't be read ({error}); run 02_filtering again"
            raise FileNotFoundError(message) from error
        return image, mask, meta

    def __contains__(self, case):
        return (self.folder / f"{case}.json").is_file()

    def image(self, case):
        """uint8 (z, windows, y, x), memory-mapped."""
        return self._open(case)[0]

    def mask(self, case):
        """uint8 (z, y, x), memory-mapped."""
        return self._open(case)[1]

    def _is_marked(self, case):
        """True where the masks say, beside the labels, what lies INSIDE a predicted liver."""
        return bool((self.mask(case) >= INSIDE).any())

    def first_z(self, case):
        """The scan's slice that row 0 of the arrays is."""
        return self._open(case)[2]["box"][0][0]

    def meta(self, case):
        """What was written beside the arrays: box, shape, canvas, spacing_mm, recipe, and of which bytes of the scan."""
        return self._open(case)[2]

    def metas(self, cases):
        """The files with the `meta` of those cases that are here: who hashes them knows of which scans the slices are made."""
        return [self.folder / f"{case}.json" for case in sorted(set(cases)) if case in self]


def mean_and_deviation(store, cases):
    """Mean and standard deviation of the grey values of some cases, for the z-score; every fourth slice is read."""
    total = np.zeros(256, dtype=np.int64)
    for case in cases:
        total += np.bincount(np.asarray(store.image(case)[::4]).ravel(), minlength=256)
    mean = float((total * np.arange(256)).sum() / total.sum())
    deviation = float(np.sqrt((total * (np.arange(256) - mean) ** 2).sum() / total.sum()))
    return mean, max(deviation, 1.0)
