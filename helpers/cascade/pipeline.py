"""The cascade: gate → liver → its largest component → region → tumour → lesions."""

from dataclasses import asdict, dataclass, field, replace

import numpy as np

from helpers.cascade import inference
from helpers.cascade.decisions import CascadeLog
from helpers.cascade.liver import clean_liver
from helpers.cascade.rules import Rules
from helpers.cascade.tumour import keep_lesions, outside_liver, smoothed
from helpers.scans.boxes import at_least, box_of
from helpers.scans.volume import with_likely_spacing
from helpers.slices import recipe
from helpers.slices.pixels import PEAK, level


@dataclass
class Segmentation:
    """labels uint8 (z, y, x) 0/1/2; log: every decision; if asked for, probability uint8 (z, y, x)
    per organ.

    tta_std  with Rules.flip_tta, the tumour probability's standard deviation over the four views,
             uint8 (z, y, x), 255 is 1; 0 in slices without a second look.
    """

    labels: np.ndarray
    log: CascadeLog
    probability: dict = field(default_factory=dict)
    tta_std: np.ndarray | None = None


def segment(volume, networks, rules=Rules(), keep_probability=False):
    """Run the cascade on one Volume.

    Beside the volume it holds a few slices and arrays of one byte a voxel, never a stack of whole
    slices.
    networks  what `weights.load_networks` gave.
    keep_probability  True also gives back what the networks said, uint8 (z, y, x) for each organ.
    returns  Segmentation. An empty result has a name: log.outcome is "ok", "no liver found" or "not
             a number".
    """
    shape, header_mm = volume.hu.shape, volume.spacing_mm
    volume = with_likely_spacing(volume)
    if volume.is_scattered:  # single slices are no liver's volume; who gives them has chosen them
        rules = replace(rules, min_liver_ml=0.0, gate_threshold=0.0, smooth_mm=0.0,
                        neck_widths_mm=(), min_lesion_ml=rules.min_lesion_ml / 10)
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

        mask = at_least(probability, level(rules.liver_threshold))
        del whole, probability  # a byte a voxel, unless it is to be kept
        liver, count, organs = clean_liver(mask, volume, rules)
        del mask
        outcome = "ok" if liver.any() else "no liver found"
        log.note("components", outcome=outcome, liver_components=count, adjacent_organs=organs)

        region = recipe.liver_region(volume, liver, networks["tumour"].recipe, rules.neighbour_mm)
        rows = region.rows_of(liver)
        probability = inference.probability(networks["tumour"], region, rows, rules.batch_size)
        tta_std = None
        if rules.flip_tta:  # a second look where something was found
            found = at_least(probability, level(rules.tumour_threshold))
            rows = region.rows_of(found, liver)
            tta_std = inference.average_flips(
                networks["tumour"], region, rows, probability, rules.batch_size
            )
        if keep_probability:
            result.probability["tumour"] = probability
        log.note("tumour", roi=[list(edge) for edge in region.grid.box] if len(region) else None)

        outside = outside_liver(probability, liver, volume.spacing_mm, rules)
        probability = smoothed(probability, liver, rules, volume.spacing_mm)
        lesions, count, specks = keep_lesions(probability, volume.spacing_mm, rules)
        result.labels, result.tta_std = labels_of(liver, lesions), tta_std
        tumour_ml = float(np.count_nonzero(lesions) * volume.voxel_ml)
        liver_ml = float(np.count_nonzero(result.labels) * volume.voxel_ml)  # tumours included
        log.note(
            "lesions",
            lesions=count,
            specks=len(specks),
            dropped=[*reasoned(specks, f"under {rules.min_lesion_ml:g} ml"),
                     *reasoned(outside, "outside the liver")],
            tumour_slice_score=slice_scores(probability),
            tumour_ml=round(tumour_ml, 3),
            liver_ml=round(liver_ml, 1),
        )
    return result


def labels_of(liver, lesions):
    """The mask uint8 (z, y, x): 1 liver, 2 lesions, which may be wider along z."""
    labels, box = np.zeros(liver.shape, np.uint8), box_of(liver, lesions)
    if box is not None:
        labels[box] = liver[box]
        labels[box][lesions[box]] = 2
    return labels


def reasoned(findings, reason):
    """Findings of `tumour.components` as the log keeps those that were dropped."""
    return [finding | {"ml": round(finding["ml"], 4), "reason": reason} for finding in findings]


def slice_scores(probability):
    """The highest probability of each slice, 0…1, of a probability uint8 (z, y, x)."""
    return rounded(probability.max((1, 2)) / PEAK)


def rounded(values):
    """Floats of Python with three digits, as the log keeps them."""
    return [round(float(value), 3) for value in values]


def predicted_liver(volume, liver, rules):
    """The liver, bool (z, y, x), as the cascade finds it without a gate; liver: TrainedNetwork."""
    whole = recipe.whole_slices(volume, liver.recipe, rules.neighbour_mm)
    probability = inference.probability(liver, whole)
    mask = at_least(probability, level(rules.liver_threshold))
    return clean_liver(mask, volume, rules)[0]
