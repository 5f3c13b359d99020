"""One series, several acquisitions: known by number, time or content, and chosen by a person; what lies above stays one."""

import re

import numpy as np
import pydicom
import pytest
from corpus import AFFINE, SHAPE, body
from dicom_files import write_series
from pydicom.uid import generate_uid

from helpers.intake import quality_control
from helpers.scans import acquisitions, reading
from helpers.scans.folder import cases_in, with_acquisitions

HU = body(1)[0]
N, STEP_MM = SHAPE[2], 8.0
LATER = np.where((HU > 20) & (HU < 250), HU + 40, HU).astype(np.int16)  # contrast medium in the organs


def two_phases(folder, shift_mm, tags=lambda phase, k: {}):
    """Two scans in one series, the second `shift_mm` higher; `tags(phase, k)` gives what a slice says besides."""
    uid = generate_uid()
    for phase, hu in enumerate((HU, LATER)):

        def change(ds, k, phase=phase):
            ds.SeriesInstanceUID = uid
            for tag, value in tags(phase, k).items():
                setattr(ds, tag, value)

        affine = AFFINE + shift_mm * phase * np.eye(4)[2][:, None] * np.eye(4)[3]
        write_series(folder, hu, affine, [f"{phase}-{k:02d}" for k in range(N)], change)
    return folder


def judged(folder, name=""):
    (case,) = with_acquisitions(cases_in(folder), {folder.name: name} if name else {})
    return quality_control.examine(case)[0]


