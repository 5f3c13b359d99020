"""Files of a DICOM folder: each is in a case or named, slices that make up one grid are one case, strays are set aside."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
from corpus import AFFINE, SHAPE, body
from dicom_files import write_series
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from helpers.intake import quality_control
from helpers.scans import kinds, reading, series
from helpers.scans.folder import scan_folder

HU, LABELS = body(2)
N = SHAPE[2]


def shifted(z_mm):
    return AFFINE + z_mm * np.eye(4)[2][:, None] * np.eye(4)[3]


def examined(root):
    """(rows of all cases, reasons -> names of ignored files, a row of which no file is forgotten)."""
    cases, ignored = scan_folder(root)
    taken = [path for case in cases for path in (*reading.files_of(case.image), *filter(None, [case.mask]))]
    named = [path for files in ignored.values() for path in files]
    everything = sorted(path for path in root.rglob("*") if path.is_file())
    assert sorted(taken + named) == everything
    return [quality_control.examine(case)[0] for case in cases], {why: [p.name for p in files] for why, files in ignored.items()}


# ---- slices that aren't taken ----


def without_preamble(path):
    path.write_bytes(path.read_bytes()[132:])


def without_meta(path):
    ds = pydicom.dcmread(path)
    ds.file_meta, ds.preamble = pydicom.dataset.FileMetaDataset(), None
    pydicom.dcmwrite(path, ds, implicit_vr=True, little_endian=True)


@pytest.mark.parametrize("spoil", [without_preamble, without_meta])
@pytest.mark.parametrize("name", ["IM{:04d}", "1.2.840.{}", "{}.ima", "scan{}.dcm"])
def test_slices_without_preamble_are_read(tmp_path, spoil, name):
    for path in write_series(tmp_path / "p", HU, AFFINE, [name.format(k) for k in range(N)])[:6]:
        spoil(path)
    ((row,), ignored) = examined(tmp_path)
    assert ignored == {} and np.array_equal(reading.read_row_scan(row).hu, HU.transpose(2, 1, 0))


def edited(**tags):
    def spoil(path):
        ds = pydicom.dcmread(path)
        for tag, value in tags.items():
            setattr(ds, tag, value)
        ds.save_as(path)

    return spoil


LEFT_OUT = {
    "secondary captures": (edited(SOPClassUID=SecondaryCaptureImageStorage), "slices-left-out", "DICOM, Secondary Capture Image Storage"),
    "of another series": (edited(SOPClassUID=SecondaryCaptureImageStorage, SeriesInstanceUID="1.2"), "slices-left-out", "Secondary"),
    "localisers": (edited(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "slices-left-out", "DICOM, localisers of a CT"),
    "of 0 bytes": (lambda path: path.write_bytes(b""), "slices-unreadable", "empty (0 bytes)"),
    "of zeros": (lambda path: path.write_bytes(bytes(9000)), "slices-unreadable", "no DICOM inside"),
    "without series and place": (edited(SeriesInstanceUID="", ImageOrientationPatient=None), "slices-unreadable", "neither its series"),
    "web pages": (lambda path: path.write_bytes(b"<html>Please log in</html>"), "slices-unreadable", "no DICOM inside"),
}


@pytest.mark.parametrize("which", [range(5), range(N - 3, N)])
@pytest.mark.parametrize("kind", LEFT_OUT)
def test_a_scan_that_lost_slices_at_an_end_says_so(tmp_path, kind, which):
    spoil, code, why = LEFT_OUT[kind]
    paths = write_series(tmp_path / "p", HU, AFFINE, [f"IM{k:03d}" for k in range(N)])
    for k in which:
        spoil(paths[k])
    (row,), ignored = examined(tmp_path)
    assert row["verdict"] == "repaired" and row["findings"].split() == [code, "no-labels"]
    assert f"{len(which)} × " in row["reason"] and why in row["reason"] and paths[which[0]].name in row["reason"]
    assert [path.name for path in paths[which[0] : which[-1] + 1]] in ignored.values()


def test_first_slices_that_are_gone_are_missed(tmp_path):
    for path in write_series(tmp_path / "p", HU, AFFINE)[:6]:
        path.unlink()
    (row,), _ = examined(tmp_path)
    assert row["findings"].split() == ["begins-late", "no-labels"] and "InstanceNumber runs from 7 to 20" in row["reason"]


def test_a_text_beside_the_slices_is_none_of_them(tmp_path):
    write_series(tmp_path / "p", HU, AFFINE, [f"IM{k}" for k in range(N)])
    for name in ("README", "VERSION2", "report.pdf", "empty.txt"):
        (tmp_path / "p" / name).write_bytes(b"" if name.startswith("e") else b"about the scan")
    (row,), ignored = examined(tmp_path)
    assert row["verdict"] == "ok" and ignored == {kinds.OTHER: ["README", "VERSION2", "report.pdf"], series.EMPTY: ["empty.txt"]}


@pytest.mark.parametrize("name", ["a.npy", "a.h5", "a.tif", "a.img", "a.npz", "a.mat", "a.gz", "DICOMDIR", "a.bmp", "a", "a.txt"])
def test_a_folder_without_scans_names_what_it_holds(tmp_path, name):
    (tmp_path / name).write_bytes(b"some bytes")
    with pytest.raises(ValueError, match=rf"there is 1 × .+ \({name}\)"):
        scan_folder(tmp_path)


# ---- series that are one scan, and strays ----


def each(ds, k):
    ds.SeriesInstanceUID = generate_uid()


def uid_of(part, number=False):
    def change(ds, k):
        ds.SeriesInstanceUID = f"1.2.{part(k)}"
        ds.SeriesNumber = part(k) if number else 1

    return change


ONE_GRID = {
    "a UID a slice": each,
    "a UID and number a slice": uid_of(lambda k: k, number=True),
    "halves": uid_of(lambda k: k // 10),
    "halves with numbers": uid_of(lambda k: k // 10, number=True),
    "thirds": uid_of(lambda k: k // 7, number=True),
    "every second slice": uid_of(lambda k: k % 2),
    "at random": uid_of(lambda k: k * k % 7 % 3),
    "one slice": uid_of(lambda k: int(k == 11)),
    "the last slice": uid_of(lambda k: int(k == N - 1)),
}


@pytest.mark.parametrize("kind", ONE_GRID)
def test_slices_that_make_up_one_grid_are_one_case(tmp_path, kind):
    write_series(tmp_path / "p7", HU, AFFINE, change=ONE_GRID[kind])
    nib.save(nib.Nifti1Image(LABELS, AFFINE), tmp_path / "segmentation-p7.nii.gz")
    (row,), ignored = examined(tmp_path)
    assert (row["case"], row["verdict"], row["slices"], ignored) == ("p7", "ok", N, {}) and row["lesions"] == 1
    assert np.array_equal(reading.read_row_scan(row).hu, HU.transpose(2, 1, 0))


def test_a_hole_in_slices_with_a_uid_each_is_a_hole(tmp_path):
    write_series(tmp_path / "p7", HU, AFFINE, change=each)[9].unlink()
    (row,), _ = examined(tmp_path)
    assert row["findings"].split()[0] == "slices-uneven"


@pytest.mark.parametrize("shift_mm", [0, 4.0, 2.0])
def test_two_series_within_one_another_stay_two(tmp_path, shift_mm):
    for number in (2, 3):
        write_series(tmp_path / "p7", HU + number, shifted(shift_mm * number), [f"{number}-{k}" for k in range(N)], number=number)
    nib.save(nib.Nifti1Image(LABELS, AFFINE), tmp_path / "segmentation-p7.nii.gz")
    rows, ignored = examined(tmp_path)
    assert [(row["case"], row["verdict"], row["slices"]) for row in rows] == [("p7-2", "ok", N), ("p7-3", "ok", N)]
    assert ignored == {"masks of a folder with several series: name them like one of those": ["segmentation-p7.nii.gz"]}


def test_patients_stay_apart(tmp_path):
    for patient, z_mm in (("A", 0), ("B", 8.0 * N)):
        write_series(tmp_path / "p7", HU, shifted(z_mm), [f"{patient}{k}" for k in range(N)], lambda ds, k, p=patient: setattr(ds, "PatientID", p))
    assert [row["slices"] for row in examined(tmp_path)[0]] == [N, N]


def coronal(ds, k):
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def bolus(ds, k):
    ds.ImagePositionPatient = [0, 0, 80]


STRAYS = {
    "a coronal scout": ("p7", 1, coronal, 1),
    "a scout of the scan's own series": ("p7", 1, coronal, 2),
    "two scouts": ("p7", 2, coronal, 3),
    "scouts in a folder of their own": ("scouts", 1, coronal, 1),
    "bolus tracking": ("p7", 8, bolus, 9),
}


@pytest.mark.parametrize("kind", STRAYS)
def test_strays_are_set_aside_and_named(tmp_path, kind):
    within, count, change, number = STRAYS[kind]
    uid = generate_uid()
    write_series(tmp_path / "p7", HU, AFFINE, change=lambda ds, k: setattr(ds, "SeriesInstanceUID", uid), number=2)

    def stray(ds, k):
        change(ds, k)
        ds.SeriesInstanceUID = uid if number == 2 else ds.SeriesInstanceUID

    names = [f"s{k}.dcm" for k in range(count)]
    write_series(tmp_path / within, HU[:, :, :count], AFFINE, names, stray, number=number)
    nib.save(nib.Nifti1Image(LABELS, AFFINE), tmp_path / "segmentation-p7.nii.gz")
    (row,), ignored = examined(tmp_path)
    assert (row["case"], row["verdict"], row["slices"], row["lesions"]) == ("p7", "ok", N, 1)
    assert ignored == {series.STRAY: names}


def test_pictures_of_one_place_are_named_as_such_beside_a_localiser(tmp_path):
    """They have no step: whether the localiser continues them is no question."""
    write_series(tmp_path / "p7", HU[:, :, :2], AFFINE, ["b0", "b1"], bolus)
    write_series(tmp_path / "p7", HU[:, :, :1], AFFINE, ["s0"], lambda ds, k: setattr(ds, "ImageType", ["ORIGINAL", "LOCALIZER"]))
    (row,), ignored = examined(tmp_path)
    assert row["findings"].split()[0] == "slices-differ" and "lies where b0 lies" in row["reason"], row["reason"]
    assert ignored == {"DICOM, localisers of a CT": ["s0"]}


def test_the_mask_of_a_folder_is_that_of_most_axial_slices(tmp_path):
    def reformatted(ds, k):
        coronal(ds, k)
        ds.ImagePositionPatient = [0, 6 * k, 150]

    write_series(tmp_path / "p7", HU, AFFINE, [f"a{k}" for k in range(N)], number=2)
    write_series(tmp_path / "p7", np.repeat(HU, 2, axis=2), AFFINE, [f"b{k}" for k in range(2 * N)], reformatted, number=3)
    nib.save(nib.Nifti1Image(LABELS, AFFINE), tmp_path / "segmentation-p7.nii.gz")
    (axial, other), _ = examined(tmp_path)
    assert (axial["case"], bool(axial["mask"]), axial["verdict"]) == ("p7-2", True, "ok"), axial["reason"]
    assert (other["case"], other["mask"]) == ("p7-3", "")


def test_a_tag_of_no_type_costs_its_own_scan(tmp_path):
    """A damaged byte where the type of a tag stands: the others are cases all the same."""
    paths = write_series(tmp_path / "p", HU, AFFINE)
    write_series(tmp_path / "q", HU, AFFINE)
    for tag, path in ((b"\x20\0\x13\0IS", paths[3]), (b"\x20\0\x32\0DS", paths[5]), (b"\x28\0\x54\x10LO", paths[7])):
        data = path.read_bytes()
        assert tag in data
        path.write_bytes(data.replace(tag, tag[:4] + b"I\xa1"))
    rows, _ = examined(tmp_path)
    assert {row["case"]: row["verdict"] for row in rows if row["verdict"] == "ok"} == {"q": "ok"}
    assert any(".dcm" in row["reason"] for row in rows if row["verdict"] == "quarantined")
