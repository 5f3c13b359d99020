"""The cascade: gate → liver → largest component → region of interest → tumour → back onto the scan's own grid."""

import time
from dataclasses import dataclass, field

import numpy as np
import torch

from helpers import batches, networks, store

PEAK = 255  # probabilities are kept as uint8, 255 is certain


@dataclass(frozen=True)
class Rules:
    """What the cascade decides by; every number is a parameter of notebook 05.

    gate_threshold, liver_threshold, tumour_threshold  probabilities from which a slice or a pixel counts.
    gate_margin      slices kept beyond the first and last one that the gate keeps.
    least_liver_ml   a smaller liver is no liver.
    least_lesion_ml  smaller tumour components are dropped, and those whose highest probability is below `least_peak`.
    neighbour_mm     the neighbours of a slice are taken about this far away, so that a dense scan looks like the
                     training's; 0 takes the next slices.
    batch_size       slices that go through a network together.
    """

    gate_threshold: float = 0.5
    liver_threshold: float = 0.5
    tumour_threshold: float = 0.5
    gate_margin: int = 2
    least_liver_ml: float = 50.0
    least_lesion_ml: float = 0.05
    least_peak: float = 0.7
    neighbour_mm: float = 3.0
    batch_size: int = 8

    def neighbour_step(self, volume):
        """Distance, in slices, from which the neighbours of a slice are taken."""
        return max(1, round(self.neighbour_mm / volume.spacing_mm[0]))


@dataclass
class Loaded:
    """A stage's network with what its card says about reading slices."""

    network: torch.nn.Module
    card: dict
    precision: str = "32-true"

    @property
    def recipe(self):
        return store.Recipe(**self.card["recipe"])


