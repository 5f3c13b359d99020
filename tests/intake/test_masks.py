"""Labels are measured in their box only, and the box holds them all."""

import cc3d
import numpy as np
import pytest

from helpers.intake import masks
from helpers.scans import volume


def volume_of(labels):
    hu = np.where(labels > 0, 100, -50).astype(np.int16)
    return volume.Volume(hu, (5.0, 1.0, 2.0), np.eye(4), hu.shape[::-1], "LPS")  # a voxel is 0.01 ml


@pytest.mark.parametrize("margin", [0, 1, 3])
def test_box_holds_all_labels_and_its_margin(margin):
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[1, 2, 3] = labels[4, 5, 3] = 1
    box = masks.box_with_margin(labels, margin)
    wanted = [(1, 5, 6), (2, 6, 7), (3, 4, 8)]  # first, one past the last, and the edge of the scan
    assert [(s.start, s.stop) for s in box] == [(max(0, a - margin), min(n, b + margin)) for a, b, n in wanted]


def test_box_of_an_empty_mask_is_one_voxel():
    assert masks.box_with_margin(np.zeros((3, 3, 3), np.uint8), 1) == (slice(0, 1),) * 3


def test_measures_in_the_box_are_those_of_the_whole():
    labels = (np.random.default_rng(0).random((8, 20, 20)) > 0.8).astype(np.uint8)
    labels[np.random.default_rng(1).random(labels.shape) > 0.95] = 2
    labels[:, :3], labels[:2] = 0, 0
    columns, findings, _, lesions = masks.mask_findings("a", volume_of(labels), labels, masks.box_with_margin(labels, 1))
    assert columns["liver_ml"] == pytest.approx(np.count_nonzero(labels) / 100)
    assert columns["tumour_ml"] == pytest.approx(np.count_nonzero(labels == 2) / 100)
    components = cc3d.connected_components(labels == 2, connectivity=6)
    assert sorted(lesion["volume_ml"] * 100 for lesion in lesions) == pytest.approx(sorted(np.bincount(components.ravel())[1:]))
    assert columns["lesions"] == components.max() and columns["liver_slices"] == 6


def test_tumour_that_touches_liver_by_an_edge_is_not_outside():
    labels = np.zeros((5, 8, 8), np.uint8)
    labels[1, 1:4, 1:4] = 1
    labels[2, 4, 4] = 2  # by a corner
    assert masks.mask_findings("a", volume_of(labels), labels, masks.box_with_margin(labels))[1] == []
    labels[4, 7, 7] = 2
    findings = dict(masks.mask_findings("a", volume_of(labels), labels, masks.box_with_margin(labels))[1])
    # ten voxels hang together, one of 0.01 ml lies apart
    assert findings == {
        "liver-islands": "2 components; the largest holds 90.9%, the others 0.01 ml",
        "tumour-outside": "1 without a voxel of liver beside them, 0.01 ml",
    }


def test_diameter_of_a_ball():
    assert volume.diameter_mm(4 / 3 * np.pi) == pytest.approx(20.0)  # radius 1 cm


def test_share_below_one_never_reads_as_all():
    assert masks._percent(0.99999) == "over 99.9%" and masks._percent(0.5) == "50.0%"


def ball(radius, at=(12, 12, 12), shape=(25, 25, 25)):
    return sum((axis - centre) ** 2 for axis, centre in zip(np.indices(shape), at)) < radius**2


@pytest.mark.parametrize(("liver", "tumour", "code"), [
    (ball(10), ball(4), None),
    (ball(4), ball(10), "labels-exchanged"),
    (ball(10), ball(9), "tumour-large"),  # a rim of liver is left
    (ball(3, (12, 12, 9)) | ball(2, (12, 18, 12)), ball(10), "labels-exchanged"),
    (ball(6, (12, 12, 5)), ball(8, (12, 12, 14)), "tumour-large"),  # beside the liver rather than in it
])
def test_more_tumour_than_liver_is_named(liver, tumour, code):
    inner, outer = (liver, tumour) if liver.sum() < tumour.sum() else (tumour, liver)
    labels = np.where(outer, 2 if outer is tumour else 1, 0).astype(np.uint8)
    labels[inner] = 2 if inner is tumour else 1
    codes = [found for found, _ in masks.mask_findings("a", volume_of(labels), labels, masks.box_with_margin(labels, 1))[1]]
    assert (code in codes) if code else codes == []
