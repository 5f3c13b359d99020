"""The cascade: gate → liver → largest component → region of interest → tumour → back onto the scan's own grid."""

import time
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from scipy import ndimage

from helpers.cascade.inference import liver_mask, probabilities, tumour_probability
from helpers.cascade.liver import clean_liver
from helpers.cascade.tumour import keep_lesions, smoothed
from helpers.scans.volume import with_likely_spacing
from helpers.slices import recipe
from helpers.slices.recipe import PEAK, working_slices


@dataclass(frozen=True)
class Rules:
    """What the cascade decides by; every number is a parameter of notebook 05. A scan of one slice is looked at whatever
    gate_threshold and min_liver_ml say.

    gate_threshold, liver_threshold, tumour_threshold  probabilities from which a slice or a pixel counts.
    gate_smooth_mm   deviation of a smoothing along z of the gate's probability.
    gate_margin      slices kept beyond the first and last one that the gate's threshold names; all between them are kept.
    min_liver_ml   a smaller liver is no liver.
    neck_widths_mm         what hangs on the liver by a neck that narrow, and whose median is more than `max_hu_difference` from the liver's,
                     is another organ; widths one after another, none keeps all.
    min_lesion_ml  smaller tumour components are dropped, and those whose highest probability, smoothed, is below `min_peak_probability`:
                     at 2 mm and .95 these are all that span less than about 8 mm along z.
    max_fat_fraction         a finding of 4 to 80 ml is the gallbladder, neither tumour nor liver, when more than this share of what
                     surrounds it is fat, or a third of that when its median is below 30 HU; never from 60 HU on. 1 keeps all.
                     Tumours lie in liver, even those at its edge.
    reach_mm         tumours are sought in the liver and in those of its notches that a disk of this radius doesn't fit into:
                     the liver's network leaves some out that lie at its edge. A tumour found there belongs to the liver.
    smooth_mm        deviation of a smoothing along z of the tumour's probability: true lesions go on in the next slices.
    neighbour_mm     the neighbours of a slice are taken about this far away, so that a dense scan looks like the
                     training's; 0 takes the next slices.
    batch_size       slices that go through a network together.
    flip_tta         the tumour's network also sees the region mirrored, four views in all: their mean decides, and their
                     spread says how much the network contradicts itself. The tumour's step then takes four times as long.
    """

    gate_threshold: float = 0.3
    liver_threshold: float = 0.5
    tumour_threshold: float = 0.5
    gate_smooth_mm: float = 5.0
    gate_margin: int = 2
    min_liver_ml: float = 50.0
    neck_widths_mm: tuple = (12.0, 18.0, 27.0)
    max_hu_difference: float = 12.0
    min_lesion_ml: float = 0.05
    min_peak_probability: float = 0.95
    max_fat_fraction: float = 0.03
    reach_mm: float = 15.0
    smooth_mm: float = 2.0
    neighbour_mm: float = recipe.NEIGHBOUR_MM
    batch_size: int = 8
    flip_tta: bool = False

    def neighbour_step(self, volume):
        """Distance, in slices, from which the neighbours of a slice are taken."""
        return recipe.neighbour_step(volume.spacing_mm, self.neighbour_mm)


@dataclass
class Segmentation:
    """labels uint8 (z, y, x) 0/1/2; log: every decision, plain values; if asked for, probability uint8 (z, y, x) per organ.

    spread  with Rules.flip_tta, the tumour probability's standard deviation over the four views, uint8 (z, y, x), 255 is 1.
    """

    labels: np.ndarray
    log: dict
    probability: dict = field(default_factory=dict)
    tta_std: np.ndarray | None = None


