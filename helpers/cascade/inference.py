"""Trained networks: found beside their cards, loaded, and asked about slices."""

from dataclasses import dataclass

import numpy as np
import torch

from helpers.cascade import weights
from helpers.cascade.precision import device_named, half_precision_supported
from helpers.slices import store
from helpers.slices.recipe import PEAK, Recipe, Slices, normalised, reference_shift, stacked

WHOLE = ("windows", "size", "working_spacing_mm", "normalise", "equalise")  # what makes whole slices, in a recipe
MIRRORS = ((), (-1,), (-2,), (-2, -1))  # in-plane axes along which a region is turned over


@dataclass
class TrainedNetwork:
    """A stage's network with what its card says about reading slices."""

    network: torch.nn.Module
    card: dict
    precision: str = "32-true"

    @property
    def recipe(self):
        return Recipe(**self.card["recipe"])


def weights_of(folder, unfinished=False):
    """The weight files of a run's checkpoint folder: dict of paths for "liver", "tumour" and, where it was trained, "gate".

    unfinished  True takes the best weights so far where a training hasn't finished.
    Raises FileNotFoundError when the liver's or the tumour's are missing.
    """
    found = {}
    for stage in store.STAGES:
        names = ("final", "best") if unfinished else ("final",)
        file = next((f for name in names if (f := folder / stage / f"{name}.safetensors").is_file()), None)
        if file is None and stage != "gate":
            raise FileNotFoundError(f"{folder / stage}: holds no {' or '.join(names)} weights; train this stage with notebook 04")
        if file:
            found[stage] = file
    return found


def load(folder, device="auto", unfinished=False):
    """The networks of a run's checkpoint folder, as `weights_of` finds them: dict of Loaded.

    device  "cpu", "cuda" or "auto". Raises what `weights_of` and `networks.load_weights` raise.
    """
    device = device_named(device)
    half, files = half_precision_supported(device), weights_of(folder, unfinished)
    loaded = {stage: TrainedNetwork(*weights.load_weights(file, device), half) for stage, file in files.items()}
    seen = {tuple(str(one.card["recipe"][name]) for name in WHOLE) for stage, one in loaded.items() if stage != "tumour"}
    if len(seen) > 1:
        raise ValueError(f"{folder}: the gate learnt from other pixels than the liver's network; train one of them again")
    return loaded


class Mirrored:
    """A stack of slices as Slices gives them, each plane turned over along `axes`: -1 is left and right, -2 front and back."""

    def __init__(self, image, axes):
        self.image, self.axes, self.shape = image, axes, image.shape

    def __len__(self):
        return len(self.image)

    def __getitem__(self, rows):
        return np.flip(self.image[rows], self.axes)


def probabilities_mirrored(loaded, image, rows, batch_size=8, step=1):
    """What a network says of slices and of their mirror images, turned back: uint8 (4, len(rows), y, x), unmirrored first."""
    asked = (probabilities(loaded, Mirrored(image, axes), rows, batch_size, step) for axes in MIRRORS)
    return np.stack([np.flip(said, axes) for said, axes in zip(asked, MIRRORS, strict=True)])


def probabilities(loaded, image, rows, batch_size=8, step=1):
    """What a network says of some slices of a stack.

    image    uint8 (z, windows, y, x), an array or Slices; rows: indices of the slices that are asked for; step: distance of
             the neighbours.
    returns  uint8 (len(rows), y, x), or (len(rows),) from the gate; 255 is certain.
    Raises FloatingPointError when the network gives NaN or Inf.
    """
    network, card = loaded.network, loaded.card
    out = []
    for start in range(0, len(rows), batch_size):
        planes = np.stack([stacked(image, k, card["neighbours"], step) for k in rows[start : start + batch_size]])
        logits = _forward(network, planes, card["norm"], loaded.precision)
        if not torch.isfinite(logits).all():
            raise FloatingPointError(f"the {card['stage']} network gives NaN or infinite values")
        out.append((_foreground(logits, card["stage"]) * PEAK).round().byte().cpu().numpy())
    return np.concatenate(out) if out else np.zeros((0, *image.shape[2:]), np.uint8)


@torch.inference_mode()
def _forward(network, planes, norm, precision):
    """Logits float32 for uint8 planes (B, C, H, W), which are padded to multiples of 32 and cut again."""
    device = next(network.parameters()).device
    x = normalised(torch.from_numpy(planes).to(device).float().div_(255), norm)
    height, width = x.shape[2:]
    x = torch.nn.functional.pad(x, (0, -width % 32, 0, -height % 32), value=float(normalised(torch.zeros(1), norm)))
    x = x.contiguous(memory_format=torch.channels_last)
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        logits = network(x).float()
    return logits[..., :height, :width] if logits.ndim == 4 else logits


def _foreground(logits, stage):
    """Probability of what the stage looks for: (B, H, W), or (B,) for the gate."""
    if logits.shape[1] == 1:
        return logits[:, 0].sigmoid()
    classes = logits.softmax(1)
    return classes[:, 2] if stage == "tumour" else 1 - classes[:, 0]


def liver_mask(liver, grid, image, kept, threshold, probability=None, batch_size=8, step=1):
    """Where the liver's network sees liver in the slices `kept`.

    probability  uint8 (z, y, x) that is filled with what the network said, or None.
    returns      (bool (z, y, x) on the scan's grid, the highest probability of each slice, uint8 (z,)).
    """
    shape = (len(image), *(end for _, end in grid.box[1:]))
    mask, score = np.zeros(shape, bool), np.zeros(len(image), np.uint8)
    plane = np.zeros(shape[1:], np.uint8)
    for k, said in _asked(liver, image, kept, batch_size, step):
        grid.back(said, plane)
        mask[k], score[k] = plane >= threshold * PEAK, plane.max()
        if probability is not None:
            probability[k] = plane
    return mask, score


def _asked(loaded, image, rows, batch_size, step, flip_tta=False):
    """Yield (row, plane of probabilities), a batch at a time; four planes (4, y, x) when the mirror images are asked for too."""
    for start in range(0, len(rows), batch_size):
        some = rows[start : start + batch_size]
        if flip_tta:
            said = probabilities_mirrored(loaded, image, some, batch_size, step).swapaxes(0, 1)
        else:
            said = probabilities(loaded, image, some, batch_size, step)
        yield from zip(some, said, strict=True)


def tumour_probability(volume, tumour, roi, liver, flip_tta=False, batch_size=8, step=1):
    """Probability of tumour in the box of the region of interest, from those of its slices that show liver.

    returns  (probability, spread), uint8 in the box. With `flip_tta` the mean of four views and their standard deviation,
             else one view and None.
    """
    (z0, z1), *edges = roi.box
    rows, columns = (slice(*edge) for edge in edges)
    image = Slices(volume.hu[z0:z1], roi, tumour.recipe, reference_shift(volume.hu, liver, tumour.recipe))
    out, plane = np.zeros([end - start for start, end in roi.box], np.uint8), np.zeros(volume.hu.shape[1:], np.uint8)
    spread = np.zeros_like(out) if flip_tta else None
    for k, said in _asked(tumour, image, np.flatnonzero(liver.any((1, 2))) - z0, batch_size, step, flip_tta):
        if flip_tta:
            said, apart = (np.rint(part).astype(np.uint8) for part in (said.mean(0), said.std(0)))
            spread[k] = roi.back(apart, plane)[rows, columns]
        out[k] = roi.back(said, plane)[rows, columns]
    return out, spread
