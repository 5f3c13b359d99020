"""What the voxels say: counted values, and which way up the patient lies; the sound scans at hand raise no alarm."""

from pathlib import Path

import numpy as np
import pytest

from helpers.intake import checks, masks, phantom
from helpers.scans import reading
from helpers.scans.folder import cases_in
from helpers.scans.labels import read_mask
from helpers.scans.volume import Volume, flipped, read_volume, turned_over

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_median_of_counts_is_numpys(size):
    hu = np.random.default_rng(size).integers(-1100, 4001, size).astype(np.int16)
    assert checks.median(checks.counted(hu)) == np.median(hu)


def test_median_of_nothing_is_no_number():
    assert np.isnan(checks.median(checks.counted(np.zeros(0, np.int16))))


def test_histogram_steps_and_shares():
    counts = checks.counted(np.array([[-1100, -1091, -1090], [59, 60, 4000]], np.int16))
    rows = checks.histogram("a", "scan", counts)
    assert [(row["hu"], row["voxels"]) for row in rows] == [(-1100, 2), (-1090, 1), (50, 1), (60, 1)]  # 4000 lies beyond
    assert checks.share(counts, -1090, 60) == 3 / 6


@pytest.fixture(scope="module")
def drawn():
    """A phantom: (hu, labels)."""
    return phantom.volume(0, size=64)[:2]


@pytest.mark.parametrize("flip", checks.FLIPS)
def test_mask_that_fits_only_when_mirrored(drawn, flip):
    hu, labels = drawn
    turned = np.ascontiguousarray(turned_over(labels, flip))
    findings, proposed, _ = checks.mask_against_flips(hu, turned, masks.box_with_margin(turned, 1))
    assert proposed == flip and [code for code, _ in findings] == (["mask-mirrored"] if flip else [])


@pytest.mark.parametrize("flip", ["", "x", "y", "xy"])
def test_scan_turned_over_against_its_header(drawn, flip):
    hu, labels = (np.ascontiguousarray(turned_over(array, flip)) for array in drawn)
    volume = Volume(hu, (5.0, 4.0, 4.0), np.eye(4), hu.shape[::-1], "LPS")
    assert checks.orientation(volume, int(hu.min()), int(hu.max()), labels)[1] == flip


def sound_cases():
    folders = [SHARED / "lits_slices"] if (SHARED / "lits_slices").is_dir() else []
    return [case for folder in folders for case in cases_in(folder)[::6]]


@pytest.mark.skipif(not sound_cases(), reason="the real slices of ../shared aren't here")
def test_real_slices_raise_no_alarm_and_mirrored_ones_do():
    for case in sound_cases():
        volume = reading.read_scan(case.image)
        labels = reading.read_labels(case.mask, volume)
        low, high = int(volume.hu.min()), int(volume.hu.max())
        assert checks.orientation(volume, low, high, labels) == ([], "")
        assert checks.mask_against_flips(volume.hu, labels, masks.box_with_margin(labels, 1))[1] == ""
        mirrored = flipped(volume, "x")
        assert checks.orientation(mirrored, low, high, labels[..., ::-1])[1] == "x"
        assert checks.mask_against_flips(mirrored.hu, labels, masks.box_with_margin(labels, 1))[1] == "x"


@pytest.mark.skipif(not (SHARED / "true_hu").is_dir(), reason="the real scan of ../shared isn't here")
def test_real_scan_with_bone():
    volume = read_volume(SHARED / "true_hu" / "ct.nii.gz")
    labels = read_mask(SHARED / "true_hu" / "liver.nii.gz", volume)
    for flip in ("", "x", "y", "xy"):
        turned = flipped(volume, flip)
        low, high = int(turned.hu.min()), int(turned.hu.max())
        assert checks.orientation(turned, low, high, turned_over(labels, flip))[1] == flip
        assert checks.orientation(turned, low, high)[1] == flip.replace("x", "")  # without a mask bone alone speaks
