"""Slices without tumour that show some: counted by hand."""

import numpy as np
import pytest

from helpers.scoring import case_scores

SPACING = (5.0, 2.0, 2.0)  # 0.02 ml a voxel


def labels(*lesions, liver=range(1, 9)):
    """A liver on slices of ten, with lesions (first slice, last slice, column, columns)."""
    out = np.zeros((10, 12, 24), np.uint8)
    out[list(liver), 2:10] = 1
    for first, last, column, columns in lesions:
        out[first : last + 1, 5, column : column + columns] = 2
    return out


def tables_of(*pairs):
    scored = []
    for k, (reference, prediction) in enumerate(pairs):
        failed = "there is no prediction" if prediction is None else ""
        scored.append(case_scores.score(f"case-{k}", reference, prediction, SPACING, failed=failed)[0])
    return case_scores.tables(scored)["cases"]


def test_too_long_speck_and_false_are_told_apart():
    truth = labels((4, 5, 2, 8))
    # too long at both ends; a speck of 0.04 ml; false ones
    said = labels((3, 6, 2, 8), (8, 8, 2, 2), (2, 2, 15, 5), (9, 9, 15, 5))
    row = tables_of((truth, said)).iloc[0]
    assert row.tumour_free_slices == 6  # eight with liver, two of them with tumour; slice 9 shows no liver
    assert row.false_slices_any == 4  # 2, 3, 6 and 8
    assert row.false_slices_sizeable == 3 and row.false_slices_false == 2  # without 8; only 2 and 8


def test_shares_pool_slices_and_a_failed_case_has_none_to_count():
    cases = tables_of((labels(), labels((1, 2, 2, 8))), (labels(), None), (labels(), labels()))
    assert cases.false_slices_any.tolist() == [2, 0, 0]
    assert cases.tumour_free_slices.tolist() == [8, 0, 8]
    values = case_scores.false_slices_summary(cases)
    assert values["tumour_free_slices"] == 16 and values["false_slices.any"] == pytest.approx(2 / 16)
    assert values["false_slices.any.low"] < 2 / 16 < values["false_slices.any.high"]


def test_without_such_slices_there_is_no_share():
    values = case_scores.false_slices_summary(tables_of((labels(liver=()), labels())))
    assert np.isnan(values["false_slices.any"]) and values["tumour_free_slices"] == 0
