"""What the viewer shows of a scan: its planes, with masks and maps, layers and lesions."""

import zlib
from dataclasses import dataclass, field

import cc3d
import numpy as np

from helpers.files import read_json
from helpers.looking import overlays
from helpers.looking.overlays import SCHEME
from helpers.scans.boxes import box_of
from helpers.scans.labels import read_mask
from helpers.scans.names import is_picture

LABELS = ("background", "liver", "tumour", "liver, tumour unknown")
PAIRS = [(r, p) for r in range(4) for p in range(4)]  # of a reference and a predicted label
WITH_TUMOUR = [2 in pair for pair in PAIRS]
# which pairs of a reference and a predicted label (r, p) a layer shows; SCHEME says how
LAYERS = {
    "predicted liver": lambda r, p: p == 1,
    "predicted tumour": lambda r, p: p == 2,
    "missed": lambda r, p: r == 2 and p != 2,
    "false": lambda r, p: p == 2 and r < 2,
    "missed liver": lambda r, p: r >= 1 and p == 0,
    "false liver": lambda r, p: r == 0 and p >= 1,
    "reference liver": lambda r, p: r >= 1,
    "reference tumour": lambda r, p: r == 2,
}
HIDDEN = ("missed liver", "false liver")  # until they are switched on


@dataclass
class View:
    """What is shown of one scan.

    hu                     whole HU (z, y, x) that fit int16.
    spacing_mm             (z, y, x) edges of a voxel; None where they aren't known.
    reference, prediction  labels uint8 (z, y, x), as LABELS counts them, or None.
    maps                   name -> uint8 (z, y, x), 255 is 1: a probability, say, or a deviation.
    region                 box ((z0, z1), (y0, y1), (x0, x1)) that is framed, or None.
    names                  a text for each slice, where they aren't a body's from its feet up.
    flat                   why only axial planes can be shown, "" where all can.
    turned                 True where nobody knows which side is the patient's right.

    Raises ValueError for a mask or map of another shape than the scan's.
    """

    hu: np.ndarray
    spacing_mm: tuple | None = None
    reference: np.ndarray | None = None
    prediction: np.ndarray | None = None
    maps: dict = field(default_factory=dict)
    region: tuple | None = None
    names: list | None = None
    flat: str = ""
    turned: bool = False

    def __post_init__(self):
        for name, array in {"reference": self.reference, "prediction": self.prediction,
                            **self.maps}.items():
            if array is not None and array.shape != self.hu.shape:
                raise ValueError(f"{name} of shape {array.shape} doesn't fit the scan of shape "
                                 f"{self.hu.shape}")

    @property
    def masks(self):
        """The labels there are, by "reference" and "prediction"."""
        both = {"reference": self.reference, "prediction": self.prediction}
        return {side: labels for side, labels in both.items() if labels is not None}

    def overlays_of(self, z):
        """The overlays of an axial slice, as `overlays.paint` takes them."""
        drawn = [] if self.prediction is None else overlays.of_prediction(self.prediction[z])
        drawn += [] if self.reference is None else overlays.of_reference(self.reference[z])
        return drawn + ([overlays.of_box(self.hu.shape, self.region, z)] if self.region else [])


def of_volume(volume, reference=None, prediction=None, **more):
    """The View of a Volume, axial only where its slices have no neighbours; `more` as in View."""
    flat = ""
    if volume.is_scattered:
        flat = "single slices, most of them without a neighbour: there is no plane across them"
    elif volume.path and is_picture(volume.path):
        flat = "pictures carry no spacing: the proportions of other planes aren't known"
    spacing_mm = None if flat else volume.spacing_mm
    return View(volume.hu, spacing_mm, reference, prediction, flat=flat, **more)


def of_run(run, case, opened, with_maps=True):
    """The View of a case as 05 left it, with its region and, `with_maps`, the maps that it wrote.

    run     runs.Run.
    opened  (Volume, reference or None, prediction), as `Cohort.opened` gives them.
    Raises ValueError for a map that can't be read.
    """
    volume, log = opened[0], run.log(case)
    files = {"tumour probability": run.probability(case, "tumour"),
             "liver probability": run.probability(case, "liver"),
             "flip deviation": run.tta_std(case)}  # fmt: skip
    maps = {name: read_mask(file, volume) for name, file in files.items()
            if with_maps and file.is_file()}
    region = read_json(log).get("roi") if log.is_file() else None
    return of_volume(*opened, maps=maps, region=region)


def plane_of(array, axis, index):
    """A plane of an array (z, y, x) as it is looked at: coronal and sagittal ones head up."""
    plane = array[(slice(None),) * axis + (index,)]
    return plane if axis == 0 else plane[::-1]


