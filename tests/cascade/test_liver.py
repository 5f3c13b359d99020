"""Parts that hang on the liver by a neck."""

import numpy as np
import pytest

from helpers.cascade.liver import remove_adjacent_organs

SPACING = (2.0, 1.0, 1.0)


def two_blocks(neck_px):
    """A large block of 100 HU and a smaller one of 60 HU, 24 mm deep or more, joined by a bridge so many pixels wide."""
    liver, hu = np.zeros((24, 120, 60), bool), np.zeros((24, 120, 60), np.int16)
    liver[2:22, 5:55, 5:55] = liver[2:22, 75:110, 10:50] = True
    liver[10:14, 50:80, 30 : 30 + neck_px] = True
    hu[liver], hu[:, 75:] = 100, 60
    return liver, hu


def test_a_part_of_another_grey_value_goes_and_the_liver_stays_whole():
    liver, hu = two_blocks(6)
    kept, removed = remove_adjacent_organs(liver, hu, SPACING, [18.0], 12.0)
    assert kept[:, :55].sum() == liver[:, :55].sum() and not kept[:, 76:].any()
    assert len(removed) == 1 and removed[0]["hu"] == -40 and removed[0]["volume_ml"] == pytest.approx(56, rel=0.1)


@pytest.mark.parametrize(("neck_widths_mm", "max_hu_difference"), [((18.0,), 45.0), ((), 12.0)])
def test_what_looks_like_liver_stays_and_so_does_all_without_a_neck(neck_widths_mm, max_hu_difference):
    liver, hu = two_blocks(6)
    kept, removed = remove_adjacent_organs(liver, hu, SPACING, neck_widths_mm, max_hu_difference)
    assert np.array_equal(kept, liver) and not removed


def test_a_wide_bridge_is_no_neck():
    liver, hu = two_blocks(6)
    liver[2:22, 50:80, 10:50] = True
    kept, removed = remove_adjacent_organs(liver, hu, SPACING, [18.0], 12.0)
    assert np.array_equal(kept, liver) and not removed


def test_a_wider_neck_is_found_after_a_narrower_one():
    liver, hu = two_blocks(6)
    liver[2:22, 50:80, 15:38], hu[2:22, 50:75, 15:38] = True, 100
    kept, removed = remove_adjacent_organs(liver, hu, SPACING, [18.0], 12.0)
    assert np.array_equal(kept, liver) and not removed
    kept, removed = remove_adjacent_organs(liver, hu, SPACING, [18.0, 27.0], 12.0)
    assert kept[:, 5:55, 5:55].sum() == liver[:, 5:55, 5:55].sum() and not kept[:, 78:].any() and len(removed) == 1


def test_a_liver_that_the_scan_cuts_off_goes_on_beyond_its_end():
    """Two slices of 2 mm are left of a liver: no sphere of 18 mm fits into them, and yet they are its main part."""
    liver, hu = two_blocks(6)
    kept, removed = remove_adjacent_organs(liver[10:12], hu[10:12], SPACING, [18.0], 12.0)
    assert kept[:, 5:55, 5:55].all() and not kept[:, 76:].any() and len(removed) == 1


def test_parts_too_small_to_be_measured_stay():
    """One slice of 2.1 mm, 0.85 and 0.44 ml: neither the liver's part nor the other one is large enough for a median."""
    liver, hu = two_blocks(6)
    kept, removed = remove_adjacent_organs(liver[10:11], hu[10:11], (2.1, 0.36, 0.36), [10.0], 12.0)
    assert np.array_equal(kept, liver[10:11]) and not removed


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5)])
def test_small_and_empty_masks(shape):
    for mask in (np.zeros(shape, bool), np.ones(shape, bool)):
        kept, removed = remove_adjacent_organs(mask, np.zeros(shape, np.int16), SPACING, [18.0], 12.0)
        assert np.array_equal(kept, mask) and not removed
