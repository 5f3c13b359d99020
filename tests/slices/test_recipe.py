"""From the scan to the network's pixels and back: where nothing is resampled, nothing may change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.scans import boxes, volume
from helpers.slices import pixels, recipe

side = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(side, side, side, side)
def test_padding_and_cutting_undo_each_other(rows, columns, tall, wide):
    plane = np.random.default_rng(0).integers(0, 255, (rows, columns)).astype(np.uint8)
    there = pixels.fitted(plane, (max(rows, tall), max(columns, wide)), fill=7)
    assert np.array_equal(pixels.fitted(there, plane.shape), plane)
    assert (there == 7).sum() - (plane == 7).sum() == there.size - plane.size


def test_cut_and_padded_about_the_centre():
    assert pixels.fitted(np.array([[1, 2, 3, 4, 5]]), (1, 3)).tolist() == [[2, 3, 4]]
    assert pixels.fitted(np.array([[1, 2]]), (2, 4), fill=9).tolist() == [[9, 1, 2, 9], [9, 9, 9, 9]]
    assert pixels.fitted(np.array([[1, 2, 3]]), (3, 2), fill=0).tolist() == [[0, 0], [1, 2], [0, 0]]


def test_liver_box_by_hand():
    """Liver from (2, 10, 20) to (4, 19, 29); 15 mm are 3 slices of 5 mm, 15 rows of 1 mm, 8 columns of 2 mm (rounded up)."""
    liver = np.zeros((10, 40, 50), bool)
    liver[2:5, 10:20, 20:30] = True
    grid = recipe.liver_box(liver, (5.0, 1.0, 2.0), margin_mm=15.0)
    assert grid.box == ((0, 8), (0, 35), (12, 38))
    assert grid.shape == grid.canvas == (35, 26)
    assert recipe.liver_box(liver & False, (5.0, 1.0, 2.0)) is None


def test_near_native_box_comes_back_exactly():
    rng = np.random.default_rng(1)
    scan = rng.integers(-1000, 1000, (6, 30, 40)).astype(np.int16)
    liver = np.zeros(scan.shape, bool)
    liver[1:4, 8:20, 5:33] = True
    grid = recipe.liver_box(liver, (3.0, 1.0, 1.0), margin_mm=2.0)
    stack, (z0, _) = grid.stack(scan), grid.box[0]
    back = np.zeros_like(scan)
    for k, plane in enumerate(stack):
        grid.back(plane, back[z0 + k])
    box = tuple(slice(*ends) for ends in grid.box)
    assert np.array_equal(back[box], scan[box])
    back[box] = 0
    assert not back.any()


@pytest.mark.parametrize("shape", [(512, 512), (100, 130), (96, 96)])
def test_labels_at_working_size_stay_labels_and_in_place(shape):
    labels = np.zeros((1, *shape), np.uint8)
    labels[0, shape[0] // 4 : shape[0] // 2, shape[1] // 2 : -shape[1] // 4] = 1
    grid = recipe.whole_grid(labels.shape, (3.0, 0.8, 0.8), 96)
    small = grid.cut(labels[0], labels=True)
    assert small.shape == (96, 96) and set(np.unique(small)) == {0, 1}
    back = grid.back(small, np.zeros_like(labels[0]), labels=True)
    both = np.count_nonzero(back & labels[0])
    assert 2 * both / (back.sum() + labels.sum()) > 0.95
    assert np.abs(np.argwhere(back).mean(0) - np.argwhere(labels[0]).mean(0)).max() < 1.0


def test_working_spacing_keeps_millimetres_and_says_what_is_lost():
    """300 rows of 0.8 mm are 240 mm: 160 pixels of 1.5 mm; of these a canvas of 128 keeps 128 of 160 each way."""
    grid = recipe.whole_grid((5, 300, 300), (3.0, 0.8, 0.8), 128, working_spacing_mm=1.5)
    assert grid.shape == (160, 160) and grid.canvas == (128, 128)
    assert grid.lost_share == pytest.approx(1 - (128 / 160) ** 2)
    assert recipe.whole_grid((5, 300, 300), (3.0, 0.8, 0.8), 160, 1.5).lost_share == 0


def test_what_a_box_costs_a_mask_is_counted():
    labels = np.zeros((4, 20, 20), np.uint8)
    labels[1, 5:10, 5:10] = 1
    grid = recipe.liver_box(labels == 1, (1.0, 1.0, 1.0), margin_mm=1.0)
    assert grid.box == ((0, 3), (4, 11), (4, 11))
    assert recipe.check(grid, labels) == (0, 0)
    labels[1, 9:12, 9] = labels[3, 9, 9] = 2
    assert recipe.check(grid, labels) == (2, 0)  # row 11, and slice 3
    coarse = recipe.liver_box(labels == 1, (1.0, 1.0, 1.0), margin_mm=4.0, roi_spacing_mm=1.7)
    assert recipe.check(coarse, labels)[1] > 0


def test_box_of_finds_the_same_box_whatever_the_memory_order():
    labels = np.zeros((7, 9, 16), np.uint8)
    labels[2:4, 3:8, 5] = 2
    want = (slice(2, 4), slice(3, 8), slice(5, 6))
    for view in (labels, labels > 0, labels[:, :, :13], np.asfortranarray(labels)):
        assert boxes.box_of(view) == want
    assert boxes.box_of(labels * 0) is None


def test_at_least_is_a_comparison():
    values = np.random.default_rng(0).integers(0, 256, (5, 9, 8)).astype(np.uint8)
    values[:2] = values[:, 7:] = 0
    for threshold in (1, 100, 255):
        assert np.array_equal(boxes.at_least(values, threshold), values >= threshold)
    assert not boxes.at_least(values * 0, 1).any()


def test_the_lowest_level_of_a_probability():
    """0.5 of 255 is 127.5: 127 means less than a half, 128 means more."""
    levels = np.arange(256, dtype=np.uint8)
    for share in (0.0, 0.1, 0.5, 0.6, 1.0):
        assert np.array_equal(levels >= pixels.level(share), levels >= share * 255)
    assert not (levels >= pixels.level(1.01)).any()


def test_slices_of_a_region_lie_where_they_come_from():
    """Slices 3 to 7 of the scan are rows 0 to 4; what a network says of row 1 lands on slice 4."""
    hu = np.arange(10 * 20 * 30, dtype=np.int16).reshape(10, 20, 30)
    liver = np.zeros(hu.shape, bool)
    liver[4:7, 8:12, 10:20] = True
    scan = volume.in_our_axes(hu, (2.0, 1.0, 1.0))
    region = recipe.liver_region(scan, liver, recipe.Recipe(roi_margin_mm=2.0))
    assert region.grid.box == ((3, 8), (6, 14), (8, 22)) and region.shape == (5, 1, 8, 14)
    assert region.rows_of(liver).tolist() == [1, 2, 3] and region.step == 2
    out = np.zeros(hu.shape, np.uint8)
    region.put_back(np.full((1, 8, 14), 7, np.uint8), [1], out)
    assert out.sum() == 7 * 8 * 14 and (out[4, 6:14, 8:22] == 7).all()


def test_an_empty_liver_has_a_region_without_slices():
    scan = volume.in_our_axes(np.zeros((3, 20, 30), np.int16), (2.0, 1.0, 1.0))
    liver = np.zeros((3, 20, 30), bool)
    region = recipe.liver_region(scan, liver, recipe.Recipe(reference_hu=100.0))
    assert len(region) == 0 and region.rows_of(liver).tolist() == []
