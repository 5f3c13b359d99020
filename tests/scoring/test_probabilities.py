"""Whether probabilities mean what they say, from counts whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from helpers.scoring import attribution, probabilities


def table(*rows, case="a"):
    """Rows (organ, label, level, voxels)."""
    return pd.DataFrame([(case, *row) for row in rows], columns=["case", "organ", "label", "level", "voxels"])


def test_error_by_hand():
    """100 voxels said .2, 40 of them tumour; 100 said .8, 60 of them: each off by .2."""
    levels = table(("tumour", 2, 51, 40), ("tumour", 1, 51, 60), ("tumour", 2, 204, 60), ("tumour", 1, 204, 40))
    bins = probabilities.reliability(levels, "tumour")
    assert bins.bin.tolist() == [2, 8] and bins.voxels.tolist() == [100, 100]
    assert bins.probability.tolist() == pytest.approx([0.2, 0.8]) and bins.share.tolist() == pytest.approx([0.4, 0.6])
    assert probabilities.calibration_error(bins) == pytest.approx(0.2)
    values = probabilities.summarise(pd.DataFrame({"case": ["a"]}), levels)
    assert values["tumour.calibration_error"] == pytest.approx(0.2) and values["tumour.overconfidence"] == pytest.approx(0)


def test_what_is_left_out():
    """Tumour asks only voxels of the reference liver; liver leaves out background without any probability."""
    tumour = ("tumour", 0, 255, 1000), ("tumour", 2, 255, 10)
    levels = table(*tumour, ("liver", 0, 0, 10**6), ("liver", 0, 255, 10), ("liver", 2, 0, 30))
    assert probabilities.calibration_error(probabilities.reliability(levels, "tumour")) == 0
    liver = probabilities.reliability(levels, "liver")
    assert liver.voxels.sum() == 40 and probabilities.calibration_error(liver) == 1
    assert probabilities.summarise(pd.DataFrame({"case": ["a"]}), levels)["liver.overconfidence"] == pytest.approx((10 - 30) / 40)


def test_a_network_that_says_its_odds_is_calibrated():
    rng = np.random.default_rng(0)
    likely = rng.integers(0, 256, (20, 60, 60)).astype(np.uint8)
    truth = np.where(rng.random(likely.shape) < likely / 255, 2, 1).astype(np.uint8)
    rows = probabilities.levels(truth, attribution.Evidence({}, None, likely))
    levels = pd.DataFrame([{"case": "a"} | row for row in rows])
    assert probabilities.calibration_error(probabilities.reliability(levels, "tumour")) < 0.01
    assert len(probabilities.reliability(levels, "tumour")) == probabilities.CALIBRATION_BINS


def test_mean_over_cases_differs_from_all_voxels_together():
    levels = pd.concat([table(("tumour", 2, 255, 900)), table(("tumour", 1, 255, 100), case="b")])
    values = probabilities.summarise(pd.DataFrame({"case": ["a", "b", "c"]}), levels)
    assert values["tumour.calibration_error"] == pytest.approx(0.1)
    assert values["tumour.calibration_error_per_case.mean"] == pytest.approx(0.5)
    assert values["tumour.calibration_error_per_case.left_out"] == 1  # c kept no probabilities
