"""Which stage of the cascade lost a lesion, and what its probabilities say, from 05's files."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd

from helpers.cascade.tumour import keep_lesions, smoothed
from helpers.files import read_json
from helpers.scans import labels
from helpers.scoring import metrics
from helpers.scoring.statistics import mean_with_ci, patients, unpredicted
from helpers.slices.pixels import PEAK

STAGES = {
    "gate": "the gate dropped all its slices",
    "liver": "half of it or more lies outside the predicted liver",
    "tumour": "the tumour network gives it no probability above the threshold",
    "clean-up": "the network saw it, post-processing removed it",
    "outline": "it was met, but outlined too poorly (IoU at most 0.5)",
}
LOST_RULE = (
    "reference lesions not found at IoU > 0.5, by the first stage that lost them; cases with a log "
    "only"
)
ORACLE_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
ORACLES = {
    "tumour_dice": "as it is",
    "oracle_gate_dice": "gate: no tumour on slices without liver",
    "oracle_components_dice": "components: none that touches no lesion",
    "oracle_threshold_dice": "threshold: the best one for each case",
    "oracle_liver_dice": "liver: the reference in place of the predicted",
}
ORACLES_RULE = (
    "tumour Dice per case, over cases that have every oracle named in the table; no usable "
    "prediction 0. Liver and threshold are replayed from saved probabilities with the rules of the "
    "run: where the predicted region ended there are none, so what a perfect liver gives is a "
    "lower bound. The gate can only lose here: what its slices lost can't be replayed, and stands "
    "apart"
)


@dataclass
class Evidence:
    """What the cascade left about a case: its log, and, where they were kept, probabilities and
    their spread, uint8 (z, y, x)."""

    log: dict
    liver: np.ndarray | None = None
    tumour: np.ndarray | None = None
    tta_std: np.ndarray | None = None

    @property
    def threshold(self):
        """The least grey level of the tumour probability that counts as tumour."""
        return self.log["rules"]["tumour_threshold"] * PEAK


def read(run, case, volume):
    """The Evidence that notebook 05 wrote for a case of a run; None when there is no log.

    Raises ValueError, naming the file, for one that can't be read or doesn't fit the scan.
    """
    path = run.log(case)
    if not path.is_file():
        return None
    try:
        log = read_json(path)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: is no JSON ({error})") from error
    if log.get("outcome") != "failed" and not {"gate_slices", "rules"} <= log.keys():
        raise ValueError(f"{path}: was written by an older notebook 05; run it again")
    files = {organ: run.probability(case, organ) for organ in metrics.CLASSES}
    files["tta_std"] = run.tta_std(case)
    kept = {name: file for name, file in files.items() if file.is_file()}
    return Evidence(log, **{name: labels.read_mask(file, volume) for name, file in kept.items()})


def slices_kept(log):
    """Which slices the gate let through, bool (slices,), feet first; all when there was no gate."""
    kept = np.zeros(int(log["slices"]), bool)
    kept[slice(*log["gate_slices"])] = True
    return kept


def dropped(log):
    """What the cascade's rules took away, by its log: rows of dropped.csv, the largest first."""
    findings = [("tumour", row["ml"], row) for row in log.get("dropped", ())]
    organs = [("liver", row["volume_ml"], row) for row in log.get("adjacent_organs", ())]
    rows = [
        {"organ": organ, "index_z": row.get("slice"), "volume_ml": ml,
         "why": row.get("reason", "another organ beside the liver")}
        for organ, ml, row in findings + organs
    ]
    return sorted(rows, key=lambda row: -row["volume_ml"])


def attribute_misses(lesions, evidence):
    """Which stage lost each reference lesion: a key of STAGES, "" for a lesion that was found.

    lesions   CaseLesions.
    returns   dict of component number (1 … n) to the stage.
    """
    reference, predicted = lesions.sides[0], lesions.labels[1]
    kept = slices_kept(evidence.log)[lesions.box[0]]
    likely = None if evidence.tumour is None else evidence.tumour[lesions.box]
    stages = {}
    verdicts = zip(lesions.matching.reference_found, lesions.matching.reference_hit, strict=True)
    for k, (found, hit) in enumerate(verdicts, start=1):
        z, y, x = reference.index_zyx[reference.number == k].T
        if found:
            stages[k] = ""
        elif not kept[np.unique(z)].any():
            stages[k] = "gate"
        elif (predicted[z, y, x] >= 1).mean() <= 0.5:
            stages[k] = "liver"
        elif hit:
            stages[k] = "outline"
        elif likely is not None and (likely[z, y, x] >= evidence.threshold).any():
            stages[k] = "clean-up"
        else:
            stages[k] = "tumour"
    return stages


def losses(lesions):
    """The keys `lost.<stage>` of the summary; none without a column lost_by in lesions.csv."""
    if "lost_by" not in lesions:
        return {}
    lost = lesions.lost_by[lesions.side == "reference"].value_counts()
    return {f"lost.{stage}": int(lost.get(stage, 0)) for stage in STAGES} | {"lost.rule": LOST_RULE}


