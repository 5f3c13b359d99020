"""Lesions and slices as a detector sees them, in cases with a usable prediction."""

import numpy as np
import pandas as pd

from helpers.scoring import lesions, probabilities
from helpers.scoring.statistics import bootstrap_ci, mean_with_ci, patients

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
            sides = (of_size[of_size.side == side] for side in lesions.SIDES)
            # hit, references, true, predictions, a row per case
            sums = np.concatenate([_per_case(cases, side, f"found_{how}") for side in sides], 1)
            key = f"tumour.{size}." if size else "tumour."
            for name, rate in RATES.items():
                ends = bootstrap_ci(sums, lambda total, cases, rate=rate: rate(*total.T), whose)
                rate_key = f"{key}lesion_{name}_{how}"
                out |= {rate_key: rate(*sums.sum(0)), f"{rate_key}.low": ends[0]}
                out |= {f"{rate_key}.high": ends[1], f"{rate_key}.rule": RULES[name]}
            numbers = sums.sum(0).astype(int).tolist()
            out |= {f"{key}lesions": numbers[1], f"{key}predicted_lesions": numbers[3]}
    return out


def _per_case(cases, table, column):
    """(hits, lesions) of every case, (n, 2)."""
    counts = table.groupby("case")[column].agg(["sum", "count"])
    return counts.reindex(cases.case).fillna(0).to_numpy(float)


def _recall(hit, references, true, predictions):
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(references > 0, hit / references, np.nan)[()]


def _precision(hit, references, true, predictions):
    none = np.where(references > 0, 0.0, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(predictions > 0, true / predictions, none)[()]


def _f1(*counts):
    recall, precision = (np.nan_to_num(rate(*counts)) for rate in (_recall, _precision))
    none = np.where(counts[1] + counts[3] > 0, 0.0, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * recall * precision / (recall + precision)
    return np.where(recall + precision > 0, f1, none)[()]


RATES = {"recall": _recall, "precision": _precision, "f1": _f1}


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
        names = ("reference", "prediction", "both")
        truth, predicted, both = (table[f"{organ}_{name}"] > 0 for name in names)
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
            area = probabilities.roc_of_scores(truth[scores.index], scores)[2]
            out[f"{organ}.slice_auc"] = area
    return out
