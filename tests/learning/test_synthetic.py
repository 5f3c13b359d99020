"""Implanted tumours: where they may lie, how dark they are, and that nothing else of the slice
changes.
"""

import numpy as np
import pytest

from helpers.learning import augmentation, synthetic


@pytest.fixture
def liver():
    """Three flat planes of grey 150 on 60, and the labels of the middle one: a square liver of 60
    pixels.
    """
    mask = np.zeros((96, 96), np.uint8)
    mask[18:78, 18:78] = 1
    planes = np.where(mask == 1, 150, 60).astype(np.float32)
    return np.stack([planes] * 3), mask


def scale(grey_per_hu=1.0, pixel_mm=1.0, slice_mm=0.0):
    return synthetic.Scale([grey_per_hu] * 3, pixel_mm, [-slice_mm, 0.0, slice_mm])


def donor(drop=50):
    planes, masks = np.full((3, 40, 40), 120, np.uint8), np.ones((3, 40, 40), np.uint8)
    masks[1, 15:25, 15:25] = 2
    masks[0, 18:22, 18:22] = 2
    planes[masks == 2] = 120 - drop
    return planes, masks


def test_a_donor_is_measured_against_its_own_liver():
    planes, masks = donor(drop=50)
    got = synthetic.donor_from(planes, masks, np.random.default_rng(1))
    assert got.masks.sum((1, 2)).tolist() == [16, 100, 0]
    assert set(np.unique(got.planes[got.masks])) == {-50.0} and got.planes[2].max() == 0


def test_a_slice_without_lesion_or_without_healthy_liver_gives_no_donor():
    planes, masks = donor()
    assert synthetic.donor_from(planes, np.minimum(masks, 1), np.random.default_rng(1)) is None
    assert synthetic.donor_from(planes, np.where(masks == 1, 0, masks).astype(np.uint8), np.random.default_rng(1)) is None


def test_a_pasted_lesion_keeps_its_contrast_not_its_level(liver):
    planes, mask = liver
    before = planes.copy()
    got = synthetic.donor_from(*donor(drop=50), np.random.default_rng(1))
    assert synthetic.paste(planes, mask, np.random.default_rng(3), got)
    drop = before[1][mask == 2] - planes[1][mask == 2]
    # contrast is varied by 0.6 to 1.3; a soft edge never deepens it
    assert 0.5 * 50 < drop.max() < 1.31 * 50
    assert 40 < (mask == 2).sum() < 220  # 100 pixels, scaled by 0.75 to 1.3 along either edge
    # it was smaller in that slice
    assert np.abs(before[0] - planes[0]).sum() < np.abs(before[1] - planes[1]).sum()
    assert np.allclose(before[2], planes[2], atol=1e-3)  # and absent in this one


@pytest.mark.parametrize("seed", range(8))
def test_painted_tumours_stay_in_the_liver_and_are_labelled_where_they_are(liver, seed):
    planes, mask = liver
    before, was = planes.copy(), mask.copy()
    assert synthetic.paint(planes, mask, np.random.default_rng(seed), scale(255 / 200, 0.75, 3.0))
    new = mask == 2
    assert new.any() and (was[new] == 1).all()
    change = np.abs(planes - before)
    # only the liver's soft rim
    assert change[:, was == 0].max() < 0.5 * max(1e-6, change.max()) + 1e-6
    far = np.ones_like(new)
    yy, xx = np.nonzero(new)
    far[max(0, yy.min() - 12) : yy.max() + 12, max(0, xx.min() - 12) : xx.max() + 12] = False
    assert change[:, far].max() < 12
    assert change[1][new].mean() > change[1][~new].mean()


def test_the_same_generator_paints_the_same(liver):
    def painted():
        planes, mask = liver[0].copy(), liver[1].copy()
        synthetic.paint(planes, mask, np.random.default_rng(5), scale())
        return planes, mask

    (a, b), (c, d) = painted(), painted()
    assert np.array_equal(a, c) and np.array_equal(b, d)


