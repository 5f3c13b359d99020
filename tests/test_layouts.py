"""Folders as people have them: which scans are seen, which mask goes with which, and what the grey values become."""

import os
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from helpers import layouts

SHARED = Path(__file__).parents[2] / "shared"


def touched(*files):
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def picture(path, plane):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, plane)[1].tobytes())
    return path


def seen(folder):
    """{name: (layout, image below the folder, mask below the folder or None)}"""
    below = {c.name: (c.image.relative_to(folder), c.mask and c.mask.relative_to(folder)) for c in layouts.scan(folder)}
    kinds = {c.name: c.layout for c in layouts.scan(folder)}
    return {name: (kinds[name], image.as_posix(), mask and mask.as_posix()) for name, (image, mask) in below.items()}


def test_lits_split_over_folders_in_natural_order(tmp_path):
    touched(*(tmp_path / "volume_pt1" / f"volume-{n}.nii" for n in (0, 2)), tmp_path / "volume_pt2" / "volume-10.nii.gz")
    touched(*(tmp_path / "segmentations" / f"segmentation-{n}.nii" for n in (0, 2, 10)))
    found = seen(tmp_path)
    assert list(found) == ["volume-0", "volume-2", "volume-10"]
    assert found["volume-10"] == ("LiTS pairs", "volume_pt2/volume-10.nii.gz", "segmentations/segmentation-10.nii")


def test_kaggle_folders_that_are_named_like_files(tmp_path):
    touched(tmp_path / "volume-0.nii" / "volume-0.nii", tmp_path / "segmentation-0.nii" / "segmentation-0.nii")
    assert seen(tmp_path) == {"volume-0": ("LiTS pairs", "volume-0.nii/volume-0.nii", "segmentation-0.nii/segmentation-0.nii")}


def test_mask_without_its_scan_is_a_case_that_cannot_be_read(tmp_path):
    touched(tmp_path / "volume-0.nii", tmp_path / "segmentation-0.nii", tmp_path / "segmentation-1.nii")
    found = seen(tmp_path)
    assert found["volume-1"] == ("LiTS pairs", "volume-1.nii", "segmentation-1.nii")
    assert not (tmp_path / "volume-1.nii").exists()


def test_msd_with_nnunet_names_and_other_endings(tmp_path):
    images = ("imagesTr/liver_2.nii.gz", "imagesTr/liver_10_0000.nii.gz", "imagesTs/liver_3.nii.gz")
    labels = ("labelsTr/liver_2.nii", "labelsTr/liver_10.nii.gz", "labelsTr/._liver_2.nii")
    touched(*(tmp_path / name for name in images + labels))
    assert seen(tmp_path) == {
        "liver_2": ("MSD", "imagesTr/liver_2.nii.gz", "labelsTr/liver_2.nii"),
        "liver_3": ("MSD", "imagesTs/liver_3.nii.gz", None),
        "liver_10": ("MSD", "imagesTr/liver_10_0000.nii.gz", "labelsTr/liver_10.nii.gz"),
    }


def test_scans_without_labels_spaces_and_letters_of_all_kinds(tmp_path):
    touched(tmp_path / "Übung 1" / "scan é.nii.gz", tmp_path / "Übung 1" / "SCAN 2.NII", tmp_path / ".hidden" / "no.nii")
    assert seen(tmp_path) == {
        "scan_é": ("scans without labels", "Übung 1/scan é.nii.gz", None),
        "SCAN_2": ("scans without labels", "Übung 1/SCAN 2.NII", None),
    }


def test_linked_folder_is_followed_and_a_circle_ends(tmp_path):
    touched(tmp_path / "elsewhere" / "volume-0.nii")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "link")
    os.symlink(tmp_path / "data", tmp_path / "elsewhere" / "round")
    assert list(seen(tmp_path / "data")) == ["volume-0"]


def test_one_name_in_several_places_gives_several_cases(tmp_path):
    touched(tmp_path / "a" / "ct.nii", tmp_path / "b" / "ct.nii", tmp_path / "b" / "ct.nii.gz", tmp_path / "b" / "other.nii")
    assert list(seen(tmp_path)) == ["a-ct", "b-ct", "b-ct-nii.gz", "other"]


def test_the_nearer_mask_wins_when_two_carry_one_name(tmp_path):
    touched(*(tmp_path / side / f"{kind}-1.nii" for side in ("x", "y") for kind in ("volume", "segmentation")))
    assert {i: m for _, i, m in seen(tmp_path).values()} == {f"{s}/volume-1.nii": f"{s}/segmentation-1.nii" for s in "xy"}


def test_missing_and_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        layouts.scan(tmp_path / "nowhere")
    touched(tmp_path / "picture.png", tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="no scans found.*0 NIfTI files and 1 pictures"):
        layouts.scan(tmp_path)


@pytest.fixture
def slices(tmp_path):
    """Two volumes; the green channel of slice z holds z everywhere, and 255 in a corner; slices 2, 9, 10 and 11."""
    for z in (2, 9, 10, 11):
        plane = np.zeros((8, 6, 3), np.uint8)
        plane[..., 0], plane[..., 1], plane[..., 2] = 100, z, 200
        plane[0, 0, 1] = 255
        picture(tmp_path / "images" / f"volume-3_slice_{z}.png", plane)
        mask = np.zeros((8, 6), np.uint8)
        mask[2:6, 1:4], mask[3, 2] = 1, 2
        picture(tmp_path / "masks" / f"volume-3_slice_{z}.png", mask)
    picture(tmp_path / "images" / "volume-33_slice_1.png", plane)
    return tmp_path


