"""Slices that come as pictures: which belong together, which mask is whose, and what the grey values become."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.scans import pictures, reading
from helpers.scans.folder import cases_in, scan_folder
from helpers.scans.volume import HU_RANGE, flipped

SHARED = Path(__file__).parents[3] / "shared"


def picture(path, plane):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, plane)[1].tobytes())
    return path


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
    first, second = cases_in(slices)
    assert (first.name, first.layout, second.name, second.mask) == ("volume-3", "2-D slices", "volume-33", None)
    volume = reading.read_scan(first.image, (-40, 160), 1)
    assert volume.hu.shape == (4, 8, 6) and volume.axes == "LPS" and volume.spacing_mm == (1.5, 48.0, 48.0)
    # grey g of 255 stands for g * 200 / 255 - 40 HU: 2 -> -38.4, 9 -> -32.9, 10 -> -32.2, 11 -> -31.4, 255 -> 160
    assert volume.hu[:, 5, 5].tolist() == [-38, -33, -32, -31] and volume.hu[0, 0, 0] == 160
    assert reading.read_scan(first.image, (0, 255), 0).hu[0, 5, 5] == 100
    labels = reading.read_labels(first.mask, volume)
    assert labels.shape == (4, 8, 6) and np.bincount(labels[3].ravel()).tolist() == [36, 11, 1]


@pytest.mark.parametrize("numbers, z_mm", [((7, 8, 10), 1.5), ((280, 282, 286), 3.0), ((10, 20, 30), 6.0), ((5,), 1.5)])
def test_slices_are_as_far_apart_as_their_numbers_say(tmp_path, numbers, z_mm):
    """Every second slice of a scan is 3 mm from the next: networks take neighbours by mm, in dense scans from further away."""
    for z in numbers:
        picture(tmp_path / f"volume-3_slice_{z}.png", np.zeros((8, 6), np.uint8))
    volume = reading.read_scan(tmp_path / f"volume-3_slice_{numbers[0]}.png")
    assert volume.spacing_mm == (z_mm, 48.0, 48.0) and volume.affine[2, 2] == z_mm


def test_mask_missing_for_a_slice_is_named(slices):
    (slices / "masks" / "volume-3_slice_2.png").unlink()  # the first one: the case still has masks
    case = cases_in(slices)[0]
    assert case.mask is not None
    with pytest.raises(ValueError, match="volume-3_slice_2.png: has no mask"):
        reading.read_labels(case.mask, reading.read_scan(case.image))


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
    ("spoil", "message"),
    [
        (change_size, r"slice_10.png: is \(8, 7\), the first slice of its scan \(8, 6\)"),
        (double_a_slice, "slice_10.png: is the second picture of one slice"),
        (cut_off_jpeg, "slice_12.jpg: the picture is cut off"),
        (cut_off_png, "slice_9.png: the picture is cut off"),
        (make_16_bit, "slice_9.png: has 16 bits; save it with 8"),
    ],
)
def test_spoilt_picture_is_named(slices, spoil, message):
    spoil(slices)
    with pytest.raises(ValueError, match=message):
        reading.read_scan(cases_in(slices)[0].image)


def test_a_wide_window_stays_within_what_a_scanner_gives(slices):
    assert reading.read_scan(cases_in(slices)[0].image, (-3000, -1500)).hu.min() == HU_RANGE[0]


def test_window_and_channel_that_cannot_be(slices):
    image = cases_in(slices)[0].image
    with pytest.raises(ValueError, match="high end"):
        reading.read_scan(image, (160, -40))
    with pytest.raises(ValueError, match="channel 3"):
        reading.read_scan(image, (-40, 160), 3)


@pytest.mark.skipif(not (SHARED / "data" / "lits_slices").is_dir(), reason="the real slices of ../shared aren't here")
def test_real_slices_are_grouped_into_their_18_volumes():
    cases = cases_in(SHARED / "data" / "lits_slices")
    names = ["0", "3", "4", "5", "7", "8", "9", "10", "11", "12", "14", "15", "16", "18", "22", "23", "48", "50"]
    assert [case.name for case in cases] == [f"volume-{n}" for n in names]
    assert sum(len(pictures.pictures_of(case.image)) for case in cases) == 1722


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("volume-3_slice_7.jpg", ("volume-3", 7, "scan")),
        ("patient_a_slice_07.PNG", ("patient_a", 7, "scan")),
        ("volume-3_7.png", ("volume-3", 7, "scan")),
        ("segmentation-3_slice_7.png", ("volume-3", 7, "mask")),
        ("segmentation-3_7.png", ("volume-3", 7, "mask")),
        ("volume-3_slice_7_mask.png", ("volume-3", 7, "mask")),
        ("volume-3_mask_7.png", ("volume-3", 7, "mask")),
        ("segmentation-3_livermask_7.png", ("volume-3", 7, "liver")),
        ("volume-3_lesionmask_7.jpg", ("volume-3", 7, "lesion")),
        ("volume-3_slice_7_tumormask.png", ("volume-3", 7, "lesion")),
        ("IMG_2031.jpg", None),
        ("volume-3.png", None),
    ],
)
def test_name_says_scan_slice_and_part(name, expected):
    assert pictures.read_name(name) == (expected and pictures.Slice(*expected))


MIRRORS = {
    "images and masks of one name": ("images/volume-{v}_slice_{z}.jpg", "masks/volume-{v}_slice_{z}.png"),
    "fast.ai's names": ("train_images/volume-{v}_slice_{z}.jpg", "train_masks/volume-{v}_slice_{z}_mask.png"),
    "segmentation": ("ct/volume-{v}_slice_{z}.png", "labels/segmentation-{v}_slice_{z}.png"),
    "in one folder": ("volume-{v}_slice_{z}.png", "volume-{v}_slice_{z}_mask.png"),
    "spread over parts": ("part {v}/a/volume-{v}_slice_{z}.jpg", "other tree/mäsks/segmentation-{v}_slice_{z}.png"),
    "not from LiTS": ("set/images/pat{v}_slice_{z}.JPG", "set/labels/pat{v}_slice_{z}.PNG"),
}


@pytest.mark.parametrize(("image", "mask"), MIRRORS.values(), ids=MIRRORS)
def test_mirrors_name_their_slices_in_many_ways(tmp_path, image, mask):
    """Two scans of slices 9 and 10; the mask of scan v is v at slice 9 and v + 10 at slice 10, so that none is mistaken."""
    for v in (1, 2):
        for z in (9, 10):
            picture(tmp_path / image.format(v=v, z=z), np.full((8, 6), 100 * v, np.uint8))
            picture(tmp_path / mask.format(v=v, z=z), np.full((8, 6), v + 10 * (z - 9), np.uint8))
    cases, ignored = scan_folder(tmp_path)
    assert len(cases) == 2 and not ignored
    for v, case in enumerate(cases, start=1):
        volume = reading.read_scan(case.image, (0, 255))
        assert np.abs(volume.hu - 100 * v).max() <= 2 and volume.hu.shape == (2, 8, 6)
        assert reading.read_labels(case.mask, volume)[:, 0, 0].tolist() == [v, v + 10]


@pytest.mark.parametrize(("ending", "high"), [("png", 1), ("png", 255), ("jpg", 255)])
@pytest.mark.parametrize("name", ["volume-0_{z}", "volume-0_slice_{z}"])
def test_binary_masks_of_liver_and_lesion_become_labels(tmp_path, name, ending, high):
    for z in (1, 2):
        liver, lesion = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
        liver[16:48, 16:48], lesion[24:32, 24:32] = high, high if z == 2 else 0
        picture(tmp_path / "all" / f"{name.format(z=z)}.{ending}", np.full((64, 64), 90, np.uint8))
        picture(tmp_path / "all" / f"segmentation-0_livermask_{z}.{ending}", liver)
        picture(tmp_path / "all" / f"segmentation-0_lesionmask_{z}.{ending}", lesion)
    (case,) = cases_in(tmp_path)
    labels = reading.read_labels(case.mask, reading.read_scan(case.image))
    assert [np.bincount(plane.ravel(), minlength=3).tolist() for plane in labels] == [[3072, 1024, 0], [3072, 960, 64]]
    assert len(reading.files_of(case.mask)) == 4 and len(reading.files_of(case.image)) == 2
    (tmp_path / "all" / f"segmentation-0_lesionmask_2.{ending}").unlink()
    with pytest.raises(ValueError, match=f"_2.{ending}: has no lesion mask of the same slice"):
        reading.read_labels(case.mask, reading.read_scan(case.image))


def test_binary_mask_with_other_values_is_refused(tmp_path):
    picture(tmp_path / "volume-0_1.png", np.zeros((8, 6), np.uint8))
    picture(tmp_path / "segmentation-0_livermask_1.png", np.arange(48, dtype=np.uint8).reshape(8, 6))
    (case,) = cases_in(tmp_path)
    with pytest.raises(ValueError, match="a binary mask holds 0 and 1, or 0 and 255"):
        reading.read_labels(case.mask, reading.read_scan(case.image))


def test_masks_of_the_training_part_do_not_go_to_the_test_part(tmp_path):
    plane = np.zeros((8, 6), np.uint8)
    for name in ("train/masks/a_slice_1.png", "test/images/a_slice_1.png"):  # train/images/a is missing
        picture(tmp_path / name, plane)
    (case,), ignored = scan_folder(tmp_path)
    assert case.mask is None and [p.parent.name for p in ignored["pictures that aren't slices of a scan"]] == ["masks"]


def numbered(folder, numbers, grey=100):
    """A stack of pictures 512 × 384, slice z of one grey value."""
    for z in numbers:
        picture(folder / f"volume-3_slice_{z}.png", np.full((384, 512), grey, np.uint8))
    return reading.read_scan(folder / f"volume-3_slice_{numbers[0]}.png")


def test_slices_far_apart_are_no_neighbours(tmp_path):
    """Numbers 1 2 3 | 8 9 | 40: a gap of one missing slice still is a neighbour, a wider one isn't."""
    volume = numbered(tmp_path, (1, 2, 4, 8, 9, 40))
    assert volume.breaks == (3, 5) and not volume.is_scattered
    assert flipped(volume, "z").breaks == (1, 3) and flipped(volume, "x").breaks == (3, 5)


def test_single_slices_are_scattered(tmp_path):
    assert numbered(tmp_path, (1, 20, 21, 60, 90)).is_scattered  # four stretches of five slices


def test_a_picture_is_as_wide_as_a_patient_whatever_its_pixels(tmp_path):
    assert numbered(tmp_path, (1, 2)).spacing_mm == (1.5, 0.75, 0.75)
    picture(tmp_path / "small" / "volume-3_slice_1.png", np.zeros((256, 256), np.uint8))
    assert reading.read_scan(tmp_path / "small" / "volume-3_slice_1.png").spacing_mm[1:] == (1.5, 1.5)


def test_what_a_window_cuts_off_at_its_dark_end_is_fat(tmp_path):
    """Windowed again from −40 HU, fat and air must be black, although this picture ends at 0 HU."""
    plane = np.array([[0, 1, 255, 128]], np.uint8).repeat(4, 0)
    path = picture(tmp_path / "volume-3_slice_1.png", plane)
    assert reading.read_scan(path, (0, 255)).hu[0, 0].tolist() == [-100, 1, 255, 128]
    assert reading.read_scan(path, (-1000, 20)).hu[0, 0, 0] == -1000
