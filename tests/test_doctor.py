"""Each finding has a test that makes the bad file; a bad case never costs the others."""

import shutil

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import test_dicom

from helpers import doctor, layouts, paths

AFFINE = np.diag([-2.0, -1.0, 5.0, 1.0])
SHAPE = (30, 24, 10)  # file axes: to the left, to the back, to the head


def scan_array():
    """Air around soft tissue of 100 HU with a little noise."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[4:26, 4:20] = 100 + np.random.default_rng(0).integers(-9, 10, (22, 16, 10))
    return hu


def label_array():
    """Liver 10 × 10 × 6; in it a tumour of 2 × 2 × 2 and one of 1 voxel that touches it by an edge only."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[6:16, 6:16, 2:8] = 1
    labels[8:10, 8:10, 3:5] = 2
    labels[10, 10, 4] = 2
    return labels


@pytest.fixture
def folder(tmp_path):
    nib.save(nib.Nifti1Image(scan_array(), AFFINE), tmp_path / "volume-0.nii.gz")
    nib.save(nib.Nifti1Image(label_array(), AFFINE), tmp_path / "segmentation-0.nii.gz")
    return tmp_path


def examined(folder, number=0):
    case = {c.name: c for c in layouts.scan(folder)}[f"volume-{number}"]
    return doctor.examine(case)


def write(folder, volume=None, labels=None, affine=AFFINE, mask_affine=AFFINE):
    if volume is not None:
        nib.save(nib.Nifti1Image(volume, affine), folder / "volume-0.nii.gz")
    if labels is not None:
        nib.save(nib.Nifti1Image(labels, mask_affine), folder / "segmentation-0.nii.gz")


def test_sound_case_is_measured(folder):
    row, histograms, lesions = examined(folder)
    assert (row["verdict"], row["findings"], row["reason"], row["axes"]) == ("ok", "", "", "LPS")
    assert [row[k] for k in ("slices", "rows", "columns")] == [10, 24, 30]
    assert [row[k] for k in ("spacing_z_mm", "spacing_y_mm", "spacing_x_mm")] == [5.0, 1.0, 2.0]
    # a voxel is 2 × 1 × 5 mm = 0.01 ml; liver is label >= 1: 600 voxels; tumours 8 + 1, apart because they share no face
    assert (row["liver_ml"], row["tumour_ml"], row["lesions"]) == (6.0, 0.09, 2)
    assert (row["liver_slices"], row["tumour_slices"]) == (6, 2)
    assert sorted(lesion["volume_ml"] for lesion in lesions) == pytest.approx([0.01, 0.08])
    # a ball of 0.08 ml = 80 mm³ has the diameter (6 · 80 / π)^(1/3) = 5.346 mm
    assert max(lesion["diameter_mm"] for lesion in lesions) == pytest.approx(5.346, abs=1e-3)
    counted = pd.DataFrame(histograms).groupby("region").voxels.sum()
    assert (counted["liver"], counted["tumour"]) == (591, 9)


def spoil_truncated(folder):
    path = folder / "volume-0.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])


def spoil_mask_zero_bytes(folder):
    (folder / "segmentation-0.nii.gz").write_bytes(b"")


def spoil_islands(folder):
    labels = label_array()
    labels[20, 18, 9] = 1
    write(folder, labels=labels)


def spoil_axes(folder):
    """The mask turned to R A S with an affine that says so: the same labels at the same mm."""
    affine = np.diag([2.0, 1.0, 5.0, 1.0])
    affine[:3, 3] = [-2.0 * (SHAPE[0] - 1), -1.0 * (SHAPE[1] - 1), 0]
    write(folder, labels=label_array()[::-1, ::-1], mask_affine=affine)


def spoil_clipped(folder):
    volume = scan_array()
    volume[0, 0, :7] = -3024
    write(folder, volume=volume)


