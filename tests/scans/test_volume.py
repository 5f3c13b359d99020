"""Axes, spacing and files: a mask must land on the voxel it was drawn on, and a damaged file must never pass for a whole one."""

import gzip
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from helpers.scans.labels import alignment, read_mask
from helpers.scans.volume import (
    LIKELY_MM,
    MADE_BY,
    body_width_mm,
    flipped,
    in_our_axes,
    is_stand_in,
    read_volume,
    to_canonical,
    to_file_axes,
    turned_over,
    volume_from_array,
    with_likely_spacing,
    write_mask,
)

SHARED = Path(__file__).parents[3] / "shared"
ORIENTATIONS = [
    "".join(codes)
    for axes in itertools.permutations(("LR", "AP", "IS"))
    for codes in itertools.product(*axes)
]  # fmt: skip
BOX_MM = {"R": 40.0, "L": 40.0, "A": 21.0, "P": 21.0, "S": 12.0, "I": 12.0}
EDGE_MM = {"R": 2.0, "L": 2.0, "A": 1.5, "P": 1.5, "S": 4.0, "I": 4.0}


def affine_of(codes, edges=EDGE_MM):
    """An axis-aligned affine whose file axes point to `codes`, with the same box of the room for all of them."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for file_axis, code in enumerate(codes):
        world = "RAS".find(code) if code in "RAS" else "LPI".find(code)
        sign = 1 if code in "RAS" else -1
        affine[world, file_axis] = sign * edges[code]
        affine[world, 3] = 10.0 if sign > 0 else 10.0 + BOX_MM[code] - edges[code]
    return affine


def shape_of(codes):
    return tuple(round(BOX_MM[c] / EDGE_MM[c]) for c in codes)


def saved(path, array, affine=None):
    affine = np.diag([-2.0, -1.5, 4.0, 1.0]) if affine is None else affine
    nib.save(nib.Nifti1Image(array, affine, dtype=array.dtype), path)
    return path


def room(path):
    """{rounded world position in RAS mm: value} of a file, computed from the affine alone."""
    image = nib.load(path)
    index = np.indices(image.shape).reshape(3, -1)
    places = np.rint(image.affine[:3, :3] @ index + image.affine[:3, 3:]).astype(int).T
    return dict(zip(map(tuple, places), np.asarray(image.dataobj).ravel().tolist(), strict=True))


def test_there_are_48_orientations():
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_mask_written_for_a_scan_comes_back_bit_exact_on_its_grid(tmp_path, codes):
    rng = np.random.default_rng(3)
    array = rng.integers(-1000, 1000, shape_of(codes)).astype(np.int16)
    volume = read_volume(saved(tmp_path / "scan.nii.gz", array, affine_of(codes)))
    assert volume.axes == codes
    assert volume.hu.shape == (3, 14, 20)
    assert volume.spacing_mm == pytest.approx((4.0, 1.5, 2.0))
    mask = rng.integers(0, 3, volume.hu.shape).astype(np.uint8)
    write_mask(mask, volume, tmp_path / "mask.nii.gz")
    written = nib.load(tmp_path / "mask.nii.gz")
    assert written.shape == array.shape and written.get_data_dtype() == np.uint8
    assert np.array_equal(written.affine, nib.load(tmp_path / "scan.nii.gz").affine)
    assert np.array_equal(read_mask(tmp_path / "mask.nii.gz", volume), mask)
    assert np.array_equal(to_file_axes(volume.hu, volume.affine), array)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_shows_the_same_picture(tmp_path, codes):
    """One bright voxel at the patient's right, front, foot end: our first voxel, whatever the file's axes."""
    array = np.zeros(shape_of(codes), np.int16)
    towards = {"R": -1, "L": 0, "A": -1, "P": 0, "S": 0, "I": -1}  # index of the right, front, foot end
    array[tuple(towards[c] for c in codes)] = 500
    hu = read_volume(saved(tmp_path / "scan.nii.gz", array, affine_of(codes))).hu
    assert np.argwhere(hu == 500).tolist() == [[0, 0, 0]]


def test_canonical_agrees_with_nibabels_own_reorientation():
    affine = affine_of("PSR")
    array = np.arange(np.prod(shape_of("PSR")), dtype=np.int16).reshape(shape_of("PSR"))
    image = nib.Nifti1Image(array, affine).as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt("LPS"))
    )
    assert np.array_equal(to_canonical(array, affine), np.asarray(image.dataobj).transpose(2, 1, 0))


def test_oblique_scan_keeps_its_spacing_and_its_affine(tmp_path):
    turn = np.deg2rad(20)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([-0.8, -0.7, 5.0])
    volume = read_volume(saved(tmp_path / "scan.nii", np.zeros((6, 5, 4), np.int16), affine))
    assert volume.spacing_mm == pytest.approx((5.0, 0.7, 0.8), abs=1e-6)
    mask = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    write_mask(mask, volume, tmp_path / "mask.nii")
    assert np.array_equal(nib.load(tmp_path / "mask.nii").affine, volume.affine)
    assert np.array_equal(read_mask(tmp_path / "mask.nii", volume), mask)


def test_nifti_2_big_endian_and_trailing_axis(tmp_path):
    array = np.random.default_rng(1).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    affine = np.diag([-2.0, -1.5, 4.0, 1.0])
    nib.save(nib.Nifti2Image(array, affine), tmp_path / "two.nii.gz")
    nib.save(nib.Nifti1Image(array[..., None], affine), tmp_path / "four.nii.gz")
    swapped = nib.Nifti1Header(endianness=">")
    swapped.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(array, affine, swapped), tmp_path / "swapped.nii")
    for name in ("two.nii.gz", "four.nii.gz", "swapped.nii"):
        volume = read_volume(tmp_path / name)
        assert np.array_equal(volume.hu, array.transpose(2, 1, 0)) and volume.hu.dtype.isnative
        assert volume.file_shape == (4, 5, 6)


@pytest.mark.parametrize("flip", ["x", "yz", "xyz"])
def test_flipped_scan_gives_its_mask_back_on_the_files_own_voxels(tmp_path, flip):
    """A bright voxel found after the flip is marked in the mask; in the file the mark lies on that very voxel."""
    array = np.zeros(shape_of("PSR"), np.int16)
    array[2, 1, 3] = 500
    straight = read_volume(saved(tmp_path / "scan.nii.gz", array, affine_of("PSR")))
    volume = flipped(straight, flip)
    assert np.array_equal(volume.hu, np.flip(straight.hu, ["zyx".index(axis) for axis in flip])) and volume.flip == flip
    write_mask((volume.hu == 500).astype(np.uint8), volume, tmp_path / "mask.nii.gz")
    written = nib.load(tmp_path / "mask.nii.gz")
    assert np.argwhere(np.asarray(written.dataobj)).tolist() == [[2, 1, 3]]
    assert np.array_equal(written.affine, volume.affine)
    assert np.array_equal(read_mask(tmp_path / "mask.nii.gz", volume) == 1, volume.hu == 500)
    again = flipped(volume, flip)
    assert again.flip == "" and np.array_equal(again.hu, straight.hu)


def test_flip_of_no_axis_is_refused():
    for wrong in ("a", "xx", "left"):
        with pytest.raises(ValueError, match="use x"):
            turned_over(np.zeros((1, 1, 1)), wrong)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64, np.uint64, np.float32, np.float64, ">i4", ">f8"])
def test_values_outside_tissue_are_clipped_and_counted(tmp_path, dtype):
    low = 0 if np.dtype(dtype).kind == "u" else -2000
    volume = read_volume(saved(tmp_path / "scan.nii", np.array([[[low, 60, 5000, 40000]]], dtype)))
    assert volume.hu.ravel().tolist() == [max(low, -1100), 60, 4000, 4000]
    assert volume.clipped == (2 if low == 0 else 3)


@pytest.mark.parametrize(
    ("array", "affine", "message"),
    [
        (np.full((3, 3, 3), np.nan, np.float32), None, "27 voxels are NaN"),
        (np.zeros((3, 3, 3, 2), np.int16), None, "one 3-D scan"),
        (np.zeros((3, 3, 3), np.complex64), None, "no Hounsfield"),
        (np.zeros((3, 3, 3), np.int16), np.diag([1.0, 1.0, 500.0, 1.0]), "absurd"),
    ],
    ids=["nan", "4-D", "complex", "absurd"],
)
def test_what_is_no_scan_is_refused(tmp_path, array, affine, message):
    image = nib.Nifti1Image(array, np.eye(4))
    image.header.set_sform(np.eye(4) if affine is None else affine, code=1)
    image.header.set_qform(None, code=0)
    nib.save(nib.Nifti1Image(array, None, image.header), tmp_path / "scan.nii.gz")
    with pytest.raises(ValueError, match=message):
        read_volume(tmp_path / "scan.nii.gz")


@pytest.fixture
def volume(tmp_path):
    array = np.random.default_rng(5).integers(-200, 200, shape_of("LPS")).astype(np.int16)
    return read_volume(saved(tmp_path / "volume.nii.gz", array, affine_of("LPS")))


def test_float_labels_off_by_rounding_are_not_cut_to_zero(tmp_path, volume):
    labels = np.random.default_rng(0).integers(0, 3, volume.file_shape)
    saved(tmp_path / "mask.nii.gz", (labels * 0.9999).astype(np.float64), volume.affine)
    assert np.array_equal(read_mask(tmp_path / "mask.nii.gz", volume), labels.transpose(2, 1, 0))


def test_mask_with_identity_affine_is_taken_voxel_by_voxel(tmp_path, volume):
    labels = np.random.default_rng(0).integers(0, 3, volume.file_shape).astype(np.uint8)
    saved(tmp_path / "mask.nii.gz", labels, np.eye(4))
    assert np.array_equal(read_mask(tmp_path / "mask.nii.gz", volume), labels.transpose(2, 1, 0))
    assert alignment(labels.shape, np.eye(4), volume) == "voxels"


@pytest.mark.parametrize("codes", ["RAS", "PSR", "SLA", "LAS"])
def test_mask_in_another_axis_order_is_brought_over_by_its_affine(tmp_path, volume, codes):
    """Compared in the room: each mm position has one label, whichever file says so."""
    labels = np.random.default_rng(0).integers(0, 3, volume.hu.shape).astype(np.uint8)
    write_mask(labels, volume, tmp_path / "same.nii.gz")
    saved(tmp_path / "other.nii.gz", to_file_axes(labels, affine_of(codes)), affine_of(codes))
    assert room(tmp_path / "same.nii.gz") == room(tmp_path / "other.nii.gz")
    assert np.array_equal(read_mask(tmp_path / "other.nii.gz", volume), labels)
    assert alignment(shape_of(codes), affine_of(codes), volume) == "axes"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((20, 14, 4), np.uint8), "don't belong together"),
        (np.full((20, 14, 3), 0.5, np.float32), "between whole labels"),
        (np.full((20, 14, 3), -1, np.int16), "labels are 0 to 255"),
        (np.full((20, 14, 3), np.inf, np.float32), "NaN or infinite"),
        (np.zeros((20, 14, 3), np.complex64), "no labels"),
    ],
    ids=["shape", "between", "negative", "infinite", "complex"],
)
def test_what_is_no_mask_is_refused(tmp_path, volume, array, message):
    saved(tmp_path / "mask.nii.gz", array, volume.affine)
    with pytest.raises(ValueError, match=message):
        read_mask(tmp_path / "mask.nii.gz", volume)


def test_writing_a_mask_refuses_values_that_would_wrap_and_leaves_nothing(tmp_path, volume):
    for wrong in (np.full(volume.hu.shape, 256), np.full(volume.hu.shape, 0.5), np.zeros((1, 2, 3), np.uint8)):
        with pytest.raises(ValueError):
            write_mask(wrong, volume, tmp_path / "out" / "mask.nii.gz")
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.skipif(not (SHARED / "data" / "true_hu").is_dir(), reason="the real scan of ../shared isn't here")
def test_true_hu_scan_is_read_upright():
    """The scan runs from the hips to the liver: spine behind, liver on the patient's right and at the head's end."""
    true_hu = SHARED / "data" / "true_hu"
    volume = read_volume(true_hu / "ct.nii.gz")
    assert volume.axes == "RAS" and volume.hu.shape == (112, 101, 122) and volume.spacing_mm == pytest.approx((3, 3, 3), abs=0.01)
    bone = np.argwhere(volume.hu > 400)
    liver = np.argwhere(read_mask(true_hu / "liver.nii.gz", volume) > 0)
    assert bone[:, 1].mean() > volume.hu.shape[1] / 2
    assert liver[:, 2].mean() < volume.hu.shape[2] / 2
    assert liver[:, 0].mean() > volume.hu.shape[0] * 2 / 3


@pytest.mark.parametrize("name, axes", [("m.nii", "LPS"), ("m.nii.gz", "RSA"), ("m.nii.gz", "IPR")])
def test_a_mask_written_plane_by_plane_is_nibabels_own_file(tmp_path, name, axes):
    order = nib.orientations.axcodes2ornt(axes)
    affine = nib.orientations.inv_ornt_aff(nib.orientations.ornt_transform(order, nib.io_orientation(np.eye(4))), (5, 6, 7))
    scan = volume_from_array(np.zeros((5, 6, 7), np.int16), affine)
    mask = np.random.default_rng(1).integers(0, 3, scan.hu.shape).astype(np.uint8)
    write_mask(mask, scan, tmp_path / name)
    theirs = nib.Nifti1Image(np.ascontiguousarray(to_file_axes(mask, affine)), affine)
    theirs.header.set_xyzt_units("mm")
    theirs.header["descrip"] = MADE_BY
    nib.save(theirs, tmp_path / f"theirs-{name}")
    unpack = gzip.decompress if name.endswith("gz") else bytes
    assert unpack((tmp_path / name).read_bytes()) == unpack((tmp_path / f"theirs-{name}").read_bytes())


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint16, np.float64])
def test_a_scan_read_by_slabs_is_the_scan(kind):
    """40 slices are three slabs; values beyond the range lie in the last one."""
    array = np.random.default_rng(2).integers(0, 3000, (4, 5, 40)).astype(kind)
    array[1, 2, 39] = 9000
    scan = volume_from_array(array, np.diag([-1.0, 1.0, 2.0, 1.0]))
    assert scan.clipped == 1 and scan.hu.flags.c_contiguous
    assert np.array_equal(scan.hu, np.minimum(array, 4000)[:, ::-1].transpose(2, 1, 0))


def test_a_file_in_our_axes_holds_the_same_array_turned():
    hu = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    array = volume_from_array(hu.transpose(2, 1, 0)[::-1], np.diag([0.5, -1.0, 2.0, 1.0]))  # a file whose x runs the other way
    plain = in_our_axes(array.hu, array.spacing_mm)
    assert plain.spacing_mm == (2.0, 1.0, 0.5) and nib.aff2axcodes(plain.affine) == ("L", "P", "S")
    assert np.array_equal(to_file_axes(plain.hu, plain.affine), array.hu.transpose(2, 1, 0))


@pytest.mark.parametrize(("pixels", "width", "edge_mm", "stand_in"), [
    (512, 314, 1.0, False),  # truly 1 mm: a body as bodies are, whatever the number of pixels
    (512, 450, 1.0, True),  # 3D-IRCADb in LiTS
    (500, 450, 1.0, True),  # cropped or padded, so no scanner's own matrix
    (768, 700, 1.0, True),
    (256, 210, 1.0, False),
    (512, 450, 0.75, False),
])
@pytest.mark.parametrize("air", [-1000, -40])  # Hounsfield units, and a window's
def test_one_millimetre_is_believed_by_the_bodys_width(pixels, width, edge_mm, stand_in, air):
    hu = np.full((5, 40, pixels), air, np.int16)
    hu[:, 5:35, 20 : 20 + width] = 60
    volume = in_our_axes(hu, (edge_mm,) * 3)
    assert body_width_mm(hu, volume.spacing_mm) == pytest.approx(width * edge_mm, rel=0.03)
    assert is_stand_in(volume.spacing_mm, hu) == stand_in
    assert with_likely_spacing(volume).spacing_mm == (LIKELY_MM if stand_in else (edge_mm,) * 3)


def test_without_a_scan_one_millimetre_is_a_stand_in():
    assert is_stand_in((1, 1, 1)) and not is_stand_in((1, 1, 1.5)) and not is_stand_in((2, 0.7, 0.7))
    assert body_width_mm(np.full((3, 8, 8), -1000, np.int16), (1, 1, 1)) == 0
