"""What oracles would give, by hand; and that the replay of a run's own rules gives the run's own mask."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from known_networks import RULES, loaded

from helpers.cascade import pipeline
from helpers.scoring import attribution, case_scores, metrics

SPACING = (2.0, 1.0, 1.0)


def labels(*runs):
    """A liver on slices 1 to 4 of six, with tumour from (slice, first, last) in row 5."""
    out = np.zeros((6, 12, 24), np.uint8)
    out[1:5, 2:10] = 1
    for z, first, last in runs:
        out[z, 5, first : last + 1] = 2
    return out


def scored(reference, prediction, **more):
    return case_scores.score("case", reference, prediction, SPACING, **more)[0]


def test_a_perfect_gate_takes_tumour_off_slices_without_liver():
    row = scored(labels((2, 0, 9)), labels((2, 0, 4), (5, 0, 4))).row
    assert row["tumour_dice"] == 2 * 5 / 20 and row["oracle_gate_dice"] == 2 * 5 / 15
    assert row["oracle_gate_removed_voxels"] == 5


def test_perfect_components_take_away_what_touches_no_lesion():
    row = scored(labels((2, 0, 9)), labels((2, 5, 14), (4, 0, 9))).row
    assert row["tumour_dice"] == 2 * 5 / 30 and row["oracle_components_dice"] == 2 * 5 / 20


def test_a_clean_case_with_false_tumour_is_mended_by_it():
    assert scored(labels(), labels((2, 0, 3))).row["oracle_components_dice"] == 1


def test_what_the_gate_lost_is_counted():
    rows = scored(labels((1, 0, 9), (3, 0, 4)), labels()).slices
    kept = np.array([0, 0, 1, 1, 1, 0], bool)
    assert attribution.of_gate(rows, kept) == {"gate_lost_slices": 1, "gate_lost_tumour_voxels": 10}


def log(threshold=0.5, **rules):
    return {"roi": [[0, 6], [0, 12], [0, 24]], "rules": asdict(pipeline.Rules(tumour_threshold=threshold, **rules))}


FREE = {"smooth_mm": 0.0, "min_lesion_ml": 0.0}


def test_best_threshold_of_a_case_by_hand():
    """Ten voxels of tumour at .45 and ten others at .25: only thresholds between find the first alone."""
    likely = np.zeros((6, 12, 24), np.uint8)
    likely[2, 5, :10], likely[2, 5, 10:20] = 0.45 * 255, 0.25 * 255
    found = attribution.of_probabilities(labels((2, 0, 9)), labels() >= 1, likely, log(**FREE), SPACING)
    assert found["tumour_dice_at_20"] == 2 * 10 / 30 and found["tumour_dice_at_30"] == 1 and found["tumour_dice_at_50"] == 0
    assert found["oracle_threshold_dice"] == 1 and found["best_threshold"] == 0.4  # of .3 and .4 the nearer to the run's own


def test_the_reference_liver_gives_back_what_the_predicted_one_cut_off():
    likely = np.zeros((6, 12, 24), np.uint8)
    likely[2, 5, :10] = 255
    half = labels() >= 1
    half[:, :, 5:] = False
    found = attribution.of_probabilities(labels((2, 0, 9)), half, likely, log(**FREE), SPACING)
    assert found["tumour_dice_at_50"] == 2 * 5 / 15 and found["oracle_liver_dice"] == 1


def test_tumour_beyond_the_region_counts_as_missed():
    likely = np.zeros((6, 12, 24), np.uint8)
    likely[2, 5, :5] = 255
    small = log(**FREE) | {"roi": [[1, 5], [0, 12], [0, 5]]}
    found = attribution.of_probabilities(labels((2, 0, 9)), labels() >= 1, likely, small, SPACING)
    assert found["oracle_liver_dice"] == 2 * 5 / 15
    nothing = attribution.of_probabilities(labels((2, 0, 9)), labels() >= 1, likely * 0, small | {"roi": None}, SPACING)
    assert nothing["oracle_threshold_dice"] == 0 and nothing["best_threshold"] == 0.5


@pytest.mark.parametrize("smooth_mm", [0.0, 2.0])
def test_the_replay_at_the_runs_own_threshold_is_its_own_mask(scan, smooth_mm):  # noqa: F811
    rules = replace(RULES, smooth_mm=smooth_mm, tumour_threshold=0.6)
    result = pipeline.segment(scan, loaded(), rules, keep_probability=True)
    reference = result.labels.copy()
    reference[8] = np.where(scan.hu[8] > 150, 1, reference[8])
    reference[12, 15:20, 15:20] = 2
    truth, said = reference == 2, result.labels == 2
    overlap = [np.count_nonzero(mask) for mask in (truth, said, truth & said)]
    said = result.probability["tumour"], result.log.as_dict(), scan.spacing_mm
    found = attribution.of_probabilities(reference, result.labels >= 1, *said)
    assert found["tumour_dice_at_60"] == metrics.dice(*overlap) and 0 < found["tumour_dice_at_60"] < 1


def test_the_table_compares_like_with_like():
    """A failed case is 0 under every oracle; one without probabilities takes no part beside those that have them."""
    cases = pd.DataFrame({
        "case": list("abc"), "failed": ["", "there is no prediction", ""], "tumour_dice": [0.5, 0.0, 0.9],
        "oracle_gate_dice": [0.6, 1.0, 0.9], "oracle_components_dice": [0.7, 1.0, 0.9],
        "oracle_liver_dice": [0.8, np.nan, np.nan],
    })  # fmt: skip
    table = attribution.oracle_table(cases).set_index("oracle")
    assert table.index[0] == "tumour_dice" and set(table.cases) == {2} and "oracle_threshold_dice" not in table.index
    assert table["mean"].to_dict() == {"tumour_dice": 0.25, "oracle_gate_dice": 0.3, "oracle_components_dice": 0.35,
                                       "oracle_liver_dice": 0.4}  # fmt: skip
    assert table.gain["oracle_liver_dice"] == pytest.approx(0.15)
    without = attribution.oracle_table(cases.drop(columns="oracle_liver_dice"))
    assert set(without.cases) == {3} and without["mean"][0] == pytest.approx(1.4 / 3)


def test_replay_needs_no_torch():
    """Scoring runs in many processes: none of them should load a network's library."""
    import subprocess
    import sys

    code = "import sys; from helpers import run_scores; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
