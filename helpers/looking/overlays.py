"""The one colour scheme: what each mask on a slice means, how it is drawn, and its legend.

A reference is a line, a prediction a fill; liver is blue, tumour orange. Differences have two
colours of their own: missed is violet, false is yellow.
"""

from collections import namedtuple

import cv2
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

Look = namedtuple("Look", "colour style opacity")  # style: "line" or "fill"
LIVER, TUMOUR, MISSED, FALSE = "#0072B2", "#D55E00", "#9A1AF0", "#F0E442"
SCHEME = {
    "predicted liver": Look(LIVER, "fill", 0.3),
    "predicted tumour": Look(TUMOUR, "fill", 0.5),
    "missed": Look(MISSED, "fill", 0.7),
    "false": Look(FALSE, "fill", 0.7),
    "dropped": Look("#FFFFFF", "fill", 0.7),
    "reference liver": Look(LIVER, "line", 1.0),
    "reference tumour": Look(TUMOUR, "line", 1.0),
    "synthetic": Look("#5CFFB0", "line", 1.0),
    "region": Look("#FFFFFF", "line", 1.0),
}
COLOURS = {"liver": LIVER, "tumour": TUMOUR, "missed": MISSED, "false": FALSE}  # of charts
SOFT_TISSUE = (-160, 240)  # HU window in which a person looks at a liver


def grey(hu_plane, window=SOFT_TISSUE):
    """A plane of HU (y, x) as uint8: the low end of the window is black, the high end white."""
    low, high = window
    if not high > low:
        raise ValueError(f"window {window}: its high end must lie above its low end")
    scaled = (np.asarray(hu_plane, np.float32) - low) * (255.0 / (high - low)) + 0.5
    return np.clip(scaled, 0, 255).astype(np.uint8)


def paint(hu_plane, overlays, window=SOFT_TISSUE, strength=1.0, line_px=0):
    """A plane of HU (y, x) in grey with masks on it, uint8 RGB (y, x, 3).

    overlays  list of (mask bool (y, x), name in SCHEME), drawn in this order.
    strength  scales the opacity of fills; lines are opaque, just inside the mask.
    line_px   width of lines; 0 takes one that stays visible when the plane is made small.
    """
    rgb = np.repeat(grey(hu_plane, window)[..., None], 3, axis=2)
    line_px = line_px or max(1, round(max(rgb.shape) / 250))
    for mask, name in overlays:
        look = SCHEME[name]
        ink = np.array([int(look.colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
        inked = edge(mask, line_px) if look.style == "line" else mask
        opacity = 1.0 if look.style == "line" else min(1.0, strength * look.opacity)
        rgb[inked] = rgb[inked] * (1 - opacity) + ink * opacity
    return rgb


def edge(mask, width=1):
    """The outermost pixels of a mask bool (y, x), `width` deep; the plane's rim counts."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    border = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}
    return mask & (cv2.erode(mask.astype(np.uint8), cross, iterations=width, **border) == 0)


def of_reference(labels_plane):
    """The overlays of a plane of reference labels (y, x): 1 is liver, 2 is tumour."""
    return [(labels_plane >= 1, "reference liver"), (labels_plane == 2, "reference tumour")]


def of_prediction(labels_plane):
    """The overlays of a plane of predicted labels (y, x): 1 is liver, 2 is tumour."""
    return [(labels_plane == 1, "predicted liver"), (labels_plane == 2, "predicted tumour")]


def of_both(reference, prediction):
    """The overlays of two planes of labels: the prediction filled, the reference round it."""
    return of_prediction(prediction) + of_reference(reference)


def of_differences(reference, prediction):
    """The overlays of two planes of labels: tumour that was met, missed and falsely predicted."""
    wanted, got = reference == 2, prediction == 2
    overlays = [(wanted & got, "predicted tumour"), (wanted & ~got, "missed")]
    return [*overlays, (got & ~wanted, "false"), (reference >= 1, "reference liver")]


def of_box(shape, box, z):
    """The frame of a box ((z0, z1), (y0, y1), (x0, x1)) on slice z as an overlay."""
    (z0, z1), (y0, y1), (x0, x1) = box
    mask = np.zeros(shape[-2:], bool)
    mask[y0:y1, x0:x1] = z0 <= z < z1
    return mask, "region"


def richest(n_slices, overlays_of):
    """The slice with most tumour, else with most of what is drawn there; else the middle one."""

    def pixels(z):
        drawn = [(mask, name) for mask, name in overlays_of(z) if name != "region"]
        tumour = sum(np.count_nonzero(mask) for mask, name in drawn if "liver" not in name)
        return int(tumour), sum(np.count_nonzero(mask) for mask, _ in drawn)

    best = max(range(n_slices), key=pixels)
    return best if any(pixels(best)) else n_slices // 2


def enlarged(hu_plane, overlays, edges_mm=(1.0, 1.0), longest=500):
    """The same plane and overlays on square pixels, `longest` of them along the longer side.

    edges_mm  (y, x) edges of a pixel: a plane of oblong pixels gets its true shape.
    """
    tall, wide = (n * mm for n, mm in zip(hu_plane.shape, edges_mm, strict=True))
    scale = longest / max(tall, wide)
    size = (max(1, round(wide * scale)), max(1, round(tall * scale)))  # OpenCV wants (x, y)
    smooth = cv2.INTER_AREA if size[0] < hu_plane.shape[1] else cv2.INTER_LINEAR
    hu = cv2.resize(np.asarray(hu_plane, np.float32), size, interpolation=smooth)
    masks = (cv2.resize(mask.astype(np.uint8) * 255, size) > 127 for mask, _ in overlays)
    return hu, [(mask, name) for mask, (_, name) in zip(masks, overlays)]


def legend(drawn, names):
    """A legend of these names of SCHEME below a matplotlib figure's panels."""
    keys = []
    for name in names:
        look = SCHEME[name]
        if look.style == "line":
            colour = "#999999" if name == "region" else look.colour
            keys.append(Line2D([], [], color=colour, lw=2, label=name))
        else:
            keys.append(Patch(facecolor=look.colour, edgecolor="#999999", lw=0.5, label=name))
    columns = max(1, int(drawn.get_figwidth() / 1.5))
    drawn.legend(handles=keys, loc="outside lower left", ncols=columns, fontsize=9)
