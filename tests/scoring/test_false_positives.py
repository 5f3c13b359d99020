"""What false lesions look like: each kind from a lesion built for it, on a liver whose HU and edges are known."""

import numpy as np
import pytest

from helpers.scoring import case_scores, false_positives
from helpers.scoring.lesions import Lesions

SPACING = (2.0, 1.0, 1.0)
NOISE = 6


@pytest.fixture
def scan():
    """(hu, reference, prediction): a liver of 100 and 106 HU from 5 to 54 in y and x, predicted ten voxels too wide."""
    reference = np.zeros((20, 60, 70), np.uint8)
    reference[2:18, 5:55, 5:55] = 1
    hu = np.where(reference, 100, 40).astype(np.int16)
    hu[:, ::2] += NOISE  # every other row: a mean of 103 in the liver, a deviation of 3
    prediction = reference.copy()
    prediction[2:18, 5:55, 55:65] = 1  # it runs over the edge
    return hu, reference, prediction


def false_lesion(scan, box, level=None):
    """The row of lesions.csv of one false lesion in a box, filled with one HU level where one is given."""
    hu, reference, prediction = scan
    prediction[box] = 2
    if level is not None:
        hu[box] = level
    (row,) = case_scores.score("case", reference, prediction, SPACING, hu=hu)[0].lesions
    return row


def test_bile_at_the_edge_is_gallbladder_like(scan):
    row = false_lesion(scan, np.s_[8:12, 20:30, 52:60], level=12)
    assert row["false_positive_type"] == "gallbladder" and row["hu"] == 12 and row["hu_deviation"] == 0
    assert row["outside"] == pytest.approx(5 / 8)


def test_bile_deep_in_the_liver_or_uneven_is_not(scan):
    hu, reference, prediction = scan
    deep = false_lesion((hu.copy(), reference, prediction.copy()), np.s_[8:12, 25:33, 25:33], level=12)
    assert deep["false_positive_type"] == "other" and deep["edge_mm"] > 5
    hu[8:12, 20:30, 52:60] = 12 + 25 * (-1) ** np.arange(8)
    uneven = false_lesion((hu, reference, prediction), np.s_[8:12, 20:30, 52:60])
    assert uneven["hu"] == 12 and uneven["hu_deviation"] == 25 and uneven["false_positive_type"] == "outside"


def test_beyond_the_reference_liver_is_outside(scan):
    assert false_lesion(scan, np.s_[8:12, 20:30, 56:64])["false_positive_type"] == "outside"


def test_brighter_than_the_liver_is_vessel_like(scan):
    row = false_lesion(scan, np.s_[8:12, 25:33, 25:33], level=150)
    assert row["false_positive_type"] == "vessel" and row["contrast_hu"] == pytest.approx(150 - 103)


def test_a_dark_tube_is_vessel_like(scan):
    row = false_lesion(scan, np.s_[9:11, 28:31, 15:45], level=70)
    assert row["false_positive_type"] == "vessel" and row["elongation"] > 5


def test_dark_and_along_the_surface_is_edge(scan):
    row = false_lesion(scan, np.s_[6:12, 5:9, 20:30], level=70)  # four voxels deep: 0, 1, 2 and 3 mm from the surface
    assert row["false_positive_type"] == "edge" and row["edge_mm"] == pytest.approx(1.5)


def test_the_rest_is_other(scan):
    assert false_lesion(scan, np.s_[8:12, 25:33, 25:33], level=70)["false_positive_type"] == "other"


def test_without_a_scan_only_place_and_shape_speak(scan):
    _, reference, prediction = scan
    prediction[8:12, 25:33, 25:33] = 2
    (row,) = case_scores.score("case", reference, prediction, SPACING)[0].lesions
    assert row["false_positive_type"] == "other" and np.isnan(row["hu"])


def test_only_false_lesions_are_given_a_look(scan):
    hu, reference, prediction = scan
    reference[8:12, 25:33, 25:33] = 2
    prediction[8:12, 25:33, 29:37] = 2
    assert [row["false_positive_type"] for row in case_scores.score("case", reference, prediction, SPACING, hu=hu)[0].lesions] == ["", ""]


def elongation(*shapes, spacing=SPACING):
    """Elongation of one box of True voxels for each shape (z, y, x), all in one mask."""
    mask = np.zeros((40, 40, 40 * len(shapes)), bool)
    for k, (z, y, x) in enumerate(shapes):
        mask[1 : 1 + z, 1 : 1 + y, 40 * k + 1 : 40 * k + 1 + x] = True
    lesions = Lesions.of(mask)
    assert lesions.count == len(shapes)
    return false_positives._elongation(lesions, spacing)


def test_elongation_by_hand():
    """A row of n voxels of 1 mm has a variance of (n² − 1)/12, and every voxel adds that of a cube of 2 mm, 4/12."""
    one, plate, rod, tall = elongation((1, 1, 1), (1, 9, 9), (1, 1, 12), (6, 1, 1))
    assert one == plate == pytest.approx(1)
    assert rod == pytest.approx(np.sqrt((143 + 4) / 4)) and tall == pytest.approx(np.sqrt((4 * 35 + 4) / 4))


def test_a_large_lesion_is_asked_evenly(scan, monkeypatch):
    hu, reference, prediction = scan
    prediction[4:16, 10:50, 10:50] = 2
    some = case_scores.score("case", reference, prediction, SPACING, hu=hu)[0].lesions[0]["edge_mm"]
    monkeypatch.setattr(false_positives, "SAMPLE", 10**9)
    every = case_scores.score("case", reference, prediction, SPACING, hu=hu)[0].lesions[0]["edge_mm"]
    assert some != every and some == pytest.approx(every, rel=0.1)


def test_counts_and_millilitres_by_look(scan):
    hu, reference, prediction = scan
    reference[8:10, 12:16, 12:16] = 2
    prediction[8:10, 12:16, 12:18] = 2  # two columns too far: 2 · 4 · 2 voxels of 2 mm³
    prediction[8:12, 20:30, 56:64] = 2  # outside: 4 · 10 · 8 voxels
    tables = case_scores.tables([case_scores.score("case", reference, prediction, SPACING, hu=hu)[0]])
    values = false_positives.summarise(tables["cases"], tables["lesions"])
    assert (values["false.outside.lesions"], values["false.vessel.lesions"]) == (1, 0)
    assert values["false.outside.ml"] == pytest.approx(0.64) and values["false.outline.ml"] == pytest.approx(0.032)
