"""From tables to one flat dict: means with intervals, and beside each number its rule for empties.

No number gets better by missing something: a value that a miss leaves undefined takes the worst
that could have been.
"""

import numpy as np

from helpers import files
from helpers.scoring import (
    attribution,
    case_scores,
    detection,
    false_positives,
    metrics,
    probabilities,
)
from helpers.scoring.statistics import (
    ci_keys,
    flat,
    mean_with_ci,
    patients,
    plain,
    ratio,
    side_by_side,
    unpredicted,
)

DISTANCES = ("assd_mm", "rmsd_mm", "msd_mm", "hd95_mm")
RULES = {
    "overlap": "both masks empty 1, one empty 0, no usable prediction 0",
    "voe": "both masks empty 0, one empty 1, no usable prediction 1",
    "with_tumour": "cases with tumour in the reference only; nothing predicted 0",
    "distance": "one mask empty or no usable prediction: the diagonal of the largest scan; "
    "both empty: left out",
    "surface_dice": "one mask empty or no usable prediction 0; both empty: left out",
    "global": "all cases' voxels together; a case that is empty in both masks adds nothing; "
    "no voxels at all 1",
    "rvd": "(P − R) / R; nothing predicted −1; empty reference: left out",
    "rvd_lits_official": "(R − P) / P as in the organisers' script; empty prediction: no value for "
    "the mean",
    "burden": "tumour / liver; no predicted liver: the largest error possible; no reference liver: "
    "left out",
}


def summarise(tables):
    """All numbers of a scoring under flat keys such as `tumour.dice_per_case.mean`; None for none.

    tables  DataFrames by name, as `case_scores.tables` gives them, rows in any order.

    Every key `a.b.mean` has beside it `a.b.low` and `a.b.high` (95 % bootstrap over patients),
    `.median`, `.cases`, `.left_out` and `.rule`.
    """
    cases = tables["cases"].sort_values("case", kind="stable")
    predicted = case_scores.predicted_only(cases)
    lesion_table, slice_table = (_split(tables[name], predicted) for name in ("lesions", "slices"))
    failed = unpredicted(cases)
    with_tumour = cases.tumour_reference_voxels > 0
    out = {
        "cases.count": len(cases), "cases.with_tumour": int(with_tumour.sum()),
        "cases.tumour_free": int((~with_tumour).sum()), "cases.failed": int(failed.sum()),
        "cases.failed_names": cases.case[failed].astype(str).tolist(),
        "cases.stand_in_mm": cases.case[cases.get("stand_in_mm", failed & False)].tolist(),
        "cases.synthetic": int(cases.get("synthetic", failed & False).sum()),
        "not_predicted.lesions": len(lesion_table[1]),
        "not_predicted.slices": len(slice_table[1]),
        "not_predicted.rule": detection.RULES["not_predicted"],
    }
    for organ in metrics.CLASSES:
        out |= _organ(cases, organ, failed)
    whose = patients(cases)
    out["cases.patients"] = count = whose.nunique()
    drawn = f"{count} patients, whose scans are drawn together" if count < len(cases) else "cases"
    out["interval.rule"] = f"95 % bootstrap over {drawn}"
    key, dice = "tumour.dice_per_case_with_tumour", cases.tumour_dice[with_tumour]
    out |= mean_with_ci(key, dice, RULES["with_tumour"], whose[with_tumour])
    rule = RULES["overlap"] + "; mean of liver and tumour"
    out |= mean_with_ci("macro.dice_per_case", cases.macro_dice, rule, whose)
    out["macro.dice_global"] = (out["liver.dice_global"] + out["tumour.dice_global"]) / 2
    out |= _tumour_free(predicted[predicted.tumour_reference_voxels == 0])
    out |= detection.of_lesions(predicted, lesion_table[0]) | detection.false_lesions(predicted)
    out |= _burden(cases)
    out |= _lits_official(cases) | attribution.losses(lesion_table[0])
    out |= false_positives.summarise(cases, lesion_table[0]) | attribution.oracle_summary(cases)
    out |= case_scores.false_slices_summary(predicted)
    if len(slice_table[0]):
        out |= detection.of_slices(slice_table[0])
    if len(levels := tables["probabilities"]):
        out |= probabilities.summarise(cases, levels)
    if len(spreads := tables["uncertainty"]):
        out |= probabilities.uncertainty_summary(cases, spreads)
    return {key: plain(value) for key, value in out.items()}


def _split(table, predicted):
    """(rows of cases with a usable prediction, those of a reference without one)."""
    judged = table.case.isin(predicted.case)
    return table[judged], table[~judged]


