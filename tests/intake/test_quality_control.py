"""Each finding has a test that makes the bad file; a bad case never costs the others."""

import dataclasses
import gzip
import shutil
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from helpers import files
from helpers.intake import case_table, quality_control
from helpers.scans import findings, reading
from helpers.scans.folder import Case, cases_in
from helpers.scans.labels import UNKNOWN
from helpers.scans.volume import read_volume, write_mask

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


def examined(folder, number=0, **how):
    case = {c.name: c for c in cases_in(folder)}[f"volume-{number}"]
    return quality_control.examine(case, **how)


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


def spoil_bytes(name, change):
    def spoil(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return spoil


def spoil_header(**fields):
    """The scan as .nii, with fields of its header overwritten."""

    def spoil(folder):
        header = nib.Nifti1Image(scan_array(), AFFINE).header
        for name, value in fields.items():
            header[name] = value
        header["magic"], header["vox_offset"] = b"n+1", 352
        (folder / "volume-0.nii").write_bytes(header.binaryblock + bytes(4) + scan_array().tobytes(order="F"))
        (folder / "volume-0.nii.gz").unlink()

    return spoil


def scan_with(place, hu, dtype=np.int16):
    volume = scan_array().astype(dtype)
    volume[place] = hu
    return volume


def spoil_mask_mirrored(folder, turn=lambda mask: mask[::-1]):
    """A body of many tissues, one even liver, and the mask on the other side, or turned otherwise."""
    volume = np.random.default_rng(1).integers(-200, 200, SHAPE).astype(np.int16)
    volume[label_array() > 0] = 100
    write(folder, volume=volume, labels=turn(label_array()))


def spoil_square(folder):
    """As many rows as columns, and the mask turned by 90°."""
    volume = np.random.default_rng(1).integers(-200, 200, (30, 30, 10)).astype(np.int16)
    labels = np.zeros(volume.shape, np.uint8)
    labels[4:20, 6:12, 2:8] = 1
    volume[labels > 0] = 100
    write(folder, volume=volume, labels=np.rot90(labels))


def spoil_much_tumour():
    labels = label_array()
    labels[7:15, 7:15, 2:8] = 2
    return labels


def spoil_outside(folder):
    labels = label_array()
    labels[20:22, 18:20, 8:10] = 2
    write(folder, labels=labels)


SPINE_IN_FRONT = (slice(14, 17), slice(5, 8))
LUNGS_BELOW = (slice(8, 22), slice(6, 18), slice(0, 2))
TILTED = np.array([[-2.0, 0, 0, 0], [0, -1, 2, 0], [0, 0, 5, 0], [0, 0, 0, 1]])  # arctan(2 / 5) = 21.8°
COLOURED = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
SCAN, MASK = "volume-0.nii.gz", "segmentation-0.nii.gz"
SPOILT = [
    ("truncated", "quarantined", spoil_bytes(SCAN, lambda b: b[:-100]), "volume-0.nii.gz: is damaged, its compressed data stop"),
    ("truncated", "quarantined", spoil_bytes(MASK, lambda b: b[:-9]), "segmentation-0.nii.gz: is damaged"),
    ("damaged", "quarantined", spoil_bytes(SCAN, lambda b: b[:-8] + bytes(4) + b[-4:]), "the CRC, is wrong"),
    ("missing", "quarantined", lambda f: (f / SCAN).unlink(), "volume-0.nii.gz: no such file"),
    ("empty-file", "quarantined", spoil_bytes(MASK, lambda b: b""), "segmentation-0.nii.gz: the file is empty"),
    ("web-page", "quarantined", spoil_bytes(SCAN, lambda b: b"<html>log in"), "volume-0.nii.gz: is a web page"),
    ("not-nifti", "quarantined", spoil_bytes(SCAN, lambda b: b"DICM" * 200), "it begins with b'DICMDICM'"),
    ("wrong-ending", "repaired", spoil_bytes(SCAN, gzip.decompress), "volume-0.nii.gz is not compressed; name it .nii"),
    ("wrong-ending", "repaired", spoil_bytes(MASK, gzip.decompress), "segmentation-0.nii.gz is not compressed"),
    ("not-3-d", "quarantined", lambda f: write(f, volume=np.zeros((*SHAPE, 2), np.int16)), "shape (30, 24, 10, 2)"),
    ("affine-nan", "quarantined", spoil_header(sform_code=1, srow_x=np.nan), "NaN or infinite"),
    ("affine-singular", "quarantined", spoil_header(sform_code=1, srow_x=[-2, 1, 0, 0], srow_y=[-2, 1, 0, 0]), "singular"),
    ("spacing-absurd", "quarantined", lambda f: write(f, scan_array(), affine=np.diag([0.01, 0.01, 5, 1])), "0.01 × 0.01"),
    ("spacing-absurd", "quarantined", spoil_header(sform_code=0, qform_code=0, pixdim=[1, 2, 0, 5, 0, 0, 0, 0]), "2 × 0 × 5 mm"),
    ("sheared", "quarantined", lambda f: write(f, scan_array(), affine=TILTED), "a tilt of 21.8°"),
    ("no-affine", "repaired", spoil_header(sform_code=0, qform_code=0), "pixdim is 2 × 1 × 5"),
    ("forms-differ", "repaired", spoil_header(qform_code=1, pixdim=[1, 2, 1, 3, 0, 0, 0, 0]), "sform and qform differ"),
    ("not-finite", "quarantined", lambda f: write(f, volume=scan_with((0, 0), np.nan, np.float32)), "10 of 7,200 voxels"),
    ("no-numbers", "quarantined", lambda f: write(f, volume=COLOURED), "no Hounsfield units"),
    ("mask-shape", "quarantined", lambda f: write(f, labels=label_array()[:-1]), "they don't belong together"),
    ("labels-unexpected", "quarantined", lambda f: write(f, labels=label_array() * 3), "values [0, 3, 6]"),
    ("labels-unexpected", "quarantined", lambda f: write(f, labels=label_array() / np.float32(2)), "between whole labels, [0.5]"),
    ("constant", "quarantined", lambda f: write(f, volume=np.full(SHAPE, -1000, np.int16)), "every voxel is -1000"),
    ("not-hu", "quarantined", lambda f: write(f, volume=(scan_array() + 1000).astype(np.float32) / 1110), "from 0 to 1"),
    ("not-hu", "quarantined", lambda f: write(f, volume=((scan_array() + 1000) // 5).astype(np.uint8)), "from 0 to 221"),
    ("not-hu", "quarantined", lambda f: write(f, volume=(scan_array() + 1000).astype(np.uint16) * 59), "are 4000 or more"),
    ("not-rescaled", "quarantined", lambda f: write(f, volume=(scan_array() + 1024).astype(np.uint16)), "of them about 1124"),
    ("not-rescaled", "quarantined", lambda f: write(f, volume=scan_array() - np.int16(1024)), "between -150 and 250 HU"),
    ("clipped", "repaired", spoil_clipped, "7 voxels outside -1100 to 4000"),
    ("spine-front", "ok", lambda f: write(f, volume=scan_with(SPINE_IN_FRONT, 700)), "100% of the bone"),
    ("liver-left", "ok", lambda f: write(f, scan_array()[::-1], label_array()[::-1]), "of the body's width left"),
    ("lungs-below", "ok", lambda f: write(f, volume=scan_with(LUNGS_BELOW, -800)), "100% of the lungs"),
    ("mask-mirrored", "quarantined", spoil_mask_mirrored, "100% when turned over along x"),
    ("mask-turned", "quarantined", lambda f: spoil_square(f), "y and x exchanged"),
    ("mask-misfit", "ok", lambda f: spoil_mask_mirrored(f, lambda m: np.roll(m, 6, 0)), "the mask doesn't lie on one organ"),
    ("liver-unlike", "ok", lambda f: write(f, labels=np.where(label_array() == 2, 2, scan_array() > 0).astype(np.uint8)), "of the body in its slices"),
    ("labels-exchanged", "quarantined", lambda f: write(f, labels=np.array([0, 2, 1], np.uint8)[label_array()]), "98% of it is tumour"),
    ("tumour-large", "ok", lambda f: write(f, labels=spoil_much_tumour()), "% of it is tumour"),
    ("labels-other", "quarantined", lambda f: (f / "dataset.json").write_text('{"labels": {"Vessel": 1}}'), "1 is 'Vessel'"),
    ("axes-exchanged", "quarantined", lambda f: write(f, scan_array().T, label_array().T, np.eye(4), np.eye(4)), "cut off along x"),
    ("header-mended", "repaired", spoil_header(sform_code=0, qform_code=1, pixdim=[0, 2, 1, 5, 0, 0, 0, 0]), "setting qfac to 1"),
    ("liver-hu", "ok", lambda f: write(f, volume=scan_with(label_array() > 0, 350)), "median 350"),
    ("mask-affine", "repaired", lambda f: write(f, labels=label_array(), mask_affine=np.eye(4)), "the identity"),
    ("mask-axes", "repaired", spoil_axes, "RAS onto LPS"),
    ("labels-rounded", "repaired", lambda f: write(f, labels=label_array() * np.float32(0.9999)), "by up to 0.0002"),
    ("labels-mapped", "repaired", lambda f: write(f, labels=np.array([0, 127, 255], np.uint8)[label_array()]), "[0, 127, 255]"),
    ("labels-mapped", "repaired", lambda f: write(f, labels=(label_array() == 2) * np.uint8(255)), "[0, 255]"),
    ("no-labels", "ok", lambda f: (f / MASK).unlink(), "there is no mask"),
    ("no-liver", "ok", lambda f: write(f, labels=label_array() * 0), "all 0"),
    ("no-tumour", "ok", lambda f: write(f, labels=np.minimum(label_array(), 1)), "no tumour"),
    ("tumour-only", "ok", lambda f: write(f, labels=(label_array() == 2) * np.uint8(2)), "tumours and no liver"),
    ("tumour-outside", "ok", spoil_outside, "1 without a voxel of liver beside them, 0.08 ml"),
    ("liver-islands", "ok", spoil_islands, "2 components; the largest holds 99.8%, the others 0.01 ml"),  # 600 of 601 voxels
    ("spacing-1-1-1", "ok", lambda f: write(f, scan_array(), label_array(), np.eye(4), np.eye(4)), "don't trust millimetres"),
    ("one-slice", "ok", lambda f: write(f, scan_array()[..., 3:4], label_array()[..., 3:4]), "single slice"),
]


@pytest.mark.parametrize(("code", "verdict", "spoil", "text"), SPOILT, ids=[f"{s[0]}-{k}" for k, s in enumerate(SPOILT)])
def test_finding(folder, code, verdict, spoil, text):
    spoil(folder)
    row, _, _ = examined(folder)
    assert code in row["findings"].split() and row["verdict"] == verdict
    assert text in row["reason"] and str(folder) not in row["reason"]
    assert findings.FINDINGS[code][2] in row["to_do"]


def test_repaired_masks_hold_the_same_labels(folder):
    """Turned, rounded and mapped masks measure exactly what the sound one does."""
    keys = ("liver_ml", "tumour_ml", "lesions", "liver_slices", "tumour_slices", "liver_hu")
    sound = [examined(folder)[0][k] for k in keys]
    for code, _, spoil, text in SPOILT:
        if code in ("mask-affine", "mask-axes", "labels-rounded", "labels-mapped") and text != "[0, 255]":  # a mask of tumours
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
    assert row["findings"].split() == ["slices-missing", "spacing-stand-in", "labels-mapped", "tumour-only"], row["reason"]
    assert row["verdict"] == "repaired" and "1 gaps" in row["reason"]
    (tmp_path / "images" / "volume-0_slice_20.png").unlink()  # every second slice is no gap
    assert "slices-missing" not in examined(tmp_path)[0]["findings"]
    (tmp_path / "masks" / "volume-0_slice_12.png").unlink()
    row, _, _ = examined(tmp_path)
    assert "mask-slices" in row["findings"] and "volume-0_slice_12.png: has no mask" in row["reason"], row["reason"]


def test_every_finding_is_named_by_a_test():
    written = "".join(file.read_text(encoding="utf8") for file in Path(__file__).parents[1].rglob("test_*.py"))
    assert [code for code in findings.FINDINGS if f'"{code}"' not in written] == []
    assert {verdict for verdict, *_ in findings.FINDINGS.values()} == set(findings.VERDICTS)


def test_a_file_that_cannot_be_opened_is_told_apart(tmp_path):
    (tmp_path / "volume-0.nii.gz").mkdir()
    row, *_ = quality_control.examine(Case("volume-0", "LiTS pairs", tmp_path / "volume-0.nii.gz", None))
    assert (row["findings"], row["verdict"]) == ("no-file", "quarantined")


def test_what_a_reader_noticed_stands_among_the_findings(folder, monkeypatch):
    read = read_volume
    noticed = (("slices-missing", "2 gaps"),)
    monkeypatch.setattr(quality_control, "read_volume", lambda *a: dataclasses.replace(read(*a), notes=noticed))
    assert "have gaps: 2 gaps" in examined(folder)[0]["reason"]


@pytest.mark.parametrize(("flip", "turned"), [("x", np.s_[::-1]), ("y", np.s_[:, ::-1]), ("xyz", np.s_[::-1, ::-1, ::-1])])
def test_a_flip_asked_for_is_honoured_by_every_later_stage(folder, flip, turned):
    """A scan whose voxels run the other way than its header says; the row of cases.csv brings it upright."""
    upright = reading.read_row(examined(folder)[0])
    write(folder, scan_array()[turned], label_array()[turned])
    straight, row = examined(folder)[0], examined(folder, flip=flip)[0]
    assert ("flipped" in row["findings"]) and f"the scan along {flip}" in row["reason"] and row["verdict"] == "repaired"
    volume, labels = reading.read_row(row)
    assert np.array_equal(volume.hu, upright[0].hu) and np.array_equal(labels, upright[1])
    assert row["bytes"] != straight["bytes"]  # so stores and predictions are made anew
    write_mask(labels, volume, folder / "back.nii.gz")
    assert np.array_equal(np.asarray(nib.load(folder / "back.nii.gz").dataobj), label_array()[turned])


def test_a_mirrored_mask_is_turned_over_on_request_only(folder):
    spoil_mask_mirrored(folder)
    row = examined(folder)[0]
    assert (row["mask_flip_proposed"], row["flip_proposed"]) == ("x", "")
    row = examined(folder, mask_flip=row["mask_flip_proposed"])[0]
    assert row["verdict"] == "repaired" and row["mask_flip_proposed"] == ""
    assert np.array_equal(reading.read_row(row)[1], label_array().transpose(2, 1, 0))


def test_scan_and_mask_turned_over_together_propose_it(folder):
    write(folder, scan_array()[::-1], label_array()[::-1])
    row = examined(folder)[0]
    assert (row["flip_proposed"], row["mask_flip_proposed"]) == ("x", "")
    assert examined(folder, flip="x")[0]["flip_proposed"] == ""


def test_flips_of_unknown_cases_and_axes_stop_before_reading(folder):
    for wrong in ({"volume-9": "x"}, {"volume-0": "left"}):
        with pytest.raises(ValueError, match="volume-9|use x"):
            quality_control.examine_all(cases_in(folder), flips=wrong)


def test_a_bad_case_never_costs_the_others(folder, monkeypatch):
    for number in (1, 2, 3):
        for kind in ("volume", "segmentation"):
            shutil.copy(folder / f"{kind}-0.nii.gz", folder / f"{kind}-{number}.nii.gz")
    spoil_bytes(SCAN, lambda b: b[:-100])(folder)
    (folder / "volume-2.nii.gz").write_text("<html>")
    read = read_volume

    def stumble(image, *more):
        if image.name == "volume-3.nii.gz":
            raise RuntimeError("a reader's own fault")
        return read(image, *more)

    monkeypatch.setattr(quality_control, "read_volume", stumble)
    rows, histograms, lesions = quality_control.examine_all(cases_in(folder), workers=1)
    assert [row["verdict"] for row in rows] == ["quarantined", "ok", "quarantined", "quarantined"]
    assert "RuntimeError: a reader's own fault" in rows[3]["reason"] and rows[3]["findings"] == "unreadable"
    assert {h["case"] for h in histograms} == {lesion["case"] for lesion in lesions} == {"volume-1"}


def test_a_case_whose_files_cannot_be_listed_costs_itself(folder, tmp_path, monkeypatch):
    for kind in ("volume", "segmentation"):
        shutil.copy(folder / f"{kind}-0.nii.gz", folder / f"{kind}-1.nii.gz")
    list_files = reading.files_of

    def stumble(path, mask=False):
        if path.name == "volume-0.nii.gz":
            raise KeyError("a tag")
        return list_files(path, mask)

    monkeypatch.setattr(reading, "files_of", stumble)
    for _ in range(2):  # also where something was kept of it
        rows, *_ = quality_control.examine_all(cases_in(folder), workers=1, folder=tmp_path / "kept")
        assert [row["verdict"] for row in rows] == ["ok", "ok"] and rows[0]["bytes"]


def test_two_workers_say_what_one_says(folder):
    shutil.copy(folder / "volume-0.nii.gz", folder / "volume-1.nii.gz")
    cases = cases_in(folder)
    alone, together = (quality_control.examine_all(cases, workers=n) for n in (1, 2))
    pd.testing.assert_frame_equal(case_table.table(alone[0]), case_table.table(together[0]))
    assert alone[1:] == together[1:]


def test_a_window_that_cannot_be_stops_before_reading(folder):
    with pytest.raises(ValueError, match="the window rises"):
        quality_control.examine_all(cases_in(folder), (160, -40))
    with pytest.raises(ValueError, match="channel 3"):
        quality_control.examine_all(cases_in(folder), channel=3)


def test_table_survives_the_disk(tmp_path):
    """Names that look like numbers or nothing, a comma in a reason, and a case that couldn't be read."""
    for name in ("007", "NA", "1e5"):
        nib.save(nib.Nifti1Image(scan_array(), AFFINE), tmp_path / f"{name}.nii.gz")
    (tmp_path / "NA.nii.gz").write_bytes(b"")
    table = case_table.table(quality_control.examine_all(cases_in(tmp_path), workers=1)[0])
    files.write_csv(tmp_path / "cases.csv", table)
    back = case_table.read_table(tmp_path / "cases.csv")
    pd.testing.assert_frame_equal(table, back)
    assert list(back.columns) == list(case_table.COLUMNS) and set(back.case) == {"007", "NA", "1e5"}
    assert back.set_index("case").slices.dropna().to_dict() == {"007": 10, "1e5": 10}


def test_table_of_quarantined_cases_only_has_all_columns(tmp_path):
    (tmp_path / "scan.nii").write_bytes(b"")
    table = case_table.table(quality_control.examine_all(cases_in(tmp_path), workers=1)[0])
    assert list(table.columns) == list(case_table.COLUMNS) and table.verdict.tolist() == ["quarantined"]


def test_a_folder_may_be_read_otherwise(tmp_path):
    """Pictures of two hospitals below one folder: windows differ, and one's masks take tumours for liver."""
    for name, volume in (("ours", 0), ("theirs", 1)):
        (tmp_path / name).mkdir()
        pictures(tmp_path / name, (1, 2, 3), 1)
        for kind in ("images", "masks"):
            for file in (tmp_path / name / kind).iterdir():
                file.rename(file.with_name(file.name.replace("volume-0", f"volume-{volume}")))
    theirs = {"window": [0, 255], "tumour_unknown": True}
    rows, _, lesions = quality_control.examine_all(cases_in(tmp_path), workers=1, by_folder={"theirs": theirs})
    ours, theirs = case_table.table(rows).to_dict("records")
    assert "no-tumour" in ours["findings"] and ours["tumour_ml"] == 0 and "tumour-unknown" not in ours["findings"]
    assert "tumour-unknown" in theirs["findings"].split() and np.isnan(theirs["tumour_ml"]) and theirs["verdict"] == "ok"
    (volume, labels), (_, known) = reading.read_row(theirs), reading.read_row(ours)
    assert volume.hu.max() == 90 and np.unique(labels).tolist() == [0, UNKNOWN] and np.unique(known).tolist() == [0, 1]
    assert theirs["liver_ml"] == ours["liver_ml"] > 0 and theirs["bytes"] != ours["bytes"]


@pytest.mark.parametrize(("by_folder", "message"), [
    ({"nowhere": {"channel": 0}}, "no scan lies in a folder nowhere"), ({"data": {"windows": 0}}, "windows"),
    ({"data": {"window": [5, 5]}}, "the window rises"), ({"data": {"channel": 7}}, "channel 7"),
])
def test_what_a_folder_is_read_by_is_checked(tmp_path, by_folder, message):
    (tmp_path / "data").mkdir()
    pictures(tmp_path / "data", (1,), 1)
    with pytest.raises(ValueError, match=message):
        quality_control.examine_all(cases_in(tmp_path), workers=1, by_folder=by_folder)
