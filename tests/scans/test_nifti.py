"""A damaged file must never pass for a whole one, and what is wrong with it has a name."""

import gzip
import math
import struct
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from helpers.scans import nifti
from helpers.scans.findings import FINDINGS, Unfit
from helpers.scans.volume import read_volume

AFFINE = np.diag([-2.0, -1.5, 4.0, 1.0])


def saved(path, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def noise(shape=(20, 20, 10)):
    return np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)


def test_slope_and_intercept_are_applied(tmp_path):
    image = nib.Nifti1Image(np.array([[[0, 1024, 2048]]], np.int16), np.diag([-1.0, -1.0, 3.0, 1.0]))
    image.header.set_slope_inter(1.0, -1024.0)
    nib.save(image, tmp_path / "scaled.nii")
    array, *_ = nifti.load(tmp_path / "scaled.nii")
    assert array.dtype == np.float32  # float64 would take four times the memory of the file
    assert read_volume(tmp_path / "scaled.nii").hu.ravel().tolist() == [-1024, 0, 1024]


@pytest.mark.parametrize("kind", ["i1", "u1", "<i2", ">i2", "<u2", ">u4", "<i8", "<f4", ">f8"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_every_type_is_read_as_nibabel_reads_it(tmp_path, kind, ending):
    array = np.random.default_rng(1).integers(0, 100, (3, 4, 5)).astype(kind)
    header = nib.Nifti1Header(endianness=">" if kind.startswith(">") else "<")
    header.set_data_dtype(array.dtype)
    nib.save(nib.Nifti1Image(array, AFFINE, header), tmp_path / f"a{ending}")
    read, affine, notes = nifti.load(tmp_path / f"a{ending}")
    theirs = nib.load(tmp_path / f"a{ending}")
    assert np.array_equal(read, np.asarray(theirs.dataobj)) and read.dtype == theirs.get_data_dtype()
    assert np.array_equal(affine, theirs.affine) and notes == ()


def crc_of(packed, wrong):
    return packed[:-8] + bytes([packed[-8] ^ wrong]) + packed[-7:]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (lambda b: b[: len(b) // 2], "truncated", "stop after 4,"),  # half of the 8,352 bytes: noise packs evenly
        (lambda b: b[:-9], "truncated", "100%"),  # all voxels are there, the checksum isn't
        (lambda b: b[:30], "truncated", "stop after"),
        (lambda b: crc_of(b, 255), "damaged", "CRC"),
        (lambda b: b[:4000] + bytes(50) + b[4050:], "damaged", "damaged"),
        (lambda b: b"", "empty-file", "0 bytes"),
        (lambda b: b"\n<!DOCTYPE html><html>moved</html>", "web-page", "web page"),
        (lambda b: b"x" * 2000, "not-nifti", "it begins with b'xxxxxxxx'"),
        (lambda b: gzip.compress(b"x" * 2000), "not-nifti", "it begins with b'xxxxxxxx'"),
        (lambda b: gzip.compress(gzip.decompress(b)[:-100]), "truncated", "8,252 of 8,352 bytes, 98%"),  # whole gzip
        (lambda b: gzip.compress(gzip.decompress(b)[:344] + b"ni1\0" + gzip.decompress(b)[348:]), "not-nifti", "a pair"),
    ],
)  # fmt: skip
def test_damaged_file_is_named_with_what_is_wrong(tmp_path, change, code, message):
    path = saved(tmp_path / "scan.nii.gz", noise())
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(Unfit, match=message) as raised:
        read_volume(path)
    assert raised.value.code == code and str(path) in str(raised.value)


def test_nibabel_alone_would_have_taken_the_wrong_checksum(tmp_path):
    """Why files are read to their end here; when this fails, nibabel has learned it."""
    path = saved(tmp_path / "scan.nii.gz", noise())
    path.write_bytes(crc_of(path.read_bytes(), 255))
    assert np.asarray(nib.load(path).dataobj).shape == (20, 20, 10)


def test_whole_data_in_an_unusual_wrapping_are_read(tmp_path):
    """Two gzip members, padding behind the last, a wrong ending: nothing is lost, and the ending is named."""
    plain = saved(tmp_path / "plain.nii", noise()).read_bytes()
    wrapped = {
        "two.nii.gz": gzip.compress(plain[:5000]) + gzip.compress(plain[5000:]),
        "padded.nii.gz": gzip.compress(plain) + bytes(99),
        "packed.nii": gzip.compress(plain), "unpacked.nii.gz": plain,
    }  # fmt: skip
    for name, data in wrapped.items():
        (tmp_path / name).write_bytes(data)
        array, _, notes = nifti.load(tmp_path / name)
        assert np.array_equal(array, noise())
        assert [code for code, _ in notes] == (["wrong-ending"] if "packed" in name else [])
    assert read_volume(tmp_path / "packed.nii").notes[0][1] == "packed.nii is compressed; name it .nii.gz"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda first, second: first + second[: len(second) // 2], "truncated"),
        (lambda first, second: first + crc_of(second, 255), "damaged"),
        (lambda first, second: crc_of(first, 255) + second, "damaged"),
        (lambda first, second: first + second[:-1] + bytes([second[-1] ^ 1]), "damaged"),  # the length that it ends with
        (lambda first, second: first + b"\x1f\x8b\x07" + second[3:], "damaged"),  # an unknown method
        (lambda first, second: first, "truncated"),
        (lambda first, second: first + second + b"\x1f\x8b\x08", "truncated"),  # a third member that only begins
        (lambda first, second: first + second + b"what a server appended", ""),
    ],
)
def test_every_gzip_member_is_read_to_its_checksum(tmp_path, change, code):
    plain = saved(tmp_path / "plain.nii", noise()).read_bytes()
    path = tmp_path / "two.nii.gz"
    path.write_bytes(change(gzip.compress(plain[:5000]), gzip.compress(plain[5000:])))
    if code:
        with pytest.raises(Unfit) as raised:
            nifti.load(path)
        assert raised.value.code == code
    else:
        assert np.array_equal(nifti.load(path)[0], noise())


def test_a_file_that_unfolds_far_beyond_its_header_costs_no_memory(tmp_path):
    """Behind 8,352 bytes of scan lie 200 MB of zeros, packed to 0.2; they are read to their checksum and not kept."""
    plain = saved(tmp_path / "plain.nii", noise()).read_bytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(plain + bytes(200_000_000), 6))
    tracemalloc.start()
    array, *_ = nifti.load(tmp_path / "bomb.nii.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(array, noise()) and peak < 8_000_000


def test_truncated_uncompressed_file(tmp_path):
    path = saved(tmp_path / "scan.nii", noise())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(Unfit, match=r"8,342 of 8,352 bytes"):
        read_volume(path)


def test_a_header_that_promises_terabytes_costs_no_memory(tmp_path):
    image = nib.Nifti1Image(noise(), AFFINE)
    raw = bytearray(gzip.decompress(saved(tmp_path / "scan.nii.gz", noise()).read_bytes()))
    raw[42:48] = struct.pack("<3h", 30000, 30000, 30000)
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    with pytest.raises(Unfit, match="54,000,000,000,352 bytes") as raised:
        nifti.load(tmp_path / "scan.nii.gz")
    assert raised.value.code == "truncated" and image.shape == (20, 20, 10)


def test_what_cannot_be_opened_is_told_apart(tmp_path, monkeypatch):
    (tmp_path / "folder.nii.gz").mkdir()
    with pytest.raises(Unfit, match="is a folder, no file") as raised:
        nifti.load(tmp_path / "folder.nii.gz")
    assert raised.value.code == "no-file"
    with pytest.raises(Unfit) as raised:
        nifti.load(tmp_path / "nobody.nii.gz")
    assert raised.value.code == "missing"

    def closed(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(nifti, "open", closed, raising=False)  # root may read everything, so rights alone don't tell
    with pytest.raises(Unfit, match="file.nii: Permission denied") as raised:
        nifti.load(saved(tmp_path / "file.nii", noise()))
    assert raised.value.code == "no-access"


def with_header(path, **fields):
    """A scan of 3 × 3 × 3 whose header is written as given: sform and qform (matrices), the three of pixdim, any field."""
    header = nib.Nifti1Header()
    header.set_data_shape((3, 3, 3))
    header.set_data_dtype(np.int16)
    header["pixdim"][1:4] = (2, 1.5, 4)
    header["magic"], header["vox_offset"] = b"n+1", 352
    for form in ("qform", "sform"):
        if form in fields:
            getattr(header, f"set_{form}")(fields[form], code=1)
    if "pixdim" in fields:
        header["pixdim"][1:4] = fields.pop("pixdim")
    for name in fields.keys() - {"sform", "qform"}:
        header[name] = fields[name]
    path.write_bytes(header.binaryblock + bytes(4) + np.zeros(27, np.int16).tobytes())
    return path


def turned(degrees, axis=(0, 0, 1)):
    affine = AFFINE.copy()
    affine[:3, :3] = nib.quaternions.angle_axis2mat(np.deg2rad(degrees), axis) @ AFFINE[:3, :3]
    return affine


def sheared(degrees):
    """Slices pushed along the second axis: a gantry tilt about the first."""
    affine = AFFINE.copy()
    affine[:3, 2] = [0, 4 * math.sin(math.radians(degrees)), 4 * math.cos(math.radians(degrees))]
    return affine


NAN = np.where(np.eye(4) > 0, np.nan, 0.0)


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"sform": NAN}, "affine-nan", "NaN"),
        ({"sform": np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])}, "affine-singular", "singular"),
        ({"sform": np.diag([1.0, 1.0, 0.0, 1.0])}, "spacing-absurd", "1 × 1 × 0 mm"),
        ({"sform": np.diag([1.0, 1.0, 500.0, 1.0])}, "spacing-absurd", "1 × 1 × 500 mm"),
        ({"sform": np.diag([0.0007, 0.0007, 0.005, 1.0])}, "spacing-absurd", "0.0007"),  # metres
        ({"pixdim": (2, 0, 4)}, "spacing-absurd", "2 × 0 × 4 mm"),
        ({"pixdim": (2, np.nan, 4)}, "affine-nan", "NaN"),
        ({"qform": AFFINE, "pixdim": (2, 0, 4)}, "spacing-absurd", "2 × 0 × 4 mm"),
        ({"qform": AFFINE, "quatern_d": 1.1}, "affine-nan", "NaN"),
        ({"sform": np.zeros((4, 4))}, "spacing-absurd", "0 × 0 × 0 mm"),
        ({"vox_offset": 348}, "not-nifti", "within its header, at byte 348"),
        ({"vox_offset": np.nan}, "not-nifti", "NaN"),
        ({"magic": b"n+7"}, "not-nifti", "it begins with"),
        ({"datatype": 999}, "not-nifti", "data code 999 not recognized"),
        ({"sform": sheared(20)}, "sheared", "a tilt of 20.0°"),
    ],
)
def test_grid_that_cannot_be_is_refused(tmp_path, fields, code, message):
    with pytest.raises(Unfit, match=message) as raised:
        read_volume(with_header(tmp_path / "scan.nii", **fields))
    assert raised.value.code == code and "scan.nii" in str(raised.value)