def pairs_of(view, axis, index):
    """A plane of pairs of labels, uint8: 4 times the reference's label and the prediction's."""
    pairs = np.zeros(plane_of(view.hu, axis, index).shape, np.uint8)
    for side, mask in view.masks.items():
        labels = np.minimum(plane_of(mask, axis, index), len(LABELS) - 1)
        pairs += labels * np.uint8(4 if side == "reference" else 1)
    return pairs


def packed(view, axis, index):
    """The bytes of one plane, deflated: low and high bytes of HU, pairs of labels, then the maps.

    Only runs are sought (Z_RLE): half the time of zlib's fastest level, and smaller, for noise
    repeats nothing else.
    """
    hu = np.ascontiguousarray(plane_of(view.hu, axis, index), "<i2")
    low, high = hu.view(np.uint8).reshape(-1, 2).T
    parts = [low, high, pairs_of(view, axis, index)]
    parts += [plane_of(values, axis, index) for values in view.maps.values()]
    deflate = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return b"".join([*(deflate.compress(part.tobytes()) for part in parts), deflate.flush()])


def layers_of(view, counts):
    """The layers that a view has, a dict each, in the order in which they are drawn.

    counts  of its pairs of labels, as `pairs_by_slice` gives them.
    """
    layers = []
    for name, covers in LAYERS.items():
        needed = {"predicted": {"prediction"}, "reference": {"reference"}}
        if not needed.get(name.split()[0], {"reference", "prediction"}) <= view.masks.keys():
            continue
        covered = [covers(*pair) for pair in PAIRS]
        if view.names and not counts[:, covered].any():
            continue  # samples are of one organ
        look = SCHEME[name.removesuffix(" liver") if name in HIDDEN else name]
        bits = sum(yes << k for k, yes in enumerate(covered))
        layers.append({"name": name, **look._asdict(), "pairs": bits,
                       "on": name not in HIDDEN or not counts[:, WITH_TUMOUR].any()})
    # the deviation of numbers from 0 to 1 is at most a half
    layers += [{"name": name, "style": "map", "opacity": 0.7, "on": False, "map": k,
                "top": 128 if "deviation" in name else 255} for k, name in enumerate(view.maps)]
    if view.region:
        box = [[int(edge) for edge in edges] for edges in view.region]
        layers.append({"name": "region", **SCHEME["region"]._asdict(), "box": box, "on": True})
    return layers


def lesions_of(view, counts):
    """The tumours' components on both sides, a dict each: side, box, and whether none of the other
    side's tumour touches it.

    counts  of the view's pairs of labels, as `pairs_by_slice` gives them.
    """
    rows = np.flatnonzero(counts[:, WITH_TUMOUR].any(1))
    if not len(rows):
        return []
    slab = slice(rows[0], rows[-1] + 1)
    box = box_of(*(mask[slab] == 2 for mask in view.masks.values()))
    corner = (slab.start, box[1].start, box[2].start)
    tumours = {side: mask[slab][box] == 2 for side, mask in view.masks.items()}
    lesions = []
    for side, tumour in tumours.items():
        components = cc3d.connected_components(tumour, connectivity=6)
        others = [other for name, other in tumours.items() if name != side]
        touched = {n for other in others for n in np.flatnonzero(np.bincount(components[other]))}
        found = enumerate(cc3d.statistics(components)["bounding_boxes"][1:], start=1)
        for number, edges in found:
            box_in_scan = [[int(edge.start + start), int(edge.stop + start)]
                           for edge, start in zip(edges, corner)]
            alone = bool(others) and number not in touched
            lesions.append({"side": side, "alone": alone, "box": box_in_scan})
    return lesions


def pairs_by_slice(view):
    """How often each pair of labels (4 times the reference's and the prediction's) is met on each
    axial slice, int64 (z, 16); pairs of background are counted only near the masks.
    """
    counts = np.zeros((len(view.hu), 16), np.int64)
    box = box_of(*view.masks.values()) if view.masks else None
    if box is not None:
        inner = View(view.hu[box], **{side: mask[box] for side, mask in view.masks.items()})
        for z in range(len(inner.hu)):
            counts[box[0].start + z] = np.bincount(pairs_of(inner, 0, z).ravel(), minlength=16)
    return counts


def richest(counts):
    """The slice with most tumour of either side, else with most liver, else the middle one."""
    for wanted in (WITH_TUMOUR, slice(1, None)):
        pixels = counts[:, wanted].sum(1)
        if pixels.any():
            return int(pixels.argmax())
    return len(counts) // 2