@dataclass
class Segmentation:
    """labels uint8 (z, y, x) 0/1/2; probability uint8 (z, y, x) per organ; log: every decision, plain values."""

    labels: np.ndarray
    log: dict
    probability: dict = field(default_factory=dict)


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
    device = torch.device(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    loaded = {stage: Loaded(*networks.load_weights(file, device)) for stage, file in weights_of(folder, unfinished).items()}
    liver = loaded["liver"]
    example = torch.zeros(2, liver.card["network"]["in_channels"], 128, 128)
    precision = networks.fastest_precision(liver.network, example, device)
    for stage in loaded.values():
        stage.precision = precision
    return loaded


def probabilities(loaded, image, rows, batch_size=8, step=1):
    """What a network says of some slices of a stack.

    image    uint8 (z, windows, y, x); rows: indices of the slices that are asked for; step: distance of the neighbours.
    returns  uint8 (len(rows), y, x), or (len(rows),) from the gate; 255 is certain.
    Raises FloatingPointError when the network gives NaN or Inf.
    """
    network, card = loaded.network, loaded.card
    out = []
    for start in range(0, len(rows), batch_size):
        planes = np.stack([batches.stacked(image, k, card["neighbours"], step) for k in rows[start : start + batch_size]])
        logits = _forward(network, planes, card["norm"], loaded.precision)
        if not torch.isfinite(logits).all():
            raise FloatingPointError(f"the {card['stage']} network gives NaN or infinite values")
        out.append((_foreground(logits, card["stage"]) * PEAK).round().byte().cpu().numpy())
    return np.concatenate(out) if out else np.zeros((0, *image.shape[2:]), np.uint8)


@torch.inference_mode()
def _forward(network, planes, norm, precision):
    """Logits float32 for uint8 planes (B, C, H, W), which are padded to multiples of 32 and cut again."""
    device = next(network.parameters()).device
    x = batches.normalised(torch.from_numpy(planes).to(device).float().div_(255), norm)
    height, width = x.shape[2:]
    x = torch.nn.functional.pad(x, (0, -width % 32, 0, -height % 32), value=float(batches.normalised(torch.zeros(1), norm)))
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


def segment(volume, loaded, rules=Rules()):
    """Run the cascade on one Volume.

    loaded   what `load` gave.
    returns  Segmentation. An empty result has a name: log["outcome"] is "ok", "no liver found", "empty region" or
             "not a number".
    """
    began = time.perf_counter()
    shape = volume.hu.shape
    result = Segmentation(np.zeros(shape, np.uint8), _empty_log(shape[0], rules))
    result.probability = {organ: np.zeros(shape, np.uint8) for organ in ("liver", "tumour")}
    try:
        result.log["outcome"] = _steps(volume, loaded, rules, result)
    except FloatingPointError as error:
        result.labels[:] = 0
        result.log |= {"outcome": "not a number", "error": str(error)}
    result.log["seconds"]["all"] = round(time.perf_counter() - began, 2)
    result.log["sentence"] = _sentence(result.log)
    return result


def _steps(volume, loaded, rules, result):
    log, clock = result.log, _Clock(result.log["seconds"])
    recipe = loaded["liver"].recipe
    grid, image = working_slices(volume, recipe)
    clock.note("windows")
    step = rules.neighbour_step(volume)
    kept = _gated(loaded.get("gate"), image, rules, log, step)
    clock.note("gate")
    if not len(kept):
        return "no liver found"
    likely = liver_probability(loaded["liver"], grid, image, kept, result.probability["liver"], rules.batch_size, step)
    del image
    log["liver_slice_score"] = _rounded(likely.max((1, 2)) / PEAK)
    liver, log["liver_pieces"] = largest_piece(likely >= rules.liver_threshold * PEAK)
    log["liver_ml"] = round(float(liver.sum() * volume.voxel_ml), 1)
    clock.note("liver")
    if log["liver_ml"] < rules.least_liver_ml:
        return "no liver found"
    result.labels[liver] = 1
    roi = store.grid_of(volume, "tumour", loaded["tumour"].recipe, liver)
    if roi is None:
        return "empty region"
    log["roi"] = [list(edge) for edge in roi.box]
    likely = tumour_probability(volume, loaded["tumour"], roi, liver, rules.batch_size, step)
    result.probability["tumour"] = likely
    clock.note("tumour")
    likely = np.where(liver, likely, 0)
    log["tumour_slice_score"] = _rounded(likely.max((1, 2)) / PEAK)
    tumour, log["lesions"], log["removed"] = kept_lesions(likely, rules, volume)
    log["lesions_removed"] = len(log["removed"])
    log["tumour_ml"] = round(float(tumour.sum() * volume.voxel_ml), 3)
    result.labels[tumour] = 2
    clock.note("lesions")
    return "ok"


def _gated(gate, image, rules, log, step):
    """Slices that go on to the liver network: those the gate keeps and `gate_margin` more at either end."""
    if gate is None:
        log["gate_kept"] = len(image)
        return np.arange(len(image))
    score = probabilities(gate, image, np.arange(len(image)), 4 * rules.batch_size, step) / PEAK
    log["gate_probability"] = _rounded(score)
    kept = np.flatnonzero(score >= rules.gate_threshold)
    if len(kept):
        kept = np.arange(max(0, kept[0] - rules.gate_margin), min(len(image), kept[-1] + 1 + rules.gate_margin))
    log["gate_kept"] = len(kept)
    return kept


def working_slices(volume, recipe):
    """The Grid of whole slices and the scan on it, uint8 (z, windows, y, x)."""
    grid = store.grid_of(volume, "liver", recipe)
    return grid, np.stack([store.pixels(plane, grid, recipe) for plane in volume.hu])


def liver_probability(liver, grid, image, kept, out, batch_size=8, step=1):
    """Fill `out`, uint8 (z, y, x) on the scan's grid, with the probability of liver in the slices `kept`."""
    for k, plane in zip(kept, probabilities(liver, image, kept, batch_size, step), strict=True):
        grid.back(plane, out[k])
    return out


def predicted_liver(volume, liver, threshold=0.5):
    """The liver of a scan, bool (z, y, x), as the cascade finds it without a gate."""
    grid, image = working_slices(volume, liver.recipe)
    likely = liver_probability(liver, grid, image, np.arange(len(image)), np.zeros(volume.hu.shape, np.uint8))
    return largest_piece(likely >= threshold * PEAK)[0]


def largest_piece(mask):
    """The largest 26-connected component of a mask (z, y, x), its holes filled slice by slice, and how many there were."""
    import cc3d
    from scipy import ndimage

    pieces, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    if not count:
        return mask, 0
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    piece = pieces == sizes.argmax()
    for k in np.flatnonzero(piece.any((1, 2))):
        piece[k] = ndimage.binary_fill_holes(piece[k])
    return piece, int(count)


def tumour_probability(volume, tumour, roi, liver, batch_size, step=1):
    """Probability of tumour, uint8 (z, y, x) on the scan's grid, from the slices of the region of interest that show liver."""
    out, slices = np.zeros(volume.hu.shape, np.uint8), np.flatnonzero(liver.any((1, 2)))
    image = store.region(volume, liver, roi, tumour.recipe)
    for k, plane in zip(slices, probabilities(tumour, image, slices - roi.box[0][0], batch_size, step), strict=True):
        roi.back(plane, out[k])
    return out


def kept_lesions(likely, rules, volume):
    """Lesions from probabilities uint8 (z, y, x): threshold, 6-connected components, and the two rules that drop some.

    returns  (bool mask, number kept, a dict per dropped component).
    """
    import cc3d

    pieces, count = cc3d.connected_components(likely >= rules.tumour_threshold * PEAK, connectivity=6, return_N=True)
    if not count:
        return pieces > 0, 0, []
    measured = cc3d.statistics(pieces)
    keep, removed = np.zeros(count + 1, bool), []
    for k in range(1, count + 1):
        box = measured["bounding_boxes"][k]
        ml = float(measured["voxel_counts"][k] * volume.voxel_ml)
        peak = float(likely[box][pieces[box] == k].max()) / PEAK
        keep[k] = ml >= rules.least_lesion_ml and peak >= rules.least_peak
        if not keep[k]:
            where = [int(round(c)) for c in measured["centroids"][k]]
            removed.append({"volume_ml": round(ml, 4), "peak": round(peak, 3), "index_zyx": where})
    return keep[pieces], int(keep.sum()), removed


class _Clock:
    """Notes the seconds since the last note under a name."""

    def __init__(self, seconds):
        self.seconds, self.last = seconds, time.perf_counter()

    def note(self, name):
        now = time.perf_counter()
        self.seconds[name], self.last = round(now - self.last, 3), now


def _rounded(values):
    return [round(float(v), 3) for v in values]


def _empty_log(slices, rules):
    return {
        "outcome": "ok", "sentence": "", "slices": slices, "gate_kept": 0, "gate_probability": [],
        "liver_slice_score": [0.0] * slices, "tumour_slice_score": [0.0] * slices, "liver_ml": 0.0, "liver_pieces": 0,
        "roi": None, "lesions": 0, "lesions_removed": 0, "removed": [], "tumour_ml": 0.0, "seconds": {},
        "gate_threshold": rules.gate_threshold, "liver_threshold": rules.liver_threshold,
        "tumour_threshold": rules.tumour_threshold,
    }  # fmt: skip


def _sentence(log):
    """One line that a person reads: what every step kept."""
    said = [f"gate kept {log['gate_kept']} of {log['slices']} slices"]
    if log["outcome"] != "ok":
        return "; ".join([*said, log["outcome"] + (f" ({log['error']})" if "error" in log else "")])
    (z0, z1), (y0, y1), (x0, x1) = log["roi"]
    pieces = f" (largest of {log['liver_pieces']} pieces)" if log["liver_pieces"] > 1 else ""
    said.append(f"liver {log['liver_ml']:,.0f} ml{pieces}")
    said.append(f"region {z1 - z0} × {y1 - y0} × {x1 - x0}")
    dropped = f", {log['lesions_removed']} removed as too small or too unsure" if log["lesions_removed"] else ""
    said.append(f"{log['lesions']} lesions, {log['tumour_ml']:,.1f} ml{dropped}")
    return "; ".join(said)