def of_masks(slices, lesions):
    """Oracles that the masks alone give, as columns of cases.csv.

    slices   rows of slices.csv of the case, counts a slice; lesions: its CaseLesions.
    returns  oracle_gate_dice, oracle_gate_removed_voxels (tumour on slices without liver in the
             reference), oracle_components_dice.
    """
    columns = ("liver_reference", "tumour_reference", "tumour_prediction", "tumour_both")
    liver, truth, predicted, both = (np.array([row[name] for row in slices]) for name in columns)
    kept = liver > 0
    true = predicted.sum() - lesions.matching.voxels[1][lesions.matching.false_positive].sum()
    return {
        "oracle_gate_dice": float(metrics.dice(truth.sum(), predicted[kept].sum(), both.sum())),
        "oracle_gate_removed_voxels": int(predicted[~kept].sum()),
        "oracle_components_dice": float(metrics.dice(truth.sum(), true, both.sum())),
    }


def of_gate(slices, kept):
    """What the gate lost: columns gate_lost_slices, those with liver in the reference, and
    gate_lost_tumour_voxels on them.

    slices  rows of slices.csv of the case; kept: bool (slices,), as `slices_kept` gives it.
    """
    dropped = [row for row, is_kept in zip(slices, kept, strict=True) if not is_kept]
    lost = [row for row in dropped if row["liver_reference"]]
    tumour = sum(row["tumour_reference"] for row in lost)
    return {"gate_lost_slices": len(lost), "gate_lost_tumour_voxels": tumour}


def of_probabilities(reference, liver, likely, log, spacing_mm):
    """Oracles that need the tumour's probabilities, as columns of cases.csv.

    reference  uint8 (z, y, x); liver: the predicted one with its tumours, bool; likely: uint8 as
               05 saved it.
    log        what 05 wrote: its rules, and the region of interest, where probabilities end.
    returns    oracle_liver_dice, oracle_threshold_dice, best_threshold (of equal ones the nearest
               to the run's own), and tumour_dice_at_10 … _95, with each of ORACLE_THRESHOLDS.
    """
    rules, run_threshold = log["rules"], log["rules"]["tumour_threshold"]
    box = tuple(slice(*edge) for edge in log["roi"] or [[0, 1]] * 3)
    truth, voxels = reference[box] == 2, int(np.count_nonzero(reference == 2))

    def dice_at(where, thresholds):
        inside, dice = smoothed(likely[box], where[box], SimpleNamespace(**rules), spacing_mm), {}
        for t in thresholds:
            changed = SimpleNamespace(**rules | {"tumour_threshold": t})
            kept = keep_lesions(inside, spacing_mm, changed)[0]
            overlap = np.count_nonzero(kept), np.count_nonzero(truth & kept)
            dice[t] = float(metrics.dice(voxels, *overlap))
        return dice

    at = dice_at(liver, sorted({*ORACLE_THRESHOLDS, run_threshold}))
    best = max(at, key=lambda t: (at[t], -abs(t - run_threshold)))
    return {
        "oracle_liver_dice": dice_at(reference >= 1, [run_threshold])[run_threshold],
        "oracle_threshold_dice": at[best], "best_threshold": best,
    } | {column(t): at[t] for t in ORACLE_THRESHOLDS}


def column(threshold):
    """The column of cases.csv that holds the Dice at a threshold, a share."""
    return f"tumour_dice_at_{100 * threshold:.0f}"


def oracle_table(cases):
    """The oracles side by side, the actual Dice first.

    returns  DataFrame with columns oracle, what, mean, low, high, gain, cases.
    Oracles that no case has are left out; failed cases count as 0 in each, and the others only
    where all oracles exist.
    """
    values, whose = _comparable(cases)
    rows = []
    for name in values:
        numbers = mean_with_ci("x", values[name], "", whose)
        interval = {key: numbers[f"x.{key}"] for key in ("mean", "low", "high")}
        rows.append({"oracle": name, "what": ORACLES[name]} | interval)
    out = pd.DataFrame(rows)
    return out.assign(gain=out["mean"] - out["mean"].iloc[0], cases=len(values))


def _comparable(cases):
    """(Dice under every oracle there is, of cases that have all, failed ones 0; whose they are)."""
    names = [name for name in ORACLES if name in cases and cases[name].notna().any()]
    values = cases[names].mask(unpredicted(cases), 0.0).dropna()
    return values, patients(cases)[values.index]


def oracle_summary(cases):
    """The keys `oracle.<name>.mean` with intervals, the gate's losses, Dice at each threshold."""
    values, whose = _comparable(cases)
    out = {}
    for name in values:
        short = name.removeprefix("oracle_").removesuffix("_dice")
        key = "actual" if name == "tumour_dice" else short
        out |= mean_with_ci(f"oracle.{key}", values[name], ORACLES_RULE, whose)
    out["oracle.gate.removed_ml"] = (cases.oracle_gate_removed_voxels * cases.voxel_ml).sum()
    if "gate_lost_slices" in cases:
        out["oracle.gate.lost_slices"] = int(cases.gate_lost_slices.fillna(0).sum())
        lost_voxels = cases.gate_lost_tumour_voxels.fillna(0)
        out["oracle.gate.lost_tumour_ml"] = (lost_voxels * cases.voxel_ml).sum()
    for threshold in ORACLE_THRESHOLDS:
        if column(threshold) in cases:
            out[f"oracle.{column(threshold)}"] = cases[column(threshold)].mean()
    return out