def segment(volume, loaded, rules=Rules(), keep_probability=False):
    """Run the cascade on one Volume.

    Beside the volume and the labels it holds a few slices, and the boxes of liver and region, never a stack of whole slices.
    loaded   what `load` gave.
    keep_probability  True also gives back what the networks said, uint8 (z, y, x) for each organ.
    returns  Segmentation. An empty result has a name: log["outcome"] is "ok", "no liver found" or "not a number".
    """
    began = time.perf_counter()
    if len(volume.hu) == 1:  # a single slice is no liver's volume, and whoever gives it has chosen it
        rules = replace(rules, min_liver_ml=0.0, gate_threshold=0.0)
    shape, header_mm = volume.hu.shape, volume.spacing_mm
    volume = with_likely_spacing(volume)
    result = Segmentation(np.zeros(shape, np.uint8), _empty_log(shape[0], rules))
    result.log |= {"spacing_mm": list(volume.spacing_mm), "header_mm": list(header_mm)}
    if keep_probability:
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
    grid, image = working_slices(volume, loaded["liver"].recipe)
    step = rules.neighbour_step(volume)
    kept = _gated(loaded.get("gate"), image, rules, log, step, volume.spacing_mm[0])
    clock.note("gate")
    if not len(kept):
        return "no liver found"
    threshold = rules.liver_threshold
    said = {"batch_size": rules.batch_size, "step": step}
    mask, score = liver_mask(loaded["liver"], grid, image, kept, threshold, result.probability.get("liver"), **said)
    log["liver_slice_score"] = _rounded(score / PEAK)
    clock.note("liver")
    liver, log["liver_pieces"], log["neighbours"] = clean_liver(mask, volume, rules)
    del mask, image
    clock.note("pieces")
    if not liver.any():
        return "no liver found"
    result.labels[liver] = 1
    roi = recipe.grid_of(volume, "tumour", loaded["tumour"].recipe, liver)
    log["roi"] = [list(edge) for edge in roi.box]
    box = tuple(slice(*edge) for edge in roi.box)
    likely, spread = tumour_probability(volume, loaded["tumour"], roi, liver, rules.flip_tta, **said)
    if result.probability:
        result.probability["tumour"][box] = likely
    if rules.flip_tta:
        result.tta_std = np.zeros(volume.hu.shape, np.uint8)
        result.tta_std[box] = spread
    clock.note("tumour")
    likely = smoothed(likely, liver[box], rules, volume.spacing_mm)
    log["tumour_slice_score"][box[0]] = _rounded(likely.max((1, 2)) / PEAK)
    corner = [start for start, _ in roi.box]
    tumour, gallbladder, *counts = keep_lesions(likely, rules, volume.spacing_mm, volume.hu[box], corner)
    log["lesions"], log["removed"] = counts
    log["tumour_ml"] = round(float(np.count_nonzero(tumour) * volume.voxel_ml), 3)
    result.labels[box][gallbladder] = 0
    result.labels[box][tumour] = 2
    log["liver_ml"] = round(float(np.count_nonzero(result.labels) * volume.voxel_ml), 1)  # of the mask, tumours included
    clock.note("lesions")
    return "ok"


def _gated(gate, image, rules, log, step, spacing_mm):
    """Slices that go on to the liver's network: from the first to the last that the gate takes for liver, and a margin.

    None between them are left out, and no stretch is chosen: in a scan of another hospital a gate can be surer of the pelvis.
    """
    if gate is None:
        log |= {"gate_kept": len(image), "gate_slices": [0, len(image)]}
        return np.arange(len(image))
    score = probabilities(gate, image, np.arange(len(image)), 4 * rules.batch_size, step) / PEAK
    log["gate_probability"] = _rounded(score)
    smooth = ndimage.gaussian_filter1d(score, rules.gate_smooth_mm / spacing_mm) if rules.gate_smooth_mm else score
    kept = np.flatnonzero(smooth >= rules.gate_threshold)
    if len(kept):
        kept = np.arange(max(0, kept[0] - rules.gate_margin), min(len(image), kept[-1] + 1 + rules.gate_margin))
    log |= {"gate_kept": len(kept), "gate_slices": [int(kept[0]), int(kept[-1]) + 1] if len(kept) else [0, 0]}
    return kept


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
        "outcome": "ok", "sentence": "", "slices": slices, "gate_kept": 0, "gate_slices": [0, 0], "gate_probability": [],
        "liver_slice_score": [0.0] * slices, "tumour_slice_score": [0.0] * slices, "liver_ml": 0.0, "liver_pieces": 0,
        "neighbours": [], "roi": None, "lesions": 0, "removed": [], "tumour_ml": 0.0, "seconds": {},
        "rules": asdict(rules), "spacing_mm": [], "header_mm": [],
    }  # fmt: skip


def _sentence(log):
    """One line that a person reads: what every step kept."""
    said = [f"gate kept {log['gate_kept']} of {log['slices']} slices"]
    if log["outcome"] != "ok":
        return "; ".join([*said, log["outcome"] + (f" ({log['error']})" if "error" in log else "")])
    (z0, z1), (y0, y1), (x0, x1) = log["roi"]
    pieces = f" (largest of {log['liver_pieces']} pieces)" if log["liver_pieces"] > 1 else ""
    cut = f", {sum(part['volume_ml'] for part in log['neighbours']):,.0f} ml of other organs cut off" if log["neighbours"] else ""
    said.append(f"liver {log['liver_ml']:,.0f} ml{pieces}{cut}")
    said.append(f"region {z1 - z0} × {y1 - y0} × {x1 - x0}")
    if log["spacing_mm"] != log["header_mm"]:
        said.append("{2:g} × {1:g} × {0:g} mm a voxel, not 1 × 1 × 1 as its header says".format(*log["spacing_mm"]))
    bladders = [found for found in log["removed"] if found["why"] == "gallbladder"]
    others = len(log["removed"]) - len(bladders)
    dropped = f", {others} removed as too small or too unsure" if others else ""
    said.append(f"{log['lesions']} lesions, {log['tumour_ml']:,.1f} ml{dropped}")
    said += [f"{b['volume_ml']:,.1f} ml about slice {b['index_zyx'][0]} taken for the gallbladder" for b in bladders]
    return "; ".join(said)


def predicted_liver(volume, liver, rules):
    """The liver of a scan, bool (z, y, x), as the cascade finds it by its Rules without a gate."""
    grid, image = working_slices(volume, liver.recipe)
    step = rules.neighbour_step(volume)
    mask, _ = liver_mask(liver, grid, image, np.arange(len(image)), rules.liver_threshold, step=step)
    return clean_liver(mask, volume, rules)[0]
