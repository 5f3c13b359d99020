"""What the voxels say: counted values, and which way up the patient lies; the sound scans at hand raise no alarm."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from helpers.intake import checks, masks, phantom, placement
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


def as_volume(hu):
    """64 pixels of 6 mm and slices of 5 mm, as `drawn` is."""
    return Volume(hu, (5.0, 6.0, 6.0), np.eye(4), hu.shape[::-1], "LPS")


@pytest.mark.parametrize("flip", checks.FLIPS)
def test_mask_that_fits_only_when_mirrored(drawn, flip):
    hu, labels = drawn
    turned = np.ascontiguousarray(turned_over(labels, flip))
    findings, proposed, _ = placement.mask_against_turns(as_volume(hu), turned, masks.box_with_margin(turned, 1))
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
        assert placement.mask_against_turns(volume, labels, masks.box_with_margin(labels, 1))[1] == ""
        mirrored = flipped(volume, "x")
        assert checks.orientation(mirrored, low, high, labels[..., ::-1])[1] == "x"
        assert placement.mask_against_turns(mirrored, labels, masks.box_with_margin(labels, 1))[1] == "x"


@pytest.mark.skipif(not (SHARED / "true_hu").is_dir(), reason="the real scan of ../shared isn't here")
def test_real_scan_with_bone():
    volume = read_volume(SHARED / "true_hu" / "ct.nii.gz")
    labels = read_mask(SHARED / "true_hu" / "liver.nii.gz", volume)
    for flip in ("", "x", "y", "xy"):
        turned = flipped(volume, flip)
        low, high = int(turned.hu.min()), int(turned.hu.max())
        assert checks.orientation(turned, low, high, turned_over(labels, flip))[1] == flip
        assert checks.orientation(turned, low, high)[1] == flip.replace("x", "")  # without a mask bone alone speaks


def turned_findings(drawn, turn):
    hu, labels = drawn
    labels = np.ascontiguousarray(turn(labels))
    return placement.mask_against_turns(as_volume(hu), labels, masks.box_with_margin(labels, 1))[:2]


@pytest.mark.parametrize(("turn", "words"), [
    (lambda m: m.transpose(0, 2, 1), "when y and x exchanged"),
    (lambda m: np.rot90(m, 1, (1, 2)), "y and x exchanged and turned over along"),
    (lambda m: np.rot90(m, 3, (1, 2)), "y and x exchanged and turned over along"),
    (lambda m: m.transpose(0, 2, 1)[::-1], "y and x exchanged and turned over along z"),
])
def test_a_mask_with_exchanged_axes_is_named_and_no_flip_is_proposed(drawn, turn, words):
    (((code, text),), proposed) = turned_findings(drawn, turn)
    assert (code, proposed) == ("mask-turned", "") and words in text


def test_axes_of_one_length_may_all_be_exchanged():
    rng = np.random.default_rng(0)
    hu = np.kron(rng.integers(-150, 250, (8, 8, 8)), np.ones((5, 5, 5))).astype(np.int16)
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[5:15, 10:30, 22:38] = 1
    hu[labels > 0] = 100
    (((code, text),), proposed) = turned_findings((hu, labels), lambda m: m.transpose(2, 1, 0))
    assert (code, proposed) == ("mask-turned", "") and "z and x exchanged" in text


@pytest.mark.parametrize("move", [(0, 0, 3), (0, 3, 3), (0, -4, 0), (2, 3, 0), (0, 0, 6)])
def test_a_mask_that_lies_beside_its_edges_is_named(drawn, move):
    ((code, text),), proposed = turned_findings(drawn, lambda m: np.roll(m, move, (0, 1, 2)))
    assert (code, proposed) == ("mask-misfit", "") and ("mm along" in text or "of its voxels" in text)


@pytest.mark.parametrize("seed", range(4))
def test_a_mask_in_its_place_is_left_alone(seed):
    volume, labels = phantom.volume(seed, size=64)[:2]
    assert turned_findings((volume, labels), lambda m: m) == ([], "")
    assert placement.liver_unlike(as_volume(volume), labels >= 1, (5.0, 6.0, 6.0)) == []


def test_a_liver_as_wide_as_the_body_or_thin_as_vessels_is_named(drawn):
    volume = as_volume(drawn[0])
    body = drawn[0] > -300
    ((code, text),) = placement.liver_unlike(volume, body, volume.spacing_mm)
    assert code == "liver-unlike" and "of the body in its slices" in text
    vessels = (drawn[1] == 1) & (np.indices(drawn[1].shape)[2] % 3 == 0)  # sheets of 6 mm
    ((code, text),) = placement.liver_unlike(volume, vessels, volume.spacing_mm)
    assert code == "liver-unlike" and "0% of it lies deeper than 7 mm" in text


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_scan_stored_in_another_order_is_named(order):
    hu = phantom.volume(0, size=64)[0]
    findings = checks.axes_exchanged(as_volume(np.ascontiguousarray(hu.transpose(order))), int(hu.min()))
    assert [code for code, _ in findings] == ([] if order[0] == 0 else ["axes-exchanged"])


def test_scans_that_show_no_end_of_the_body_or_all_of_it_keep_their_axes():
    hu = np.full((20, 30, 30), 50, np.int16)  # cropped to the body
    assert checks.axes_exchanged(as_volume(hu), 50) == []
    whole = np.full((20, 30, 30), -1000, np.int16)
    whole[5:15, 5:25, 5:25] = 50  # with air all around
    assert checks.axes_exchanged(as_volume(whole), -1000) == []