SPOILT = [
    ("unreadable", "quarantined", spoil_truncated, "volume-0.nii.gz: is damaged"),
    ("unreadable", "quarantined", lambda f: (f / "volume-0.nii.gz").unlink(), "volume-0.nii.gz: no such file"),
    ("unreadable", "quarantined", lambda f: write(f, volume=np.full(SHAPE, np.nan, np.float32)), "7,200 voxels are NaN"),
    ("mask-unreadable", "quarantined", spoil_mask_zero_bytes, "segmentation-0.nii.gz: the file is empty"),
    ("mask-unreadable", "quarantined", lambda f: write(f, labels=label_array()[:-1]), "they don't belong together"),
    ("mask-unreadable", "quarantined", lambda f: write(f, labels=label_array() * 3), "values [0, 3, 6]"),
    ("constant", "quarantined", lambda f: write(f, volume=np.full(SHAPE, -1000, np.int16)), "every voxel is -1000"),
    ("not-hu", "quarantined", lambda f: write(f, volume=(scan_array() + 1000).astype(np.float32) / 1110), "from 0 to 1"),
    ("not-hu", "quarantined", lambda f: write(f, volume=((scan_array() + 1000) // 5).astype(np.uint8)), "from 0 to 221"),
    ("clipped", "repaired", spoil_clipped, "7 voxels outside -1100 to 4000"),
    ("mask-affine", "repaired", lambda f: write(f, labels=label_array(), mask_affine=np.eye(4)), "largest difference 4"),
    ("mask-axes", "repaired", spoil_axes, "RAS onto LPS"),
    ("labels-rounded", "repaired", lambda f: write(f, labels=label_array() * np.float32(0.9999)), "by up to 0.0002"),
    ("labels-mapped", "repaired", lambda f: write(f, labels=np.array([0, 127, 255], np.uint8)[label_array()]), "[0, 127, 255]"),
    ("no-labels", "ok", lambda f: (f / "segmentation-0.nii.gz").unlink(), "there is no mask"),
    ("no-liver", "ok", lambda f: write(f, labels=label_array() * 0), "no liver"),
    ("no-tumour", "ok", lambda f: write(f, labels=np.minimum(label_array(), 1)), "no tumour"),
    ("tumour-only", "ok", lambda f: write(f, labels=(label_array() == 2) * np.uint8(2)), "tumours and no liver"),
    ("liver-islands", "ok", spoil_islands, "2 pieces"),
    ("spacing-1-1-1", "ok", lambda f: write(f, scan_array(), label_array(), np.eye(4), np.eye(4)), "don't trust millimetres"),
    ("one-slice", "ok", lambda f: write(f, scan_array()[..., 3:4], label_array()[..., 3:4]), "single slice"),
]


@pytest.mark.parametrize(("code", "verdict", "spoil", "said"), SPOILT, ids=[f"{s[0]}-{k}" for k, s in enumerate(SPOILT)])
def test_finding(folder, code, verdict, spoil, said):
    spoil(folder)
    row, _, _ = examined(folder)
    assert code in row["findings"].split() and row["verdict"] == verdict
    assert said in row["reason"] and str(folder) not in row["reason"]


def test_repaired_masks_hold_the_same_labels(folder):
    """Turned, rounded and mapped masks measure exactly what the sound one does."""
    keys = ("liver_ml", "tumour_ml", "lesions", "liver_slices", "tumour_slices", "liver_hu")
    sound = [examined(folder)[0][k] for k in keys]
    for code, _, spoil, _ in SPOILT:
        if code in ("mask-affine", "mask-axes", "labels-rounded", "labels-mapped"):
            spoil(folder)
            assert [examined(folder)[0][k] for k in keys] == sound, code


def pictures(folder, numbers, mask_value=255):
    for z in numbers:
        plane, mask = np.full((20, 20), 90, np.uint8), np.zeros((20, 20), np.uint8)
        plane[:10] = 20
        mask[5:9, 5:9] = mask_value
        for kind, array in (("images", plane), ("masks", mask)):
            (folder / kind).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / kind / f"volume-0_slice_{z}.png"), array)


def test_findings_of_pictures(tmp_path):
    pictures(tmp_path, (10, 12, 14, 20))
    row, _, _ = examined(tmp_path)
    assert row["findings"].split() == ["slices-missing", "spacing-stand-in", "labels-mapped", "tumour-only"]
    assert row["verdict"] == "repaired" and "1 gaps" in row["reason"]
    (tmp_path / "images" / "volume-0_slice_20.png").unlink()  # every second slice is no gap
    assert "slices-missing" not in examined(tmp_path)[0]["findings"]


def test_every_finding_is_made_by_a_test():
    made = {code for code, *_ in SPOILT} | {"slices-missing", "spacing-stand-in"} | {code for code, *_ in test_dicom.FOUND}
    assert made == set(doctor.FINDINGS)
    assert {verdict for verdict, _ in doctor.FINDINGS.values()} == set(doctor.VERDICTS)


def test_a_bad_case_never_costs_the_others(folder, monkeypatch):
    for number in (1, 2, 3):
        for kind in ("volume", "segmentation"):
            shutil.copy(folder / f"{kind}-0.nii.gz", folder / f"{kind}-{number}.nii.gz")
    spoil_truncated(folder)
    (folder / "volume-2.nii.gz").write_text("<html>")
    read = layouts.read_scan

    def stumble(image, *more):
        if image.name == "volume-3.nii.gz":
            raise RuntimeError("a reader's own fault")
        return read(image, *more)

    monkeypatch.setattr(layouts, "read_scan", stumble)
    rows, histograms, lesions = doctor.examine_all(layouts.scan(folder), workers=1)
    assert [row["verdict"] for row in rows] == ["quarantined", "ok", "quarantined", "quarantined"]
    assert "RuntimeError: a reader's own fault" in rows[3]["reason"]
    assert {h["case"] for h in histograms} == {lesion["case"] for lesion in lesions} == {"volume-1"}


def test_two_workers_say_what_one_says(folder):
    shutil.copy(folder / "volume-0.nii.gz", folder / "volume-1.nii.gz")
    cases = layouts.scan(folder)
    alone, together = (doctor.examine_all(cases, workers=n) for n in (1, 2))
    pd.testing.assert_frame_equal(doctor.table(alone[0]), doctor.table(together[0]))
    assert alone[1:] == together[1:]


def test_a_window_that_cannot_be_stops_before_reading(folder):
    with pytest.raises(ValueError, match="the window rises"):
        doctor.examine_all(layouts.scan(folder), (160, -40))
    with pytest.raises(ValueError, match="channel 3"):
        doctor.examine_all(layouts.scan(folder), channel=3)


def test_table_survives_the_disk(tmp_path):
    """Names that look like numbers or nothing, a comma in a reason, and a case that couldn't be read."""
    for name in ("007", "NA", "1e5"):
        nib.save(nib.Nifti1Image(scan_array(), AFFINE), tmp_path / f"{name}.nii.gz")
    (tmp_path / "NA.nii.gz").write_bytes(b"")
    table = doctor.table(doctor.examine_all(layouts.scan(tmp_path), workers=1)[0])
    paths.write_csv(tmp_path / "cases.csv", table)
    back = doctor.read_table(tmp_path / "cases.csv")
    pd.testing.assert_frame_equal(table, back)
    assert list(back.columns) == list(doctor.COLUMNS) and set(back.case) == {"007", "NA", "1e5"}
    assert back.set_index("case").slices.dropna().to_dict() == {"007": 10, "1e5": 10}


def test_table_of_quarantined_cases_only_has_all_columns(tmp_path):
    (tmp_path / "scan.nii").write_bytes(b"")
    table = doctor.table(doctor.examine_all(layouts.scan(tmp_path), workers=1)[0])
    assert list(table.columns) == list(doctor.COLUMNS) and table.verdict.tolist() == ["quarantined"]


def test_fingerprint_changes_with_the_bytes_of_either_file(folder):
    case = layouts.scan(folder)[0]
    seen = [doctor.fingerprint(case)]
    write(folder, volume=scan_array() + np.int16(1))
    seen.append(doctor.fingerprint(case))
    write(folder, labels=label_array() * 0)
    assert len({*seen, doctor.fingerprint(case)}) == 3
