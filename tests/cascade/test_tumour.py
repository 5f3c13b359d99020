"""Components by hand: which piece is the liver, and which findings are lesions."""

import numpy as np
import pytest
from scipy import ndimage

from helpers.cascade import liver, pipeline, tumour
from helpers.slices.pixels import level


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


def test_specks_are_dropped_however_sure_and_lesions_kept_however_unsure():
    """Voxels of 2 mm³: 27 of them are 0.054 ml, 24 are 0.048; what meets at an edge only is two findings."""
    likely = np.zeros((20, 64, 64), np.uint8)
    likely[2:5, 2:5, 2:5] = level(0.3)
    likely[10:12, 2:5, 2:6] = 255
    likely[10:13, 5:8, 6:9] = 90
    kept, number, specks = tumour.keep_lesions(likely, (2.0, 1.0, 1.0), pipeline.Rules(tumour_threshold=0.3, min_lesion_ml=0.05))
    assert number == 2 and np.array_equal(kept, (likely > 0) & (likely < 255))
    assert specks == [{"slice": 10, "y": 3, "x": 4, "ml": pytest.approx(0.048)}]  # of its middle
    assert tumour.keep_lesions(likely, (2.0, 1.0, 1.0), pipeline.Rules(tumour_threshold=0.3, min_lesion_ml=0.0))[1:] == (3, [])
    assert tumour.keep_lesions(likely * 0, (2.0, 1.0, 1.0), pipeline.Rules())[1:] == (0, [])
