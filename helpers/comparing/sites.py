"""Hospitals to judge a cascade by, folders of scans with masks or the validation scans of folds,
and what it makes of them: a row a scan, a row a hospital.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import runs
from helpers.cascade import pipeline
from helpers.scans import reading
from helpers.scans.folder import scan_folder
from helpers.scans.volume import with_likely_spacing
from helpers.scoring import case_scores, run_scores
from helpers.scoring.sentences import markdown, with_interval
from helpers.scoring.statistics import bootstrap_ci, patients, ratio
from helpers.slices.patients import patient_groups

AS_IT_IS = "as it is"  # the setting of rules that others are compared with
PICTURES = {"window_low": -40.0, "window_high": 160.0, "channel": 1}
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
EXPLAINED = (
    "Means over scans with their 95 % interval over patients, and of how many scans (recall: "
    "lesions). liver, tumour: Dice, over scans that have it; inside: share of a scan's tumour "
    "inside the predicted organ; false_lesions: findings a scan that touch no lesion; false_ml: "
    "predicted tumour in scans without; liver_ml, no_liver_found: in bodies without liver, what is "
    "taken for it, and the share of bodies where nothing is; recall: lesions touched."
)


@dataclass(frozen=True)
class Scan:
    """A scan with a reference, and whose networks segment it.

    group    its patient; several scans of one are drawn together.
    weights  checkpoint folder of networks that never saw this patient.
    row      what `reading.read_row` needs.
    """

    site: str
    case: str
    group: str
    weights: Path
    row: dict

    @property
    def place(self):
        """The columns with which every row about it begins."""
        return {"site": self.site, "case": self.case, "group": self.group}

    def read(self):
        """(Volume with its likely spacing, labels uint8 (z, y, x)); raises ValueError or
        OSError."""
        volume, labels = reading.read_row(self.row)
        return with_likely_spacing(volume), labels


def of_folder(name, folder, weights):
    """(the Scans of a folder that have a mask, names of those without).

    A mask may be all zero, a body without liver, or hold the liver only. Patients are the scans, or
    what a groups.csv in the folder says, with columns case and group.
    Raises what `scan_folder` raises, and ValueError for a folder without any mask.
    """
    cases = scan_folder(folder)[0]
    groups_csv = Path(folder) / "groups.csv"
    groups = patient_groups([case.name for case in cases],
                            groups_csv if groups_csv.is_file() else "")
    scans = [
        Scan(name, case.name, groups[case.name], weights,
             {"image": str(case.image.absolute()), "mask": str(case.mask.absolute())} | PICTURES)
        for case in cases if case.mask
    ]
    if not scans:
        raise ValueError(f"{folder}: none of its {len(cases)} scans has a mask; a body without "
                         "liver needs one that is all 0")
    return scans, [case.name for case in cases if not case.mask]


def of_folds(name, folds):
    """The validation Scans of a cross-validation, each with the networks of the run that didn't
    learn from it.

    folds  list of Run. Raises what `run_scores.cases_of_all` raises.
    """
    rows = run_scores.cases_of_all(folds, "val").to_dict("records")
    return [Scan(name, row["case"], row["group"] or row["case"], runs.Run(row["run"]).checkpoints,
                 row) for row in rows]


def measured(scan, networks, settings):
    """A row about one Scan under the first of some rules: its place, `SCORED` columns of
    `case_scores.score`, and

    outcome        of the cascade; no_liver_found: whether it is that.
    tumour_inside  share of the reference's tumour that lies inside the predicted organ; nan without
                   a tumour.
    true_hu        False for a scan that was clipped to a window.
    """
    volume, reference = scan.read()
    result = pipeline.segment(volume, networks, settings[AS_IT_IS])
    score, _ = case_scores.score(scan.case, reference, result.labels, volume.spacing_mm)
    tumour = reference == 2
    inside = float((result.labels[tumour] >= 1).mean()) if tumour.any() else np.nan
    row = scan.place | {"outcome": result.log.outcome, "true_hu": has_true_hu(volume)}
    row |= {"no_liver_found": result.log.outcome == "no liver found", "tumour_inside": inside}
    return [row | {name: score.row[name] for name in SCORED}]


def has_true_hu(volume):
    """False for a scan that was clipped to a window."""
    return bool(volume.hu.min() < WINDOWED_HU)


def by_site(scans):
    """A row a site: its scans and patients, the mean of each of MEASURES with a 95 % bootstrap
    interval over patients (_low, _high) and the number of scans that it is of (_scans), the worst
    share of tumour inside the organ, and found of all lesions.

    scans  DataFrame of rows of `measured`.
    """
    table = []
    for site, rows in scans.groupby("site", sort=False):
        liver, tumour = rows.liver_reference_ml > 0, rows.tumour_reference_ml > 0
        chosen = {"with liver": liver, "without liver": ~liver, "with tumour": tumour,
                  "without tumour": ~tumour}
        out = {"site": site, "scans": len(rows), "patients": patients(rows).nunique()}
        for measure, (column, which) in MEASURES.items():
            values, whose = rows[column][chosen[which]].astype(float), patients(rows)[chosen[which]]
            low, high = bootstrap_ci(values, groups=whose)
            out |= {measure: values.mean(), f"{measure}_low": low, f"{measure}_high": high}
            out[f"{measure}_scans"] = len(values)
        found = rows[["lesions_found_any", "lesions"]].to_numpy(float)
        low, high = bootstrap_ci(found, ratio, patients(rows))
        hit, lesions = found.sum(0)
        out |= {"recall": hit / lesions if lesions else np.nan}
        out |= {"recall_low": low, "recall_high": high, "recall_lesions": int(lesions)}
        table.append(out | {"inside_least": rows.tumour_inside.min()})
    return pd.DataFrame(table)


def page(rows, options):
    """(table of sites, it and the scans as text)."""
    table = by_site(rows)
    shown = table[["site", "scans", "patients"]].copy()
    for measure in (*MEASURES, "recall"):
        counts = table[f"{measure}_{'lesions' if measure == 'recall' else 'scans'}"]
        numbers = zip(*(table[measure + end] for end in ("", "_low", "_high")), counts, strict=True)
        shown[measure] = [f"{with_interval(*mean)}, {count}" if count else ""
                          for *mean, count in numbers]
    scans = rows.drop(columns=["group", "no_liver_found", "false_ml"])
    return table, f"{EXPLAINED}\n\n{markdown(shown)}\n\n{markdown(scans)}"
