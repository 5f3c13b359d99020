"""What a cascade makes of the scans of hospitals: a row a scan, a row a hospital."""

import numpy as np
import pandas as pd

from helpers.cascade import pipeline
from helpers.scoring import case_scores
from helpers.scoring.statistics import bootstrap_ci, patients, ratio

WINDOWED_HU = -200  # a scan without anything darker was clipped to a window
SCORED = (
    "liver_dice", "tumour_dice", "liver_reference_ml", "liver_prediction_ml",
    "tumour_reference_ml", "tumour_prediction_ml", "lesions", "lesions_found_any",
    "predicted_lesions", "false_lesions", "false_ml",
)
# measure -> (column of the scans, of which scans it is the mean)
MEASURES = {
    "liver": ("liver_dice", "with liver"), "tumour": ("tumour_dice", "with tumour"),
    "inside": ("tumour_inside", "with tumour"), "false_lesions": ("false_lesions", "with liver"),
    "false_ml": ("tumour_prediction_ml", "without tumour"),
    "liver_ml": ("liver_prediction_ml", "without liver"),
    "no_liver_found": ("no_liver_found", "without liver"),
}


def measured(scan, networks, rules):
    """A row about one Scan, a dict: where it is from, `SCORED` columns of `case_scores.score`, and

    outcome        of the cascade; no_liver_found: whether it is that.
    tumour_inside  share of the reference's tumour that lies inside the predicted organ; nan without
                   a tumour.
    true_hu        False for a scan that was clipped to a window.
    """
    volume, reference = scan.read()
    result = pipeline.segment(volume, networks, rules)
    score, _ = case_scores.score(scan.case, reference, result.labels, volume.spacing_mm)
    tumour = reference == 2
    inside = float((result.labels[tumour] >= 1).mean()) if tumour.any() else np.nan
    row = {name: getattr(scan, name) for name in ("site", "case", "group")}
    row |= {"outcome": result.log.outcome, "true_hu": has_true_hu(volume)}
    row |= {"no_liver_found": result.log.outcome == "no liver found", "tumour_inside": inside}
    return row | {name: score.row[name] for name in SCORED}


def has_true_hu(volume):
    """False for a scan that was clipped to a window."""
    return bool(volume.hu.min() < WINDOWED_HU)


def by_site(scans):
    """A row a site: its scans and patients, the mean of each of MEASURES with a 95 % bootstrap
    interval over patients (_low, _high) and the number of scans that it is of (_scans), the worst
    share of tumour inside the organ, and found of all lesions.

    scans  DataFrame of rows of `measured`.
    """
    return pd.DataFrame([_of_site(site, rows) for site, rows in scans.groupby("site", sort=False)])


def _of_site(site, rows):
    liver, tumour = rows.liver_reference_ml > 0, rows.tumour_reference_ml > 0
    chosen = {"with liver": liver, "without liver": ~liver, "with tumour": tumour,
              "without tumour": ~tumour}
    out = {"site": site, "scans": len(rows), "patients": patients(rows).nunique()}
    for measure, (column, which) in MEASURES.items():
        of_these = rows[chosen[which]]
        values = of_these[column].astype(float)
        low, high = bootstrap_ci(values, groups=patients(of_these))
        out |= {measure: values.mean(), f"{measure}_low": low, f"{measure}_high": high}
        out[f"{measure}_scans"] = len(values)
    found = rows[["lesions_found_any", "lesions"]].to_numpy(float)
    low, high = bootstrap_ci(found, ratio, patients(rows))
    recall = found[:, 0].sum() / found[:, 1].sum() if found[:, 1].sum() else np.nan
    out |= {"recall": recall, "recall_low": low, "recall_high": high}
    out |= {"recall_lesions": int(found[:, 1].sum()), "inside_least": rows.tumour_inside.min()}
    return out
