"""Lesions and slices as a detector sees them, in cases with a usable prediction."""

import numpy as np
import pandas as pd

from helpers.scoring import lesions, probabilities
from helpers.scoring.statistics import ci_keys, mean_with_ci, patients

RULES = {
    "recall": "found of all reference lesions in cases with a usable prediction; none: no value",
    "precision": "true of all predicted lesions; none predicted 0, or no value where there was "
    "none to find",
    "f1": "2·precision·recall / (precision + recall); 0 where both are 0; no lesion on either "
    "side: no value",
    "false": "predicted lesions that touch no reference lesion, in cases with a usable prediction",
    "not_predicted": "lesions and slices of cases without usable prediction: part of no rate of "
    "lesions or slices",
    "slices": "all slices of the cases with a usable prediction",
}


def of_lesions(cases, table):
    """Recall, precision and F1 of lesions, overall and by size; intervals resample patients."""
    out, whose = {}, patients(cases)
    for how in ("iou50", "any"):
        for size in ("", *lesions.SIZES):
            of_size = table[table["size"] == size] if size else table
            # found and all lesions of either side, a row per case
            sums = np.concatenate([
                of_size[of_size.side == side].groupby("case")[f"found_{how}"].agg(["sum", "count"])
                .reindex(cases.case).fillna(0).to_numpy(float) for side in lesions.SIDES
            ], axis=1)
            key = f"tumour.{size}." if size else "tumour."
            for name, rate in _rates(sums.sum(0)).items():
                rate_key = f"{key}lesion_{name}_{how}"
                out[rate_key] = rate[()]
                out |= ci_keys(rate_key, sums, lambda total, _, name=name: _rates(total)[name],
                               whose)
                out[f"{rate_key}.rule"] = RULES[name]
            numbers = sums.sum(0).astype(int).tolist()
            out |= {f"{key}lesions": numbers[1], f"{key}predicted_lesions": numbers[3]}
    return out


def _rates(sums):
    """Recall, precision and F1 of (found, reference, true, predicted) lesions (…, 4)."""
    found, references, true, predictions = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        none = np.where(references > 0, 0.0, np.nan)
        recall = np.where(references > 0, found / references, np.nan)
        precision = np.where(predictions > 0, true / predictions, none)
        r, p = np.nan_to_num(recall), np.nan_to_num(precision)
        none = np.where(references + predictions > 0, 0.0, np.nan)
        f1 = np.where(r + p > 0, 2 * r * p / (r + p), none)
    return {"recall": recall, "precision": precision, "f1": f1}


def false_lesions(cases):
    """False lesions of a case, and their ml."""
    out = {}
    for column in ("false_lesions", "false_ml"):
        key = f"tumour.{column}_per_case"
        out |= mean_with_ci(key, cases[column], RULES["false"], patients(cases))
    return out


def of_slices(table):
    """Slices as a detector sees them: sensitivity, specificity, detection rate, ROC area."""
    out = {}
    for organ in ("liver", "tumour"):
        truth, predicted, both = (table[f"{organ}_{name}"] > 0
                                  for name in ("reference", "prediction", "both"))
        dice = table[f"{organ}_dice"]
        out[f"{organ}.slice_sensitivity"] = predicted[truth].mean()
        out[f"{organ}.slice_specificity"] = (~predicted[~truth]).mean()
        out[f"{organ}.slice_detection_rate"] = both[truth].mean()
        out[f"{organ}.slice_dice.mean"] = dice[truth | predicted].mean()
        out[f"{organ}.slice_rule"] = (
            f"{RULES['slices']}; detected where prediction and reference meet; "
            "Dice where either has any"
        )
        scores = table.get(f"{organ}_score", pd.Series(dtype=float)).dropna()
        if len(scores):
            out[f"{organ}.slice_auc"] = probabilities.roc_of_scores(truth[scores.index], scores)[2]
    return out
