"""From slices to probabilities on the scan's own grid, and which slices are worth looking at.

Networks come with their card and `probability` of planes: weights.TrainedNetwork, or without torch
onnx_engine.OnnxNetwork.
"""

import cv2
import numpy as np
from scipy import ndimage

from helpers.slices.pixels import PEAK, normalised, stacked

# what makes whole slices, in a recipe
WHOLE = ("windows", "size", "working_spacing_mm", "normalise", "equalise")
FLIPS = ((-1,), (-2,), (-2, -1))  # in-plane axes along which a view is turned over


def kept_by_gate(gate, whole, rules):
    """From the first to the last slice that the gate takes for liver, and a margin; all of them
    without a gate.

    None between them are left out, and no stretch is chosen: in a scan of another hospital a gate
    can be surer of the pelvis.
    gate     weights.TrainedNetwork or None; whole: recipe.Slices.
    returns  (range of slices, probability of each slice, float (z,); [] without a gate).
    """
    every = range(len(whole))
    if gate is None:
        return every, []
    rows = probability_of_rows(gate, whole, every, 4 * rules.batch_size, whole.step, whole.breaks)
    probability = rows / PEAK
    sigma = rules.gate_smooth_mm / whole.spacing_mm[0]
    smooth = ndimage.gaussian_filter1d(probability, sigma) if sigma else probability
    kept = np.flatnonzero(smooth >= rules.gate_threshold)
    if not len(kept):
        return range(0), probability
    first, end = int(kept[0]) - rules.gate_margin, int(kept[-1]) + 1 + rules.gate_margin
    return range(max(0, first), min(len(whole), end)), probability


def probability(trained, slices, rows=None, batch_size=8):
    """What a network looks for, on the scan's own grid.

    slices   recipe.Slices; rows: those that are looked at, None for all.
    returns  uint8 (z, y, x), 255 is certain; 0 where it wasn't looked at.
    Raises FloatingPointError when the network gives NaN or Inf.
    """
    out = np.zeros(slices.scan_shape, np.uint8)
    rows = range(len(slices)) if rows is None else rows
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        neighbours = trained.card["neighbours"]
        planes = stacks(slices, batch, neighbours, slices.step, slices.breaks)  # (B, C, y, x)
        slices.put_back(answers(trained, planes), batch, out)
    return out


def average_flips(trained, slices, rows, probability, batch_size=8):
    """A second look at some rows: the network sees them turned over, too, and `probability` takes
    the mean of the four views there.

    probability  uint8 (z, y, x), as the function of that name gave it; changed in place.
    returns      uint8 (z, y, x), the views' standard deviation, 255 is 1; 0 in other slices.
    """
    tta_std = np.zeros(probability.shape, np.uint8)
    neighbours, first = trained.card["neighbours"], slices.grid.box[0][0]
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        planes, at = stacks(slices, batch, neighbours, slices.step, slices.breaks), first + batch
        views = np.zeros((1 + len(FLIPS), *probability[at].shape), np.uint8)
        views[0] = probability[at]
        for axes, view in zip(FLIPS, views[1:], strict=True):
            flipped = np.flip(answers(trained, np.flip(planes, axes)), axes)
            for plane, out in zip(flipped, view, strict=True):
                slices.grid.back(plane, out)
        probability[at] = np.rint(views.mean(0))
        tta_std[at] = np.rint(views.std(0))
    return tta_std


def probability_of_rows(trained, image, rows, batch_size=8, step=1, breaks=()):
    """What a network says of some rows of a stack, in the stack's own pixels.

    image    uint8 (z, windows, y, x), an array or recipe.Slices; step: distance of the neighbours;
             breaks: as `pixels.stacked` takes them.
    returns  uint8 (len(rows), y, x), or (len(rows),) from the gate; 255 is certain.
    Raises FloatingPointError when the network gives NaN or Inf.
    """
    neighbours, starts = trained.card["neighbours"], range(0, len(rows), batch_size)
    batches = (stacks(image, rows[k : k + batch_size], neighbours, step, breaks) for k in starts)
    out = [answers(trained, planes) for planes in batches]
    return np.concatenate(out) if out else np.zeros((0, *image.shape[2:]), np.uint8)


def stacks(image, rows, neighbours, step, breaks):
    """Rows with their neighbours as channels: uint8 (B, C, y, x)."""
    return np.stack([stacked(image, k, neighbours, step, breaks) for k in rows])


def answers(trained, planes):
    """What a network says of a batch uint8 (B, C, y, x): uint8 (B, y, x), or (B,) from the gate;
    255 is certain.
    """
    height, width = planes.shape[2:]
    probability = trained.probability(planes)  # (B, H, W), or (B,)
    probability = probability[..., :height, :width] if probability.ndim == 3 else probability
    if not np.isfinite(probability.sum()):
        stage = trained.card["stage"]
        raise FloatingPointError(f"the {stage} network gives NaN or infinite values")
    return np.rint(probability * PEAK).astype(np.uint8)


def network_input(planes, norm):
    """What a network sees of grey values uint8 (B, C, y, x): float32 (B, H, W, C), H and W the next
    multiples of 32, black beyond the slice.
    """
    count, channels, height, width = planes.shape
    grey = np.zeros((count, height + -height % 32, width + -width % 32, channels), np.uint8)
    grey[:, :height, :width] = planes.transpose(0, 2, 3, 1)
    values = normalised(np.arange(256, dtype=np.float32) / np.float32(255), np.float32(norm))
    return cv2.LUT(grey.reshape(count, -1), values).reshape(grey.shape)


def check_same_pixels(networks, folder):
    """Raise ValueError, naming the folder, for a gate that doesn't see what the liver's network
    sees.
    """
    recipes = [networks[stage].card["recipe"] for stage in ("gate", "liver") if stage in networks]
    if any(str(recipe[name]) != str(recipes[0][name]) for recipe in recipes for name in WHOLE):
        message = "the gate learnt from other pixels than the liver's network"
        raise ValueError(f"{folder}: {message}; train one of them again")