def _organ(cases, organ, failed):
    names = ("reference_voxels", "prediction_voxels", "both_voxels")
    r, p, both = (cases[f"{organ}_{name}"].to_numpy(float) for name in names)
    one_empty = ((r > 0) != (p > 0)) | failed.to_numpy()
    out, whose = {}, patients(cases)
    for name, key, rule in (("dice", "dice_per_case", "overlap"),
                            ("jaccard", "jaccard_per_case", "overlap"), ("voe", "voe", "voe")):
        out |= mean_with_ci(f"{organ}.{key}", cases[f"{organ}_{name}"], RULES[rule], whose)
    out[f"{organ}.dice_global"] = metrics.dice(r.sum(), p.sum(), both.sum())
    out[f"{organ}.jaccard_global"] = metrics.jaccard(r.sum(), p.sum(), both.sum())
    out[f"{organ}.dice_global.rule"] = RULES["global"]
    out |= ci_keys(f"{organ}.dice_global", np.stack([2 * both, r + p], 1), ratio, whose)
    worst = cases.diagonal_mm.max()
    for name in DISTANCES:
        distance_mm = np.where(one_empty, worst, cases[f"{organ}_{name}"])
        out |= mean_with_ci(f"{organ}.{name}", distance_mm, RULES["distance"], whose)
        out[f"{organ}.{name}.undefined"] = int(one_empty.sum())
    for column in [c for c in cases if c.startswith(f"{organ}_surface_dice_")]:
        key = column.replace(f"{organ}_", f"{organ}.", 1)
        share = np.where(one_empty, 0.0, cases[column])
        out |= mean_with_ci(key, share, RULES["surface_dice"], whose)
    for name, rule in (("rvd_2017", "rvd"), ("rvd_lits_official", "rvd_lits_official")):
        out |= mean_with_ci(f"{organ}.{name}", cases[f"{organ}_{name}"], RULES[rule], whose)
    if ((r > 0) & (p == 0)).any():
        numbers = ("mean", "low", "high", "median")
        out |= {f"{organ}.rvd_lits_official.{name}": np.nan for name in numbers}
    error = (cases[f"{organ}_prediction_ml"] - cases[f"{organ}_reference_ml"]).abs()[~failed]
    rule = "absolute; an empty mask has 0 ml; cases with a usable prediction"
    return out | mean_with_ci(f"{organ}.volume_error_ml", error, rule, whose[~failed])


def _tumour_free(free):
    """Cases without tumour: any predicted voxel there is an error that Dice can only call 0."""
    rule = "cases without tumour in the reference and with a usable prediction"
    return {
        "tumour_free.cases": len(free),
        "tumour_free.clean": int((free.tumour_prediction_voxels == 0).sum()),
        "tumour_free.clean.rule": rule,
    } | mean_with_ci("tumour_free.false_ml", free.tumour_prediction_ml, rule, patients(free))


def _burden(cases):
    truth = cases.burden_reference.to_numpy(float)
    predicted = cases.burden_prediction.to_numpy(float)
    unknown = np.isnan(predicted)
    error = np.where(unknown, np.maximum(truth, 1 - truth), np.abs(predicted - truth))
    defined = ~np.isnan(error)
    error, whose = error[defined], patients(cases)[defined]
    return {
        "tumour_burden.rmse": np.sqrt((error**2).mean()) if len(error) else np.nan,
        "tumour_burden.rule": RULES["burden"],
        **ci_keys("tumour_burden.rmse", error**2, lambda sums, n: np.sqrt(sums / n), whose),
        "tumour_burden.max_error": error.max() if len(error) else np.nan,
        "tumour_burden.undefined": int(unknown.sum()),
    }


def _lits_official(cases):
    """Counts as the organisers' script has them, with the faults that `matching` names."""
    out = {}
    for least, end in (("50", ""), ("any", "_any")):
        tp, fp, fn = (int(cases[f"lits_official_{kind}_{least}"].sum())
                      for kind in ("tp", "fp", "fn"))
        key = "lits_official.detection_"
        out |= {f"{key}tp{end}": tp, f"{key}fp{end}": fp, f"{key}fn{end}": fn}
        out[f"{key}recall{end}"] = tp / (tp + fn) if tp + fn else np.nan
        out[f"{key}precision{end}"] = tp / (tp + fp) if tp + fp else np.nan
    out["lits_official.rule"] = (
        "as the LiTS script counts, faults included: counts can be negative, compare only with its "
        "like"
    )
    return out


def write(folder, tables, more=()):
    """Write the tables of a scoring, a CSV file each (of probabilities only where there are some),
    and summary.json, each whole or not at all; returns the summary.

    tables   as `case_scores.tables` gives them.
    more     further keys of the summary, such as `cases.not_scored`.
    """
    values = summarise(tables) | dict(more)
    for path in table_files(folder).values():
        path.unlink()
    kept = [name for name in tables if len(tables[name]) or name not in case_scores.COUNTED]
    case_scores.write_tables({name: folder / f"{name}.csv" for name in kept}, tables)
    files.write_json(folder / "summary.json", values)
    return values


def read(folder):
    """(tables, summary) that `write` left in a folder; a table without a file is empty."""
    tables = case_scores.tables([]) | case_scores.read_tables(table_files(folder))
    return tables, files.read_json(folder / "summary.json")


def add_comparison(folder, first, second, name):
    """Add the second table of cases less the first, of a run of this name, to summary.json; returns
    the summary, and `statistics.side_by_side` of the two.
    """
    rows = side_by_side(first, second)
    values = files.read_json(folder / "summary.json") | flat(rows, name)
    files.write_json(folder / "summary.json", values)
    return values, rows


def table_files(folder):
    """The tables that there are in a folder, a dict of name to file."""
    paths = {name: folder / f"{name}.csv" for name in case_scores.TABLES}
    return {name: path for name, path in paths.items() if path.is_file()}
