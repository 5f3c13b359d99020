"""From tables of cases, lesions and slices to one flat dict: means with intervals, and beside each number its rule for empties.

No number gets better by missing something: a value that a miss leaves undefined takes the worst that could have been.
"""

import numpy as np
import pandas as pd

from helpers import files
from helpers.scoring import attribution, case_scores, false_positives, lesions, probabilities
from helpers.scoring.probabilities import curve
from helpers.scoring.statistics import bootstrap_ci, flat, mean_with_ci, patients, plain, ratio, side_by_side

DISTANCES = ("assd_mm", "rmsd_mm", "msd_mm", "hd95_mm")
RULES = {
    "overlap": "both masks empty 1, one empty 0, no usable prediction 0",
    "voe": "both masks empty 0, one empty 1, no usable prediction 1",
    "with_tumour": "cases with tumour in the reference only; nothing predicted 0",
    "distance": "one mask empty or no usable prediction: the diagonal of the largest scan; both empty: left out",
    "surface_dice": "one mask empty or no usable prediction 0; both empty: left out",
    "global": "all cases' voxels together; a case that is empty in both masks adds nothing; no voxels at all 1",
    "rvd": "(P − R) / R; nothing predicted −1; empty reference: left out",
    "rvd_lits_official": "(R − P) / P as in the organisers' script; empty prediction: no value for the mean",
    "recall": "found of all reference lesions; none in the reference: no value",
    "precision": "true of all predicted lesions; none predicted 0, or no value where there was none to find",
    "f1": "2·precision·recall / (precision + recall); 0 where both are 0; no lesion on either side: no value",
    "false": "predicted lesions that touch no reference lesion; no usable prediction: as many as in the worst case",
    "burden": "tumour / liver; no predicted liver: the largest error possible; no reference liver: left out",
    "slices": "all slices of all cases; those of a case without usable prediction count as wrong",
    "auc": "cases with probability maps, voxels of all cases together",
}


def summarise(cases, lesion_table, slice_table, levels, spreads):
    """All numbers of a scoring under flat keys such as `tumour.dice_per_case.mean`; a value that does not exist is None.

    cases, lesion_table, slice_table, levels, spreads  DataFrames as `case_scores.tables` gives them, in any order.
    Every key `a.b.mean` has beside it `a.b.low` and `a.b.high` (95 % bootstrap over patients), `.median`, `.cases`,
    `.left_out` and `.rule`.
    """
    cases = cases.sort_values("case", kind="stable")
    failed = cases.failed.fillna("").astype(str) != ""
    with_tumour = cases.tumour_reference_voxels > 0
    out = {
        "cases.count": len(cases), "cases.with_tumour": int(with_tumour.sum()), "cases.tumour_free": int((~with_tumour).sum()),
        "cases.failed": int(failed.sum()), "cases.failed_names": cases.case[failed].astype(str).tolist(),
    }  # fmt: skip
    for organ in ("liver", "tumour"):
        out |= _organ(cases, organ, failed)
    whose = patients(cases)
    out["cases.patients"] = whose.nunique()
    together = f"{whose.nunique()} patients, whose scans are drawn together" if whose.nunique() < len(cases) else "cases"
    out["interval.rule"] = f"95 % bootstrap over {together}"
    out |= mean_with_ci("tumour.dice_per_case_with_tumour", cases.tumour_dice[with_tumour], RULES["with_tumour"], whose[with_tumour])
    out |= mean_with_ci("macro.dice_per_case", cases.macro_dice, RULES["overlap"] + "; mean of liver and tumour", whose)
    out["macro.dice_global"] = (out["liver.dice_global"] + out["tumour.dice_global"]) / 2
    out |= _tumour_free(cases[~with_tumour], failed[~with_tumour])
    out |= _lesions(cases, lesion_table) | _false(cases, failed) | _burden(cases) | _organisers(cases)
    out |= _attribution(lesion_table) | false_positives.summarise(cases, lesion_table) | attribution.oracle_summary(cases)
    out |= case_scores.false_slices_summary(cases)
    if len(slice_table):
        out |= _slices(slice_table, set(cases.case[failed]))
    if len(levels):
        out |= _levels(levels) | probabilities.calibration_summary(cases, levels)
    if len(spreads):
        out |= probabilities.uncertainty_summary(cases, spreads)
    return {key: plain(value) for key, value in out.items()}


