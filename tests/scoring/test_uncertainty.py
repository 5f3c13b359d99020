"""Whether a spread finds wrong voxels, by hand."""

import numpy as np
import pandas as pd
import pytest

from helpers.scoring import probabilities


def rows(reference, prediction, spread, likely, case="a"):
    arrays = [np.array(values, np.uint8).reshape(1, 1, -1) for values in (reference, prediction, spread, likely)]
    return pd.DataFrame([{"case": case} | row for row in probabilities.uncertainty_levels(*arrays)])


@pytest.fixture
def table():
    """Five voxels of predicted liver, a missed one and a false one among them, and a missed one outside it."""
    return rows([1, 2, 1, 2, 1, 2], [1, 1, 2, 2, 1, 0], [0, 40, 60, 40, 0, 200], [0, 100, 200, 255, 0, 0])


def test_only_the_predicted_liver_counts_and_doubt_peaks_at_a_half(table):
    spread, doubt = (table[table.measure == name] for name in ("spread", "doubt"))
    assert spread.voxels.sum() == doubt.voxels.sum() == 5
    assert spread[spread.wrong].level.tolist() == [40, 60] and spread[~spread.wrong].level.tolist() == [0, 40]
    assert doubt[doubt.wrong].level.tolist() == [110, 200] and doubt[~doubt.wrong].level.tolist() == [0]  # 255 − |2p − 255|


def test_area_by_hand(table):
    # wrong 40, 60 against right 0, 0, 40: of six pairs five are in order and one is equal
    assert probabilities.uncertainty_roc(table, "spread")[2] == pytest.approx(5.5 / 6)
    assert probabilities.uncertainty_roc(table, "doubt")[2] == 1


def test_error_rate_by_bin(table):
    bins = probabilities.by_bin(table).set_index("low")  # 40 / 255 is .157, 60 / 255 is .235
    assert bins.voxels.to_dict() == {0.0: 2, 0.005: 0, 0.02: 0, 0.05: 0, 0.1: 2, 0.2: 1}
    assert bins.rate[0.1] == 0.5 and bins.rate[0.2] == 1 and np.isnan(bins.rate[0.02]) and bins.of_errors.sum() == 1


def test_cases_in_order_of_their_spread():
    table = pd.concat([rows([1, 1], [1, 1], [k, 0], [0, 0], case) for k, case in ((51, "a"), (102, "b"), (153, "c"))])
    assert probabilities.uncertainty_by_case(table).to_dict() == pytest.approx({"a": 0.1, "b": 0.2, "c": 0.3})
    cases = pd.DataFrame({"case": list("abc"), "tumour_dice": [0.9, 0.5, 0.1]})
    assert probabilities.against_dice(cases, table)[::2] == (pytest.approx(1), 3)
    few = probabilities.against_dice(cases, table[table.case != "c"])
    assert np.isnan(few[0]) and few[2] == 2
