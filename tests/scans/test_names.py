"""What names say, each answer worked out by hand."""

from pathlib import Path

import pytest

from helpers.scans import names

ROOT = Path("/data")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("masks/volume-3.nii", True),
        ("volume-3.nii", False),
        ("Segmentation_3.nii", True),
        ("ct_label.nii.gz", True),
        ("livermask-3.nii", True),
        ("labelsTr/liver_3.nii.gz", True),
        ("segmentation challenge/images/3.nii", False),  # the nearer folder decides
        ("images/masks/3.nii", True),
        ("images and masks/3.nii", False),  # says both, so nothing
        ("segovia/unmasked.nii", False),  # words, not parts of them
    ],
)
def test_mask_or_scan(path, expected):
    assert names.holds_mask(ROOT / path, ROOT) is expected


def test_the_folder_that_is_looked_at_says_nothing():
    assert not names.holds_mask(Path("/data/masks/3.nii"), Path("/data/masks"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("images", "a", "ct_7"), ("masks", "a", "7-seg")),
        (("imagesTr", "liver_7"), ("labelsTr", "liver_7")),
        (("case 7", "imaging"), ("case 7", "segmentation")),
    ],
)
def test_scan_and_mask_lie_in_one_place(one, other):
    assert names.place(*one) == names.place(*other)


def test_training_and_test_parts_are_two_places():
    assert names.place("imagesTs", "liver_7") != names.place("labelsTr", "liver_7")
    assert names.place("train", "images", "7") != names.place("test", "masks", "7")


def test_nearest_mask_wins_whatever_the_order():
    """The mask lies beside the second scan; the first one, though it shares the key, must not take it."""
    far, near, mask = Path("/data/a/b/x.nii"), Path("/data/c/x.nii"), Path("/data/c/x_seg.nii")
    keys = {("x",)}
    assert names.match({far: keys, near: keys}, {mask: keys}) == {near: mask}
    assert names.match({near: keys, far: keys}, {mask: keys}) == {near: mask}
