"""What the rules took away is found again in the networks' maps, with its slice, ml and reason."""

import numpy as np
import pytest

from helpers.cascade.rules import Rules
from helpers.scans import volume
from helpers.scoring import attribution, dropped


def evidence(liver, tumour):
    rules = Rules(smooth_mm=0.0, min_lesion_ml=0.05)
    return attribution.Evidence({"rules": vars(rules)}, liver=liver, tumour=tumour)


@pytest.fixture
def scan():
    """Voxels of 2 × 2 × 5 mm, 0.02 ml: a liver of 8 × 20 × 20, a spleen apart from it."""
    scan = volume.volume_from_array(
        np.zeros((40, 40, 12), np.int16), np.diag([-2.0, -2.0, 5.0, 1.0])
    )
    liver, tumour = (np.zeros((12, 40, 40), np.uint8) for _ in range(2))
    liver[2:10, 5:25, 5:25] = 255
    liver[6:9, 32:35, 32:35] = 255  # 27 voxels, 0.54 ml
    tumour[4:6, 10:13, 10:13] = 255  # 18 voxels, 0.36 ml: a lesion
    tumour[8, 20, 20:22] = 255  # 2 voxels, 0.04 ml: a speck
    prediction = np.uint8(liver == 255)
    prediction[6:9, 32:35, 32:35] = 0
    prediction[4:6, 10:13, 10:13] = 2
    return scan, liver, tumour, prediction


def test_a_speck_and_what_lies_apart_are_named(scan):
    scan, liver, tumour, prediction = scan
    rows = dropped.of_case(prediction, evidence(liver, tumour), scan)
    assert [(r["organ"], r["index_z"], round(r["volume_ml"], 2), r["why"]) for r in rows] == [
        ("liver", 7, 0.54, "apart from the liver"),
        ("tumour", 8, 0.04, "under 0.05 ml"),
    ]


def test_an_organ_that_hung_on_the_liver_was_cut_off(scan):
    scan, liver, tumour, prediction = scan
    liver[6:9, 25:35, 32:35] = liver[6:9, 24, 24:35] = 255  # a bridge, and so one component
    rows = dropped.of_case(prediction, evidence(liver, tumour), scan)
    assert {row["why"] for row in rows if row["organ"] == "liver"} == {"cut off as another organ"}


def test_without_maps_nothing_is_known(scan):
    scan, _, _, prediction = scan
    assert dropped.of_case(prediction, evidence(None, None), scan) == []