def test_the_scale_of_a_stored_case_by_hand():
    """A box of 120 × 120 voxels of 0.8 mm on 60 × 60 pixels, two windows, one neighbour two slices
    of 1.5 mm away.
    """
    meta = {"recipe": {"windows": [[-100, 155], [0, 51]]}, "spacing_mm": [1.5, 0.8, 0.8], "shape": [60, 60]}
    got = synthetic.scale_of(meta | {"box": [[0, 9], [10, 130], [0, 120]]}, neighbours=1, step=2)
    assert got.grey_per_hu.tolist() == [1.0, 5.0] * 3 and got.pixel_mm == pytest.approx(1.6)
    assert got.slices_mm.tolist() == [-3.0, -3.0, 0.0, 0.0, 3.0, 3.0]


def test_without_liver_there_is_no_room(liver):
    planes, _ = liver
    assert not synthetic.paint(planes, np.zeros((96, 96), np.uint8), np.random.default_rng(1), scale())


def test_a_patch_and_its_plane_overlap_at_the_border():
    on_plane, on_patch = synthetic.overlap((10, 10), (1, 9), 5)
    assert on_plane == (slice(0, 4), slice(7, 10)) and on_patch == (slice(1, 5), slice(0, 3))


@pytest.mark.parametrize("seed", range(8))
def test_a_painted_gallbladder_lies_at_the_edge_and_is_no_liver(liver, seed):
    """Liver under it becomes background, what lies beyond is painted too; between 30 and 90 HU
    darker, 1 grey value each.
    """
    planes, mask = liver
    before, labels = planes.copy(), mask.copy()
    assert synthetic.paste_gallbladder(planes, mask, np.random.default_rng(seed), scale())
    taken = (labels == 1) & (mask == 0)
    assert taken.any() and not (mask == 2).any()
    assert 30 <= 150 - np.median(planes[1][taken]) <= 90
    assert (np.abs(planes - before)[1][labels == 0] > 1).any()  # it reaches out of the liver
    assert np.allclose(planes[1][mask == 1], 150, atol=60) and np.median(planes[1][mask == 1]) > 140


def test_a_painted_gallbladder_covers_neither_tumour_nor_bone(liver):
    planes, mask = liver
    everywhere = np.where(mask == 1, 2, 0).astype(np.uint8)
    everywhere[48, 48] = 1  # no liver's edge is free
    bone = np.where(mask == 1, planes, 255).astype(np.float32)
    for image, labels in ((planes, everywhere), (bone, mask)):
        before = image.copy(), labels.copy()
        for seed in range(5):
            assert not synthetic.paste_gallbladder(image, labels, np.random.default_rng(seed), scale())
        assert np.array_equal(image, before[0]) and np.array_equal(labels, before[1])


def test_bright_vessels_become_dark_and_nothing_else_changes(liver):
    """A vessel of 40 HU above the liver, a faint one of 5 HU, a dark lesion, and a bright thing
    outside.
    """
    planes, mask = liver
    planes[:, 40:46, 30:60] += 40
    planes[:, 66:70, 30:60] += 5
    planes[:, 25:32, 25:32] -= 50
    mask[25:32, 25:32] = 2
    planes[:, 84:90, 20:80] += 90
    before, labels = planes.copy(), mask.copy()
    synthetic.darken_veins(planes, mask, np.random.default_rng(0), scale())
    assert (planes[:, 43, 35:55] < 150 - 5).all() and np.array_equal(mask, labels)
    still = np.ones_like(mask, bool)
    still[34:52, 24:66] = False
    assert np.abs(planes - before)[:, still].max() < 1


def test_a_relit_liver_changes_by_one_value_in_each_plane_of_its_own(liver):
    planes, mask = liver
    livers = np.stack([mask == 1, mask == 1, np.zeros_like(mask, bool)])
    changed = augmentation.shift_liver_intensity(planes.astype(np.uint8), livers, -40.0, 1.5).astype(float) - planes
    deep, far = np.zeros_like(mask, bool), np.ones_like(mask, bool)
    deep[28:68, 28:68], far[10:86, 10:86] = True, False
    assert (changed[:2, deep] == -40).all() and not changed[:, far].any() and not changed[2].any()
    # and doesn't start again at 0
    assert augmentation.shift_liver_intensity(planes.astype(np.uint8), livers, 400.0, 1.5).max() == 255
