"""Parts that hang on the liver by a neck."""

import numpy as np
import pytest
from scipy import ndimage

from helpers.cascade.liver import filled, largest_component, remove_adjacent_organs
from helpers.scans.boxes import components

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


@pytest.mark.parametrize("seed", range(40))
def test_the_largest_component_is_the_same_in_any_slabs(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(tuple(rng.integers(1, 14, 3))) < rng.uniform(0.02, 0.3)
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    largest = labels == np.argmax(np.bincount(labels[mask], minlength=2)[1:]) + 1
    want = [ndimage.binary_fill_holes(plane) for plane in largest & mask]
    for slab in (1, 2, 5, 32):
        got, number = largest_component(mask, slab)
        assert number == count and np.array_equal(got, want)


@pytest.mark.parametrize("seed", range(40))
def test_what_a_plane_encloses_is_filled_and_what_a_corner_closes_too(seed):
    rng = np.random.default_rng(seed)
    plane = rng.random(tuple(rng.integers(1, 40, 2))) < rng.uniform(0.2, 0.8)
    assert np.array_equal(filled(plane), ndimage.binary_fill_holes(plane))


@pytest.mark.parametrize("axis", range(3))
def test_specks_in_a_row_of_single_voxels_are_components(axis):
    row = np.moveaxis(np.array([[[1, 0, 1, 1, 0, 1]]], bool), 2, axis)
    labels, count = components(row)
    assert count == 3 and labels.ravel().tolist() == [1, 0, 2, 2, 0, 3]
    assert largest_component(row)[0].ravel().tolist() == [0, 0, 1, 1, 0, 0]
