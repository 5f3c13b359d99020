"""Everything that is measured on one case: a row for it, a row per lesion, a row per slice."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from helpers import files
from helpers.scans import boxes, volume
from helpers.scoring import attribution, metrics
from helpers.scoring.lesions import CaseLesions
from helpers.scoring.statistics import ci_keys, patients, ratio, unpredicted

TOLERANCES_MM = (2.0, 5.0)
TABLES = ("cases", "lesions", "slices", "probabilities", "uncertainty", "dropped")
COUNTED = {
    "probabilities": ("organ", "label", "level", "voxels"),
    "uncertainty": ("measure", "level", "wrong", "voxels"),
    "dropped": ("organ", "index_z", "volume_ml", "why"),
}
TEXTS = (
    "failed", "lost_by", "place", "kind", "false_positive_type", "outcome", "split", "run", "group",
    "note", "where", "why", "scan_file", "reference_file", "prediction_file",
)
FACES_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # an affine for arrays that came without one
EMPTY_BOX = (slice(0, 1),) * 3  # one voxel, where there is nothing to measure
FALSE_SLICES_MIN_ML = 0.05  # 05 drops smaller ones by default; others' masks may be full of specks
FALSE_SLICES_KINDS = ("any", "sizeable", "false")
FALSE_SLICES_RULE = (
    "slices with liver and without tumour in the reference; any: a predicted tumour voxel on it; "
    f"sizeable: one of a predicted lesion of {FALSE_SLICES_MIN_ML:g} ml or more; false: one of a "
    "predicted lesion that touches no reference lesion on any slice; cases with a usable "
    "prediction only; no such slice: no value"
)


@dataclass
class Scored:
    """row: dict of cases.csv; the others: lists of dicts of the CSV files of their names."""

    row: dict
    lesions: list = field(default_factory=list)
    slices: list = field(default_factory=list)
    probabilities: list = field(default_factory=list)
    uncertainty: list = field(default_factory=list)
    dropped: list = field(default_factory=list)


def score(case, reference, prediction, spacing_mm, affine=FACES_LPS, hu=None,
          tolerances_mm=TOLERANCES_MM, failed=""):
    """Measure one case: (Scored, CaseLesions), the latter for `attribution` to say why one was
    missed.

    reference, prediction  uint8 (z, y, x), labels 0 background, 1 liver, 2 tumour.
    spacing_mm             (z, y, x).
    affine                 of the file (4, 4); only the order in which the organisers number lesions
                           depends on it.
    hu                     int16 (z, y, x) for the lesions' contrast, or None.
    failed                 why there is no prediction; `prediction` is then ignored, and every
                           overlap counts as 0.
    """
    if failed:
        prediction = np.zeros_like(reference)
    if reference.shape != prediction.shape:
        raise ValueError(
            f"{case}: reference of shape {reference.shape}, prediction of shape {prediction.shape}"
        )
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    slices, diagonal = len(reference), float(np.linalg.norm(np.array(reference.shape) * spacing_mm))
    row = {"case": case, "failed": failed, "slices": slices}
    row |= {"voxel_ml": voxel_ml, "diagonal_mm": round(diagonal, 1)}
    row |= {"stand_in_mm": volume.is_stand_in(spacing_mm, hu)}
    box = boxes.box_of(reference, prediction) or EMPTY_BOX
    labels, hu = (reference[box], prediction[box]), None if hu is None else hu[box]
    confusion = np.zeros((slices, 3, 3), np.int64)
    confusion[box[0]] = metrics.confusion_by_slice(*labels)
    tumour_box = boxes.box_of(*(side == 2 for side in labels)) or EMPTY_BOX
    surfaces = {
        "liver": [metrics.surface(side >= 1) for side in labels],
        "tumour": [metrics.surface(side[tumour_box] == 2) for side in labels],
    }
    for organ in metrics.CLASSES:
        distances = metrics.distances_between(*surfaces[organ], spacing_mm)
        row |= _organ(organ, confusion.sum(0), voxel_ml, distances, tolerances_mm, failed)
    truth, predicted = metrics.burden(confusion.sum(0))
    row |= {f"macro_{name}": (row[f"liver_{name}"] + row[f"tumour_{name}"]) / 2
            for name in ("dice", "jaccard")}
    row |= {"burden_reference": truth, "burden_prediction": predicted,
            "burden_error": predicted - truth}
    lesions = CaseLesions.of(labels, box, tumour_box, surfaces["liver"], spacing_mm, hu)
    by_slice = _slices(case, confusion)
    row |= lesions.counts(voxel_ml, affine) | attribution.of_masks(by_slice, lesions)
    return Scored(row, lesions.rows(case, voxel_ml), by_slice), lesions


def _organ(organ, confusion, voxel_ml, distances, tolerances_mm, failed):
    """The columns of one class."""
    voxels = metrics.counts(confusion, organ)
    r, p, both = (int(n) for n in voxels)
    # tumour-free and no prediction: failed, not "both empty"
    dice, jaccard = (0.0, 0.0) if failed else (metrics.dice(*voxels), metrics.jaccard(*voxels))
    lits_official, table_of_2017 = metrics.volume_differences(r, p)
    values = {
        "dice": dice, "jaccard": jaccard, "voe": 1 - jaccard,
        "rvd_lits_official": lits_official, "rvd_2017": table_of_2017,
        "assd_mm": distances.assd_mm(), "rmsd_mm": distances.rmsd_mm(),
        "msd_mm": distances.msd_mm(), "hd95_mm": distances.hd95_mm(),
    }
    values |= {f"surface_dice_{mm:g}mm": distances.surface_dice(mm) for mm in tolerances_mm}
    values |= {"reference_ml": r * voxel_ml, "prediction_ml": p * voxel_ml}
    values |= {"reference_voxels": r, "prediction_voxels": p, "both_voxels": both}
    return {f"{organ}_{name}": value for name, value in values.items()}


def _slices(case, confusion):
    """A row per slice: voxels and overlaps of both classes."""
    liver, tumour = (metrics.counts(confusion, organ) for organ in metrics.CLASSES)
    columns = {"index_z": np.arange(len(confusion))}
    for organ, (r, p, both) in (("liver", liver), ("tumour", tumour)):
        columns |= {f"{organ}_reference": r, f"{organ}_prediction": p, f"{organ}_both": both}
        columns[f"{organ}_dice"] = metrics.dice(r, p, both)
        columns[f"{organ}_jaccard"] = metrics.jaccard(r, p, both)
    rows = zip(*(values.tolist() for values in columns.values()))
    return [{"case": case} | dict(zip(columns, row, strict=True)) for row in rows]


def tables(scored):
    """DataFrames of the names TABLES from a list of Scored, with their columns even when empty."""
    tumour = np.pad(np.full((1, 1, 1), 2, np.uint8), ((0, 0), (1, 1), (1, 1)))
    blank = score("", tumour, tumour, (1.0, 1.0, 1.0))[0]  # has a row of every kind
    out = {"cases": pd.DataFrame([s.row for s in scored],
                                 columns=None if scored else list(blank.row))}
    for name in ("lesions", "slices"):
        rows = [row for s in scored for row in getattr(s, name)]
        out[name] = pd.DataFrame(rows, columns=None if rows else list(getattr(blank, name)[0]))
    out["cases"] = false_slices_by_case(*out.values())
    for name, columns in COUNTED.items():
        rows = [{"case": s.row["case"]} | row for s in scored for row in getattr(s, name)]
        out[name] = pd.DataFrame(rows, columns=["case", *columns])
    return {name: _texts_filled(table) for name, table in out.items()}


def write_tables(paths, tables):
    """Write tables as CSV files, two dicts by name."""
    for name, path in paths.items():
        files.write_csv(path, tables[name])


def read_tables(paths):
    """The tables back from CSV files, a dict of name to path."""
    texts = dict.fromkeys(("case", *TEXTS), str)  # as they were written: "NA" and "007" are names
    out = {}
    for name, path in paths.items():
        numbers = {column: [""] for column in pd.read_csv(path, nrows=0) if column not in texts}
        out[name] = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=numbers)
    return out


def _texts_filled(table):
    texts = [column for column in TEXTS if column in table]
    return table.assign(**{column: table[column].fillna("").astype(str) for column in texts})


def predicted_only(cases):
    """The cases that have a usable prediction."""
    return cases[~unpredicted(cases)]


def worst_first(cases):
    """The cases by the lower of their two Dice: a tumour that never was hides no lost liver."""
    order = cases.assign(worse=cases[["liver_dice", "tumour_dice"]].min(axis=1))
    order = order.sort_values(["worse", "tumour_dice", "case"], kind="stable", ignore_index=True)
    return order.drop(columns="worse")


def false_slices_by_case(cases, lesions, slices):
    """`cases` with columns tumour_free_slices, and false_slices_any, _sizeable and _false, counts;
    a case without usable prediction has no slices to count.

    A lesion is joined by faces, so it shows on every slice from its first to its last.
    """
    free = slices[(slices.liver_reference > 0) & (slices.tumour_reference == 0)]
    free = free.loc[free.case.isin(predicted_only(cases).case), ["case", "index_z"]]
    predicted = lesions[lesions.side == "prediction"]
    kinds = {
        "any": predicted, "sizeable": predicted[predicted.volume_ml >= FALSE_SLICES_MIN_ML],
        "false": predicted[predicted.kind == "false"],
    }
    counts = {"tumour_free_slices": free}
    for name, kind in kinds.items():
        pairs = free.merge(kind[["case", "first_slice", "last_slice"]], on="case")
        shown = (pairs.first_slice <= pairs.index_z) & (pairs.index_z <= pairs.last_slice)
        counts[f"false_slices_{name}"] = pairs[shown].drop_duplicates(["case", "index_z"])
    return cases.assign(**{name: cases.case.map(rows.case.value_counts()).fillna(0).astype(int)
                           for name, rows in counts.items()})


def false_slices_summary(cases):
    """The keys `tumour_free_slices` and `false_slices.<kind>` with intervals, from the cases."""
    free = cases.tumour_free_slices.to_numpy(float)
    out = {"tumour_free_slices": int(free.sum()), "false_slices.rule": FALSE_SLICES_RULE}
    for kind in FALSE_SLICES_KINDS:
        false = cases[f"false_slices_{kind}"].to_numpy(float)
        out[f"false_slices.{kind}"] = false.sum() / free.sum() if free.sum() else np.nan
        out[f"false_slices.{kind}.slices"] = int(false.sum())
        out |= ci_keys(f"false_slices.{kind}", np.stack([false, free], 1), ratio, patients(cases))
    return out