def _organ(cases, organ, failed):
    of = {name: cases[f"{organ}_{name}"] for name in ("reference_voxels", "prediction_voxels", "both_voxels")}
    r, p, both = (of[name].to_numpy(float) for name in ("reference_voxels", "prediction_voxels", "both_voxels"))
    one_empty = ((r > 0) != (p > 0)) | failed.to_numpy()
    out, whose = {}, patients(cases)
    for name, key in (("dice", "dice_per_case"), ("jaccard", "jaccard_per_case"), ("voe", "voe")):
        out |= mean_with_ci(f"{organ}.{key}", cases[f"{organ}_{name}"], RULES["voe" if key == "voe" else "overlap"], whose)
    total, union = r.sum() + p.sum(), (r + p - both).sum()
    out[f"{organ}.dice_global"] = 2 * both.sum() / total if total else 1.0
    out[f"{organ}.jaccard_global"] = both.sum() / union if union else 1.0
    out[f"{organ}.dice_global.rule"] = RULES["global"]
    ratios = bootstrap_ci(np.stack([2 * both, r + p], 1), ratio, whose)
    out[f"{organ}.dice_global.low"], out[f"{organ}.dice_global.high"] = ratios
    worst = cases.diagonal_mm.max()
    for name in DISTANCES:
        out |= mean_with_ci(f"{organ}.{name}", np.where(one_empty, worst, cases[f"{organ}_{name}"]), RULES["distance"], whose)
        out[f"{organ}.{name}.undefined"] = int(one_empty.sum())
    for column in [c for c in cases if c.startswith(f"{organ}_surface_dice_")]:
        key = column.replace(f"{organ}_", f"{organ}.", 1)
        out |= mean_with_ci(key, np.where(one_empty, 0.0, cases[column]), RULES["surface_dice"], whose)
    out |= mean_with_ci(f"{organ}.rvd_2017", cases[f"{organ}_rvd_2017"], RULES["rvd"], whose)
    out |= mean_with_ci(f"{organ}.rvd_lits_official", cases[f"{organ}_rvd_lits_official"], RULES["rvd_lits_official"], whose)
    if ((r > 0) & (p == 0)).any():
        out |= {f"{organ}.rvd_lits_official.{name}": np.nan for name in ("mean", "low", "high", "median")}
    error = (cases[f"{organ}_prediction_ml"] - cases[f"{organ}_reference_ml"]).abs()
    return out | mean_with_ci(f"{organ}.volume_error_ml", error, "absolute; an empty mask has 0 ml", whose)


def _tumour_free(free, failed):
    """Cases without tumour apart: any predicted voxel there is an error that Dice can only call 0."""
    clean = (free.tumour_prediction_voxels == 0) & ~failed
    rule = "cases without tumour in the reference; no usable prediction counts as not clean"
    said = np.where(failed, free.tumour_prediction_ml.max() if len(free) else 0, free.tumour_prediction_ml)
    return {"tumour_free.cases": len(free), "tumour_free.clean": int(clean.sum()), "tumour_free.clean.rule": rule} | mean_with_ci(
        "tumour_free.false_ml", said, rule + ", in ml as many as the worst case", patients(free)
    )


def _lesions(cases, table):
    """Recall, precision and F1 of lesions, overall and by size; intervals by resampling patients."""
    out, whose = {}, patients(cases)
    for how in ("iou50", "any"):
        for size in ("", *lesions.SIZES):
            part = table[table["size"] == size] if size else table
            counts = [_per_case(cases, part[part.side == side], f"found_{how}") for side in ("reference", "prediction")]
            key = f"tumour.{size}." if size else "tumour."
            sums = np.concatenate(counts, 1)  # found, references, true, predictions, per case
            for name, value in zip(("recall", "precision", "f1"), _rates(sums.sum(0)), strict=True):
                which = ("recall", "precision", "f1").index(name)
                low, high = bootstrap_ci(sums, lambda total, cases, w=which: _rates(np.moveaxis(total, -1, 0))[w], whose)
                named = f"{key}lesion_{name}_{how}"
                out |= {named: value, f"{named}.low": low, f"{named}.high": high, f"{named}.rule": RULES[name]}
            out |= {f"{key}lesions": int(sums[:, 1].sum()), f"{key}predicted_lesions": int(sums[:, 3].sum())}
    return out


def _per_case(cases, part, column):
    """(hits, lesions) of every case, (n, 2)."""
    found = part.groupby("case")[column].agg(["sum", "count"]) if len(part) else pd.DataFrame(columns=["sum", "count"])
    return found.reindex(cases.case).fillna(0).to_numpy(float)