TOLD_BY = {
    "number": (STEP_MM / 2, lambda phase, k: {"AcquisitionNumber": phase + 3}, "AcquisitionNumber: 3 .20 slices.*, 4 .20 slices", "34"),
    "time": (STEP_MM / 2, lambda phase, k: {"AcquisitionTime": f"1015{30 * phase:02d}"}, "AcquisitionTime 101530", "12"),
    "time of each slice": (0, lambda phase, k: {"AcquisitionTime": f"10{15 + phase}{k:02d}"}, "AcquisitionTime 101600 to 101619", "12"),
    "scanned to and fro": (STEP_MM / 2, lambda phase, k: {"AcquisitionTime": f"10{15 + phase}{k if phase else 19 - k:02d}"}, "101600 to", "12"),
    "rotations of four slices": (0, lambda phase, k: {"AcquisitionNumber": 1 + 5 * phase + k // 4}, "2 acquisitions", "12"),
    "energy": (0, lambda phase, k: {"KVP": (80, 140)[phase]}, "KVP 140", "12"),
    "kernel": (STEP_MM / 2, lambda phase, k: {"ConvolutionKernel": ("B30f", "B70f")[phase]}, "ConvolutionKernel B70f", "12"),
    "numbers of the slices": (STEP_MM / 2, lambda phase, k: {"InstanceNumber": 1 + k + N * phase}, "InstanceNumber 21 to 40", "12"),
    "places": (STEP_MM / 3, lambda phase, k: {}, "their places", "12"),
    "content, half a step apart": (STEP_MM / 2, lambda phase, k: {}, "what they show", "12"),
    "content, at one place": (0, lambda phase, k: {}, "what they show", "12"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOLD_BY)
def test_phases_within_one_another_are_refused_and_can_be_chosen(tmp_path, kind):
    shift_mm, tags, listed, names = TOLD_BY[kind]
    folder = two_phases(tmp_path / "p7", shift_mm, tags)
    row = judged(folder)
    assert (row["verdict"], row["findings"]) == ("quarantined", "acquisitions")
    assert re.search(listed, row["reason"]), row["reason"]
    assert "--acquisition" in row["to_do"] and "`acquisitions`" in row["to_do"]
    chosen = [reading.read_row_scan(judged(folder, name)) for name in names]
    assert {v.hu.tobytes() for v in chosen} == {hu.transpose(2, 1, 0).tobytes() for hu in (HU, LATER)}
    assert chosen[0].spacing_mm == pytest.approx((8, 6, 6))
    row = judged(folder, "9")
    assert row["verdict"] == "quarantined" and "there is no acquisition '9'; its 40 slices" in row["reason"]


def test_another_acquisition_is_another_case_for_all_that_is_kept(tmp_path):
    folder = two_phases(tmp_path / "p7", STEP_MM / 2, TOLD_BY["number"][1])
    for name in ("3", "4"):
        (row,), *_ = quality_control.examine_all(with_acquisitions(cases_in(folder), {"p7": int(name)}), workers=1, folder=tmp_path / "kept")
        assert row["acquisition"] == name and row["verdict"] == "ok"
    with pytest.raises(ValueError, match="acquisitions: there is no DICOM case p8"):
        with_acquisitions(cases_in(folder), {"p8": 1})


ONE = {
    "chest and abdomen": lambda k: {"AcquisitionNumber": 1 + (k >= 8), "AcquisitionTime": f"1015{30 - 20 * (k >= 8)}"},
    "a number a slice": lambda k: {"AcquisitionNumber": k + 1, "AcquisitionTime": f"1015{k:02d}"},
    "from head to feet": lambda k: {"AcquisitionTime": f"1015{N - k:02d}", "InstanceNumber": N - k},
    "rotations of four slices": lambda k: {"AcquisitionNumber": k // 4, "AcquisitionTime": f"1015{k // 4:02d}"},
    "times that waver": lambda k: {"AcquisitionTime": f"1015{k + 2 * (k % 2):02d}"},
    "slices numbered at random": lambda k: {"InstanceNumber": int(np.random.default_rng(3).permutation(N)[k])},
    "a number left out": lambda k: {"AcquisitionNumber": None if k == 5 else 1},
}


@pytest.mark.parametrize("kind", ONE)
def test_acquisitions_above_one_another_are_one_scan(tmp_path, kind):
    def change(ds, k):
        for tag, value in ONE[kind](k).items():
            setattr(ds, tag, value)

    write_series(tmp_path / "p7", HU, AFFINE, change=change)
    row = judged(tmp_path / "p7")
    assert (row["verdict"], row["slices"]) == ("ok", N), row["reason"]


def test_one_of_two_above_one_another_may_be_asked_for(tmp_path):
    write_series(tmp_path / "p7", HU, AFFINE, change=lambda ds, k: setattr(ds, "AcquisitionNumber", 1 + (k >= 8)))
    assert judged(tmp_path / "p7", "2")["slices"] == 12
    assert "distinguished by AcquisitionNumber: 1 (8 slices" in judged(tmp_path / "p7", "5")["reason"]


def test_a_gap_in_a_phase_is_no_reason_to_mistake_it(tmp_path):
    folder = two_phases(tmp_path / "p7", STEP_MM / 2, TOLD_BY["number"][1])
    (folder / "1-09").unlink()
    assert judged(folder)["findings"] == "acquisitions"
    assert judged(folder, "3")["verdict"] == "ok" and judged(folder, "4")["findings"].split()[0] == "slices-uneven"


def test_two_fields_of_view_in_one_series(tmp_path):
    uid = generate_uid()
    for name, hu, affine in (("a", HU, AFFINE), ("b", HU[::2, ::2], AFFINE @ np.diag([2, 2, 1, 1]))):
        write_series(tmp_path / "p7", hu, affine, [f"{name}{k}" for k in range(N)], lambda ds, k: setattr(ds, "SeriesInstanceUID", uid))
    assert "size and spacing of their pixels" in judged(tmp_path / "p7")["reason"]
    assert reading.read_row_scan(judged(tmp_path / "p7", "2")).hu.shape in ((20, 20, 24), (20, 40, 48))


@pytest.mark.parametrize(
    ("heights", "message"),
    [
        ([5.2 * k for k in range(11)] + [52 + 10.3 * k for k in range(1, 8)], "10 steps of 5.2 mm, then 7 of 10.3 mm"),
        ([10 * k for k in range(5)] + [40 + 2.5 * k for k in range(1, 9)] + [60 + 10 * k for k in range(1, 5)],
         "4 steps of 10 mm, then 8 of 2.5 mm, then 4 of 10 mm"),
        ([3 * k for k in range(8)] + [25 + 5 * k for k in range(6)], "7 steps of 3 mm, then 5 of 5 mm"),
    ],
)  # fmt: skip
def test_two_spacings_are_named_as_such(tmp_path, heights, message):
    write_series(tmp_path / "p7", HU[:, :, : len(heights)], AFFINE, change=lambda ds, k: setattr(ds, "ImagePositionPatient", [0, 0, heights[k]]))
    row = judged(tmp_path / "p7")
    assert row["findings"].split()[0] == "two-spacings" and message in row["reason"] and row["verdict"] == "quarantined"


@pytest.mark.parametrize("gone", [[5], [5, 11], [4, 5, 6], [3, 9, 10, 15]])
def test_missing_slices_are_no_other_spacing(tmp_path, gone):
    paths = write_series(tmp_path / "p7", HU, AFFINE)
    for k in gone:
        paths[k].unlink()
    assert judged(tmp_path / "p7")["findings"].split()[0] == "slices-uneven"


def frames(folder, change=lambda ds: None):
    """A file of 20 frames, as scanners of teeth write them."""
    (path,) = write_series(folder, HU[:, :, :1], AFFINE, ["cbct.dcm"])
    ds = pydicom.dcmread(path)
    ds.NumberOfFrames, ds.PixelData = N, b"".join((HU[:, :, k].T + np.int16(1024)).tobytes() for k in range(N))
    change(ds)
    ds.save_as(path)


def in_one_place(ds):
    group = pydicom.Dataset()
    for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"):
        item = pydicom.Dataset()
        for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            setattr(item, tag, ds[tag].value)
        setattr(group, name, [item])
    ds.PerFrameFunctionalGroupsSequence = [group] * N


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: None, "cbct.dcm: its 20 frames don't say where they lie"),
        (in_one_place, "cbct.dcm: its 20 frames all say that they lie in one place"),
        (lambda ds: delattr(ds, "ImagePositionPatient"), "cbct.dcm: its 20 frames don't say where they lie"),
    ],
)
def test_frames_without_a_place_of_their_own(tmp_path, change, message):
    frames(tmp_path / "p7", change)
    row = judged(tmp_path / "p7")
    assert row["findings"].split()[0] == "no-place" and message in row["reason"]


def test_alternation_worked_out_by_hand():
    """Two flat pictures in turn bend by 10 each time, this way and that: every lag correlates fully."""
    flat = [np.full((64, 64), value, np.int16) for value in (50, 60)]
    planes = [type("Plane", (), {"hu": flat[k % 2]}) for k in range(40)]
    assert acquisitions.alternation(planes) == pytest.approx(1)
    rng = np.random.default_rng(0)
    noise = [type("Plane", (), {"hu": rng.normal(50, 10, (64, 64)).astype(np.int16)}) for _ in range(40)]
    assert abs(acquisitions.alternation(noise)) < 0.05
