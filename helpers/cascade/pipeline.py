"""The cascade: gate → liver → largest component → region of interest → tumour → lesions, on the scan's own grid."""

from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np

from helpers.cascade import inference
from helpers.cascade.decisions import CascadeLog
from helpers.cascade.liver import clean_liver
from helpers.cascade.tumour import keep_lesions, smoothed
from helpers.scans.volume import with_likely_spacing
from helpers.slices import recipe
from helpers.slices.pixels import PEAK, level


@dataclass(frozen=True)
class Rules:
    """What the cascade decides by; every number is a parameter of notebook 05. A scan of one slice is looked at whatever
    gate_threshold and min_liver_ml say.

    gate_threshold, liver_threshold, tumour_threshold  probabilities from which a slice or a pixel counts.
    gate_smooth_mm        deviation of a smoothing along z of the gate's probability.
    gate_margin           slices kept beyond the first and last one that the gate's threshold names; all between them are kept.
    min_liver_ml          a smaller liver is no liver.
    neck_widths_mm        what hangs on the liver by a neck that narrow, and whose median is more than `max_hu_difference`
                          from the liver's, is another organ; widths one after another, none keeps all.
    min_lesion_ml         smaller tumour components are dropped, and those whose highest probability, smoothed, is below
                          `min_peak_probability`: at 2 mm and .95 these are all that span less than about 8 mm along z.
    max_fat_fraction      a finding of 4 to 80 ml is the gallbladder, neither tumour nor liver, when more than this share of
                          what surrounds it is fat, or a third of that when its median is below 30 HU; never from 60 HU on.
                          1 keeps all. Tumours lie in liver, even those at its edge.
    smooth_mm             deviation of a smoothing along z of the tumour's probability: true lesions go on in the next slices.
    neighbour_mm          the neighbours of a slice are taken about this far away, so that a dense scan looks like the
                          training's; 0 takes the next slices.
    batch_size            slices that go through a network together.
    flip_tta              the tumour's network also sees the region mirrored, four views in all: their mean decides, and their
                          standard deviation says how much the network contradicts itself. This step then takes four times as
                          long.
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
    smooth_mm: float = 2.0
    neighbour_mm: float = recipe.NEIGHBOUR_MM
    batch_size: int = 8
    flip_tta: bool = False

    @classmethod
    def from_parameters(cls, parameters):
        """The rules that stand among a notebook's variables, `globals()`; raises KeyError for one that is missing."""
        values = {rule.name: parameters[rule.name] for rule in fields(cls)}
        return cls(**values | {"neck_widths_mm": tuple(values["neck_widths_mm"])})


@dataclass
class Segmentation:
    """labels uint8 (z, y, x) 0/1/2; log: every decision; if asked for, probability uint8 (z, y, x) per organ.

    tta_std  with Rules.flip_tta, the tumour probability's standard deviation over the four views, uint8 (z, y, x), 255 is 1.
    """

    labels: np.ndarray
    log: CascadeLog
    probability: dict = field(default_factory=dict)
    tta_std: np.ndarray | None = None


def segment(volume, networks, rules=Rules(), keep_probability=False):
    """Run the cascade on one Volume.

    Beside the volume it holds a few slices and arrays of one byte a voxel, never a stack of whole slices.
    networks  what `weights.load_networks` gave.
    keep_probability  True also gives back what the networks said, uint8 (z, y, x) for each organ.
    returns  Segmentation. An empty result has a name: log.outcome is "ok", "no liver found" or "not a number".
    """
    shape, header_mm = volume.hu.shape, volume.spacing_mm
    volume = with_likely_spacing(volume)
    if shape[0] == 1:  # a single slice is no liver's volume, and whoever gives it has chosen it
        rules = replace(rules, min_liver_ml=0.0, gate_threshold=0.0)
    log = CascadeLog(shape[0], asdict(rules), list(volume.spacing_mm), list(header_mm))
    result = Segmentation(np.zeros(shape, np.uint8), log)
    if keep_probability:
        result.probability = {organ: np.zeros(shape, np.uint8) for organ in ("liver", "tumour")}
    with log:
        whole = recipe.whole_slices(volume, networks["liver"].recipe, rules.neighbour_mm)
        rows, score = inference.kept_by_gate(networks.get("gate"), whole, rules)
        log.note("gate", gate_probability=rounded(score), gate_slices=[rows.start, rows.stop])

        probability = inference.probability(networks["liver"], whole, rows, rules.batch_size)
        if keep_probability:
            result.probability["liver"] = probability
        log.note("liver", liver_slice_score=slice_scores(probability))

        liver, count, organs = clean_liver(probability >= level(rules.liver_threshold), volume, rules)
        outcome = "ok" if liver.any() else "no liver found"
        log.note("components", outcome=outcome, liver_components=count, adjacent_organs=organs)

        region = recipe.liver_region(volume, liver, networks["tumour"].recipe, rules.neighbour_mm)
        rows, tta_std = region.rows_of(liver), np.zeros(shape, np.uint8) if rules.flip_tta else None
        probability = inference.probability(networks["tumour"], region, rows, rules.batch_size, tta_std)
        if keep_probability:
            result.probability["tumour"] = probability
        log.note("tumour", roi=[list(edge) for edge in region.grid.box] if len(region) else None)

        probability = smoothed(probability, liver, rules, volume.spacing_mm)
        lesions, count, dropped = keep_lesions(probability, volume.hu, volume.spacing_mm, rules)
        result.labels, result.tta_std = labels_of(liver, lesions, dropped), tta_std
        log.note(
            "lesions", tumour_slice_score=slice_scores(probability), lesions=count,
            removed=[finding.as_dict() for finding in dropped],
            tumour_ml=round(float(np.count_nonzero(lesions) * volume.voxel_ml), 3),
            liver_ml=round(float(np.count_nonzero(result.labels) * volume.voxel_ml), 1),  # of the mask, tumours included
        )  # fmt: skip
    return result


def labels_of(liver, lesions, dropped):
    """The mask uint8 (z, y, x): 1 liver, 2 lesions, which may be wider along z; the gallbladder among what was dropped is 0."""
    labels = liver.astype(np.uint8)
    for finding in dropped:
        if finding.why == "gallbladder":
            labels[finding.box][finding.mask] = 0
    labels[lesions] = 2
    return labels


def slice_scores(probability):
    """The highest probability of each slice, 0…1, of a probability uint8 (z, y, x)."""
    return rounded(probability.max((1, 2)) / PEAK)


def rounded(values):
    """Floats of Python with three digits, as the log keeps them."""
    return [round(float(value), 3) for value in values]


def predicted_liver(volume, liver, rules):
    """The liver of a scan, bool (z, y, x), as the cascade finds it by its Rules without a gate; liver: its TrainedNetwork."""
    whole = recipe.whole_slices(volume, liver.recipe, rules.neighbour_mm)
    probability = inference.probability(liver, whole)
    return clean_liver(probability >= level(rules.liver_threshold), volume, rules)[0]
