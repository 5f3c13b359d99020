"""Components by hand: which piece is the liver, and which lesions are dropped, and why."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from helpers.cascade import liver, pipeline, tumour
from helpers.scans import volume

SCAN = volume.Volume(np.zeros((20, 64, 64), np.int16), (2.0, 1.0, 1.0), np.eye(4), (64, 64, 20), "RAS")


def test_largest_piece_and_its_holes():
    mask = np.zeros((3, 9, 9), bool)
    mask[1, 1:6, 1:6] = True
    mask[1, 3, 3] = False
    mask[0, 8, 8] = True
    piece, count = liver.largest_component(mask)
    assert count == 2 and piece.sum() == 25
    assert liver.largest_component(np.zeros((2, 3, 4), bool))[1] == 0


def test_a_component_is_the_same_wherever_its_box_lies():
    """Only the box of what was found is labelled; the answer lies where the whole volume would have it."""
    rng = np.random.default_rng(3)
    small = rng.random((6, 20, 20)) < 0.3
    large = np.zeros((12, 40, 50), bool)
    large[4:10, 15:35, 8:28] = small
    (whole, count), (part, other) = liver.largest_component(large), liver.largest_component(small)
    assert count == other and np.array_equal(whole[4:10, 15:35, 8:28], part) and whole.sum() == part.sum()


@pytest.mark.parametrize("share", [0.02, 0.06, 0.3])
def test_slabs_join_to_the_pieces_of_the_whole(share):
    """Against one labelling of the whole: as many pieces, the same largest one, whatever the slabs."""
    mask = np.random.default_rng(5).random((23, 18, 21)) < share
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in largest])
    for slab in (1, 2, 5, 64):
        piece, found = liver.largest_component(mask, slab)
        assert found == count and np.array_equal(piece, filled)


def test_pieces_that_part_and_meet_again_are_one():
    """A ring upright: its two sides are two pieces in the middle slabs and one piece in the end."""
    mask = np.zeros((12, 7, 9), bool)
    mask[1:11, 3, 1] = mask[1:11, 3, 7] = mask[1, 3, 1:8] = mask[10, 3, 1:8] = True
    piece, count = liver.largest_component(mask, slab=3)
    assert count == 1 and piece.sum() == mask.sum()


def test_unsure_lesions_are_dropped_by_their_peak():
    likely = np.zeros((20, 64, 64), np.uint8)
    likely[2:5, 2:9, 2:9] = 140
    likely[10:13, 2:9, 2:9] = 140
    likely[11, 5, 5] = 240
    rules = pipeline.Rules(tumour_threshold=0.5, min_peak_probability=0.8)
    kept, number, dropped = tumour.keep_lesions(likely, SCAN.hu, SCAN.spacing_mm, rules)
    assert number == 1 and kept[11, 5, 5] and not kept[3, 3, 3]
    assert [finding.as_dict() for finding in dropped] == [{"why": "too unsure", "volume_ml": 0.294, "peak": 0.549, "fat": 0.0, "index_zyx": [3, 5, 5]}]
    assert dropped[0].box == np.s_[2:5, 2:9, 2:9] and dropped[0].mask.all()


def test_what_lies_against_fat_is_taken_for_the_gallbladder():
    """Two findings of 3 × 30 × 30 voxels, 5.4 ml and 50 HU in liver of 100: one has fat along one of its sides."""
    likely, hu = np.zeros((20, 64, 64), np.uint8), np.full((20, 64, 64), 100, np.int16)
    likely[2:5, 16:46, 16:46] = likely[10:13, 16:46, 16:46] = 250
    hu[likely > 0], hu[:8, :, 46:] = 50, -100
    rules = pipeline.Rules()
    kept, number, dropped = tumour.keep_lesions(likely, hu, SCAN.spacing_mm, rules)
    assert number == 1 and kept[11, 20, 20] and not kept[:8].any()
    labels = pipeline.labels_of(np.ones(hu.shape, bool), kept, dropped)
    assert np.array_equal(labels == 2, kept) and np.array_equal(labels == 0, (likely > 0) & ~kept)
    assert 0.2 < dropped[0].fat < 0.3  # one of four sides, and the disk leaves the corners out
    everything = dataclasses.replace(rules, max_fat_fraction=1.0)
    assert tumour.keep_lesions(likely, hu, SCAN.spacing_mm, everything)[1] == 2
    lung = np.where(hu < 0, -800, hu)
    assert tumour.keep_lesions(likely, lung, SCAN.spacing_mm, rules)[1] == 2  # air is no fat
    bright = np.where(likely > 0, 65, hu)
    assert tumour.keep_lesions(likely, bright, SCAN.spacing_mm, rules)[1] == 2  # nor is this bile
    small = likely * (np.arange(64) < 36)  # two thirds of it: 3.6 ml are too small for a gallbladder
    hu[:8, :, 36:] = -100
    assert tumour.keep_lesions(small.astype(np.uint8), hu, SCAN.spacing_mm, rules)[1] == 2


@pytest.mark.parametrize("own_hu, kept", [(50, 1), (10, 0)])
def test_beside_a_fluid_a_third_of_the_fat_tells_the_gallbladder(own_hu, kept):
    likely, hu = np.zeros((20, 64, 64), np.uint8), np.full((20, 64, 64), 100, np.int16)
    likely[2:5, 16:46, 16:46] = 250
    hu[likely > 0], hu[2:5, 24:26, 46:] = own_hu, -100  # a short stretch of fat on one side
    _, number, dropped = tumour.keep_lesions(likely, hu, SCAN.spacing_mm, pipeline.Rules())
    assert number == kept
    assert 0.01 < tumour.fat_around(np.ones((3, 30, 30), bool), np.s_[2:5, 16:46, 16:46], hu, SCAN.spacing_mm) < 0.02
    assert kept or dropped[0].why == "gallbladder"