@pytest.mark.parametrize("affine", [AFFINE, turned(20), turned(35, (1, 0, 0)), sheared(0.5), np.diag([0.2, 0.2, 10.0, 1.0])])
def test_sound_grids_raise_nothing(tmp_path, affine):
    """Oblique ones, a tilt within rounding, and voxels fifty times as high as wide among them."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    assert read_volume(with_header(tmp_path / "scan.nii", sform=affine, pixdim=edges)).notes == ()


def test_missing_orientation_is_taken_from_the_spacing_and_named(tmp_path):
    volume = read_volume(with_header(tmp_path / "scan.nii"))
    assert volume.axes == "LAS" and volume.spacing_mm == (4.0, 1.5, 2.0)
    assert volume.notes == (("no-affine", "sform_code and qform_code are 0, pixdim is 2 × 1.5 × 4"),)
    assert np.array_equal(volume.affine, nib.load(tmp_path / "scan.nii").affine)  # as other programs will show it


def test_two_grids_in_one_header_are_named_and_the_sform_is_taken(tmp_path):
    other = np.diag([-2.0, -1.5, 3.0, 1.0])  # two steps from first to last slice: 2 × 1 mm apart
    volume = read_volume(with_header(tmp_path / "scan.nii", sform=AFFINE, qform=other))
    assert volume.spacing_mm == (4.0, 1.5, 2.0)
    assert volume.notes == (("forms-differ", "sform and qform differ, corners by up to 2 mm; sform is used"),)
    volume = read_volume(with_header(tmp_path / "scan.nii", sform=AFFINE, pixdim=(1, 1, 1)))
    assert volume.notes == (("forms-differ", "pixdim says 1 × 1 × 1 mm, sform 2 × 1.5 × 4 mm; sform is used"),)
    assert read_volume(with_header(tmp_path / "scan.nii", sform=AFFINE, qform=AFFINE)).notes == ()


QFORM = {"qform": AFFINE, "pixdim": (2, 1.5, 4)}


@pytest.mark.parametrize(
    ("fields", "code", "note"),
    [
        (QFORM | {"qfac": 0}, "header-mended", "setting qfac to 1"),
        (QFORM | {"qfac": 2}, "header-mended", "setting qfac to 1"),
        (QFORM | {"qfac": np.nan}, "header-mended", "setting qfac to 1"),
        (QFORM | {"quatern_d": 1.000001}, "header-mended", "quaternion is 1.000001 long; brought to 1"),
        (QFORM | {"quatern_d": 1.009}, "header-mended", "quaternion is 1.009 long"),
        (QFORM | {"pixdim": (2, -1.5, 4)}, "header-mended", "abs of pixdim"),
        (QFORM | {"sform": np.zeros((4, 4))}, "forms-differ", "sform: its affine is absurd, edges of 0 × 0 × 0 mm; qform is used"),
        (QFORM | {"sform": NAN}, "forms-differ", "sform: its affine holds NaN or infinite values; qform is used"),
        ({"sform": AFFINE, "qform": AFFINE, "quatern_d": 1.5}, "forms-differ", "qform: its affine holds NaN or infinite values; sform"),
        (QFORM | {"sform_code": 7}, "header-mended", "sform_code 7 not valid"),
        (QFORM | {"sizeof_hdr": 0}, "header-mended", "sizeof_hdr should be 348"),
        (QFORM | {"scl_slope": 1, "scl_inter": np.nan}, "header-mended", "its intercept is nan; taken as 0"),
        (QFORM | {"scl_slope": 1, "scl_inter": -np.inf}, "header-mended", "its intercept is -inf; taken as 0"),
    ],
)
def test_headers_with_a_value_that_cannot_be_are_read_with_a_note(tmp_path, fields, code, note):
    """To the grid and the values that nibabel gives, where it gives any, and to the ones that were meant where it raises."""
    path, fields = tmp_path / "scan.nii", dict(fields)
    qfac, size = fields.pop("qfac", 1), fields.pop("sizeof_hdr", 348)
    data = bytearray(with_header(path, **fields).read_bytes())
    data[:4], data[76:80] = struct.pack("<i", size), struct.pack("<f", qfac)
    path.write_bytes(data)
    volume = read_volume(path)
    assert [(c, note in text) for c, text in volume.notes] == [(code, True)], volume.notes
    assert np.allclose(volume.affine, AFFINE, atol=1e-3) and (volume.hu == 0).all()
    try:
        theirs = nib.load(path)
    except Exception:  # it raises a handful of types for the quaternion and the intercept
        return
    assert code == "forms-differ" or np.allclose(theirs.affine, volume.affine)


def test_a_negative_spacing_without_forms_is_its_amount(tmp_path):
    volume = read_volume(with_header(tmp_path / "scan.nii", pixdim=(2, -1.5, 4)))
    assert [code for code, _ in volume.notes] == ["header-mended", "no-affine"] and volume.spacing_mm == (4.0, 1.5, 2.0)
    assert np.array_equal(volume.affine, nib.load(tmp_path / "scan.nii").affine)


def test_the_header_alone_is_read_by_the_same_rules(tmp_path):
    path = saved(tmp_path / "scan.nii.gz", noise((60, 60, 60)))  # more than the bytes that are looked at
    header, notes = nifti.read_header(path)
    assert header.get_data_shape() == (60, 60, 60) and notes == []
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(Unfit, match="scan.nii.gz"):
        nifti.read_header(path)


def test_codes_are_rows_of_the_table():
    for code in ("missing", "no-access", "truncated", "sheared"):
        assert FINDINGS[code]
    error = Unfit("truncated", "a.nii: …")
    import pickle

    assert pickle.loads(pickle.dumps(error)).code == "truncated"