def _rates(sums):
    """(recall, precision, F1) from found, references, true, predictions; arrays along further axes."""
    found, references, true, predictions = np.asarray(sums, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(references > 0, found / references, np.nan)
        precision = np.where(predictions > 0, true / predictions, np.where(references > 0, 0.0, np.nan))
        known = np.nan_to_num(recall), np.nan_to_num(precision)
        none = np.where(references + predictions > 0, 0.0, np.nan)
        f1 = np.where(sum(known) > 0, 2 * known[0] * known[1] / sum(known), none)
    return recall[()], precision[()], f1[()]


def _false(cases, failed):
    out = {}
    for column, key in (("false_lesions", "false_lesions_per_case"), ("false_ml", "false_ml_per_case")):
        values = np.where(failed, cases[column].max(), cases[column])
        out |= mean_with_ci(f"tumour.{key}", values, RULES["false"], patients(cases))
    return out


def _burden(cases):
    truth, said = cases.burden_reference.to_numpy(float), cases.burden_prediction.to_numpy(float)
    error = np.where(np.isnan(said), np.maximum(truth, 1 - truth), np.abs(said - truth))
    known = ~np.isnan(error)
    there = error[known]
    out = {"tumour_burden.rmse": np.sqrt((there**2).mean()) if len(there) else np.nan, "tumour_burden.rule": RULES["burden"]}
    out["tumour_burden.rmse.low"], out["tumour_burden.rmse.high"] = bootstrap_ci(
        there**2, lambda total, cases: np.sqrt(total / cases), patients(cases)[known]
    )
    out["tumour_burden.max_error"] = there.max() if len(there) else np.nan
    return out | {"tumour_burden.undefined": int(np.isnan(said).sum())}


def _organisers(cases):
    """The organisers' counts as their script has them; see `lits_official.detections` for what is wrong with them."""
    out = {}
    for least, key in (("50", ""), ("any", "_any")):
        tp, fp, fn = (int(cases[f"lits_official_{kind}_{least}"].sum()) for kind in ("tp", "fp", "fn"))
        out |= {f"lits_official.detection_tp{key}": tp, f"lits_official.detection_fp{key}": fp, f"lits_official.detection_fn{key}": fn}
        out[f"lits_official.detection_recall{key}"] = tp / (tp + fn) if tp + fn else np.nan
        out[f"lits_official.detection_precision{key}"] = tp / (tp + fp) if tp + fp else np.nan
    return out | {
        "lits_official.rule": "as the LiTS script counts, faults included: counts can be negative, compare only with its like"
    }


def _attribution(table):
    out = {}
    if "lost_by" in table:
        lost = table.lost_by[table.side == "reference"].value_counts()
        out |= {f"lost.{stage}": int(lost.get(stage, 0)) for stage in attribution.STAGES}
        out["lost.rule"] = "reference lesions not found at IoU > 0.5, by the first stage that lost them; cases with a log only"
    return out


def _slices(table, failed):
    """Slices as a detector sees them: sensitivity, specificity, detection rate, and ROC area of the slice scores."""
    out, wrong = {}, table.case.isin(failed)
    for organ in ("liver", "tumour"):
        truth, said, both = (table[f"{organ}_{name}"] > 0 for name in ("reference", "prediction", "both"))
        said = said.where(~wrong, ~truth)
        out[f"{organ}.slice_sensitivity"] = said[truth].mean()
        out[f"{organ}.slice_specificity"] = (~said[~truth]).mean()
        out[f"{organ}.slice_detection_rate"] = both[truth].mean()
        out[f"{organ}.slice_dice.mean"] = table[f"{organ}_dice"].where(~wrong, 0.0)[truth | said].mean()
        out[f"{organ}.slice_rule"] = RULES["slices"] + "; detected where prediction and reference meet; Dice where either has any"
        if f"{organ}_score" in table and table[f"{organ}_score"].notna().any():
            there = table[f"{organ}_score"].notna()
            out[f"{organ}.slice_auc"] = probabilities.roc_of_scores(truth[there], table[f"{organ}_score"][there])[2]
    return out


def _levels(table):
    out = {f"{organ}.voxel_auc": curve(table, organ)[2] for organ in table.organ.unique()}
    if "tumour" in set(table.organ):
        out["tumour.voxel_auc_in_liver"] = curve(table, "tumour", within_liver=True)[2]
    return out | {"voxel_auc.rule": RULES["auc"], "voxel_auc.cases": int(table.case.nunique())}


def write(folder, tables, more=()):
    """Write the tables of a scoring, a CSV file each, and summary.json; each whole or not at all.

    tables   as `case_scores.tables` gives them; of probabilities only where there are some.
    more     further keys of the summary, such as `cases.not_scored`.
    returns  the summary.
    """
    values = summarise(*(tables[name] for name in case_scores.TABLES)) | dict(more)
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
    """Add the second table of cases less the first, of a run of this name, to summary.json.

    returns  the summary, and `statistics.side_by_side` of the two.
    """
    rows = side_by_side(first, second)
    values = files.read_json(folder / "summary.json") | flat(rows, name)
    files.write_json(folder / "summary.json", values)
    return values, rows


def table_files(folder):
    """The tables that there are in a folder, a dict of name to file."""
    paths = {name: folder / f"{name}.csv" for name in case_scores.TABLES}
    return {name: path for name, path in paths.items() if path.is_file()}