def test_slices_become_volumes_feet_first(slices):
    first, second = layouts.scan(slices)
    assert (first.name, first.layout, second.name, second.mask) == ("volume-3", "2-D slices", "volume-33", None)
    volume = layouts.read_scan(first.image, (-40, 160), 1)
    assert volume.hu.shape == (4, 8, 6) and volume.axes == "LPS" and volume.spacing_mm == layouts.STAND_IN_SPACING
    # grey g of 255 stands for g * 200 / 255 - 40 HU: 2 -> -38.4, 9 -> -32.9, 10 -> -32.2, 11 -> -31.4, 255 -> 160
    assert volume.hu[:, 5, 5].tolist() == [-38, -33, -32, -31] and volume.hu[0, 0, 0] == 160
    assert layouts.read_scan(first.image, (0, 255), 0).hu[0, 5, 5] == 100
    labels = layouts.read_labels(first.mask, volume)
    assert labels.shape == (4, 8, 6) and np.bincount(labels[3].ravel()).tolist() == [36, 11, 1]


def test_mask_missing_for_a_slice_is_named(slices):
    (slices / "masks" / "volume-3_slice_2.png").unlink()  # the first one: the case still has masks
    case = layouts.scan(slices)[0]
    assert case.mask is not None
    with pytest.raises(ValueError, match="volume-3_slice_2.png: has no mask"):
        layouts.read_labels(case.mask, layouts.read_scan(case.image))


def change_size(folder):
    picture(folder / "images" / "volume-3_slice_10.png", np.zeros((8, 7), np.uint8))


def double_a_slice(folder):
    picture(folder / "images" / "volume-3_slice_10.jpg", np.zeros((8, 6), np.uint8))


def cut_off_jpeg(folder):
    noise = np.random.default_rng(0).integers(0, 255, (8, 6)).astype(np.uint8)
    path = picture(folder / "images" / "volume-3_slice_12.jpg", noise)
    path.write_bytes(path.read_bytes()[:-20])


def cut_off_png(folder):
    path = folder / "images" / "volume-3_slice_9.png"
    path.write_bytes(path.read_bytes()[:-20])


def make_16_bit(folder):
    picture(folder / "images" / "volume-3_slice_9.png", np.zeros((8, 6), np.uint16))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change_size, r"slice_10.png: is \(8, 7\), the first slice of its scan \(8, 6\)"),
        (double_a_slice, "slice_10.png: is the second picture of one slice"),
        (cut_off_jpeg, "slice_12.jpg: the picture is cut off"),
        (cut_off_png, "slice_9.png: the picture is cut off"),
        (make_16_bit, "slice_9.png: can't be read as an 8-bit"),
    ],
)
def test_spoilt_picture_is_named(slices, spoil, said):
    spoil(slices)
    with pytest.raises(ValueError, match=said):
        layouts.read_scan(layouts.scan(slices)[0].image)


def test_window_and_channel_that_cannot_be(slices):
    image = layouts.scan(slices)[0].image
    with pytest.raises(ValueError, match="high end"):
        layouts.read_scan(image, (160, -40))
    with pytest.raises(ValueError, match="channel 3"):
        layouts.read_scan(image, (-40, 160), 3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([0, 0], [0, 0]),
        ([0, 255], [0, 2]),
        ([0, 127, 255], [0, 1, 2]),
        ([0, 128], [0, 1]),
        ([255, 255], [2, 2]),
    ],
)
def test_standard_labels(given, expected):
    labels, found = layouts.standard_labels(np.array(given, np.uint8).reshape(1, 1, -1))
    assert labels.ravel().tolist() == expected and labels.dtype == np.uint8 and found == sorted(set(given))


@pytest.mark.parametrize("given", [[0, 1, 3], [0, 1, 255], [0, 100, 200]])
def test_labels_of_unknown_meaning_are_refused(given):
    with pytest.raises(ValueError, match="labels are 0 background"):
        layouts.standard_labels(np.array(given, np.uint8).reshape(1, 1, -1))


def test_row_of_the_table_is_read_in_each_form_pandas_gives_it(tmp_path):
    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([-1, -1, 2, 1])), tmp_path / "volume-1.nii")
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4)), tmp_path / "segmentation-1.nii")
    row = {"image": str(tmp_path / "volume-1.nii"), "mask": str(tmp_path / "segmentation-1.nii")}
    table = pd.DataFrame([row | {"window_low": -40.0, "window_high": 160.0, "channel": 1}])
    for form in (table.iloc[0], next(table.itertuples()), table.iloc[0].to_dict()):
        volume, labels = layouts.read_row(form)
        assert volume.hu.shape == (5, 4, 3) and labels.sum() == 60
    assert layouts.read_row(table.assign(mask="").iloc[0])[1] is None
    assert layouts.read_row(table.assign(mask=np.nan).iloc[0])[1] is None


@pytest.mark.skipif(not (SHARED / "data" / "lits_slices").is_dir(), reason="the real slices of ../shared aren't here")
def test_real_slices_are_grouped_into_their_18_volumes():
    cases = layouts.scan(SHARED / "data" / "lits_slices")
    names = ["0", "3", "4", "5", "7", "8", "9", "10", "11", "12", "14", "15", "16", "18", "22", "23", "48", "50"]
    assert [case.name for case in cases] == [f"volume-{n}" for n in names]
    assert sum(len(layouts.pictures_of(case.image)) for case in cases) == 1722
