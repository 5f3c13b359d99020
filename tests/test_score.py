"""`python -m helpers.score` on folders of masks as people have them."""

import gzip
import json
import os
import shutil
import signal
import struct
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from helpers import files, score
from helpers.origins import voxel_hash
from helpers.scans.volume import read_volume
from helpers.scoring import mask_pairs, sentences

AFFINE = np.diag([-0.8, -0.8, 2.5, 1.0])  # LPS


def labels(shift=0):
    """A liver with two lesions, (x, y, z) as a file has it; `shift` moves the tumour by voxels."""
    out = np.zeros((40, 36, 14), np.uint8)
    out[6:34, 6:30, 2:12] = 1
    out[10 + shift : 16 + shift, 10:16, 4:8] = 2
    out[22 + shift : 26 + shift, 18:22, 6:9] = 2
    return out


def save(folder, name, array, affine=AFFINE):
    folder.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), folder / name)
    return folder / name


@pytest.fixture
def folders(tmp_path):
    """Three references and their predictions: exact, shifted, and without tumour."""
    r, p = tmp_path / "references", tmp_path / "predictions"
    for number, shift in enumerate((0, 1, 2)):
        save(r, f"segmentation-{number}.nii.gz", labels())
        save(p, f"segmentation-{number}.nii.gz", labels(shift))
    return r, p


def run(*arguments, out=None, workers="1"):
    words = [str(word) for word in arguments] + (["-o", str(out)] if out else [])
    return score.main([*words, "--workers", workers])


def read(out):
    return pd.read_csv(out / "cases.csv", index_col="case"), json.loads((out / "summary.json").read_text())


def test_every_output_is_there_and_exact_is_exact(folders, tmp_path):
    assert run(*folders, out=tmp_path / "out") == 0
    cases, values = read(tmp_path / "out")
    best = cases.loc["segmentation-0"]
    assert best.liver_dice == best.tumour_dice == 1 and best.liver_assd_mm == best.tumour_msd_mm == 0
    both = 5 * 6 * 4 + 3 * 4 * 3
    assert cases.loc["segmentation-1"].tumour_dice == pytest.approx(both / (6 * 6 * 4 + 4 * 4 * 3))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cases.csv", "lesions.csv", "slices.csv", "summary.json"}
    wanted = ("liver.dice_per_case.mean", "tumour.dice_global", "tumour.lesion_recall_iou50", "lits_official.detection_recall",
              "tumour.dice_per_case_with_tumour.low", "tumour_burden.rmse")  # fmt: skip
    assert all(values[key] is not None for key in wanted)
    assert values["liver.dice_per_case.rule"] and values["tumour.assd_mm.rule"] and values["lits_official.rule"]
    assert not list((tmp_path / "out").rglob(".*"))  # no half-written file is left


def test_it_runs_from_any_folder_in_two_processes(folders, tmp_path):
    somewhere = tmp_path / "somewhere"
    somewhere.mkdir()
    words = [sys.executable, "-m", "helpers.score", "../references", "../predictions", "-o", "here", "--workers", "2", "--report"]
    done = subprocess.run(words, cwd=somewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tumour Dice per case" in done.stdout and done.stdout.rstrip().endswith("0 failed: here/report.html")
    page = (somewhere / "here" / "report.html").read_text(encoding="utf8")
    assert "../predictions against ../references" in page and "segmentation-1" in page
    assert (somewhere / "here" / "figures" / "06_dice_by_case.png").is_file()


def test_spacing_comes_from_the_reference_or_from_the_scan(folders, tmp_path):
    r, p = folders
    assert run(r, p, out=tmp_path / "own") == 0
    scans = tmp_path / "scans"
    for number in range(3):
        save(scans, f"volume-{number}.nii.gz", labels().astype(np.int16) * 50, np.diag([-1.6, -1.6, 5.0, 1.0]))
    assert run(r, p, "--scans", scans, out=tmp_path / "scan") == 0
    (own, _), (scan, _) = read(tmp_path / "own"), read(tmp_path / "scan")
    assert scan.liver_reference_ml.to_numpy() == pytest.approx(8 * own.liver_reference_ml.to_numpy())
    assert scan.tumour_msd_mm.to_numpy() == pytest.approx(2 * own.tumour_msd_mm.to_numpy())
    contrast = pd.read_csv(tmp_path / "scan" / "lesions.csv").contrast_hu
    assert contrast[:2].tolist() == [50, 50] and pd.read_csv(tmp_path / "own" / "lesions.csv").contrast_hu.isna().all()


@pytest.mark.parametrize("kind", ["float", "int16", "4-D", "plain", "other axes"])
def test_masks_as_other_programs_store_them(tmp_path, kind):
    r, p, name = tmp_path / "r", tmp_path / "p", "case.nii" if kind == "plain" else "case.nii.gz"
    save(r, "case.nii.gz", labels())
    array, affine = labels(), AFFINE
    if kind == "float":
        array = array * np.float32(0.99999)
    elif kind == "int16":
        array = array.astype(np.int16)
    elif kind == "4-D":
        array = array[..., None]
    elif kind == "other axes":  # the same voxels at the same places, stored S A R
        corner = affine @ [*(n - 1 for n in array.shape), 1]
        array = array[::-1, ::-1].transpose(2, 1, 0)
        affine = np.array([[0, 0, 0.8, corner[0]], [0, 0.8, 0, corner[1]], [2.5, 0, 0, 0], [0, 0, 0, 1]])
    save(p, name, np.ascontiguousarray(array), affine)
    assert run(r, p, out=tmp_path / "out") == 0
    row = read(tmp_path / "out")[0].iloc[0]
    assert row.liver_dice == row.tumour_dice == 1 and not isinstance(row.note, str)


def test_another_affine_is_scored_with_a_warning(folders, tmp_path, capsys):
    r, p = folders
    save(p, "segmentation-0.nii.gz", labels(), np.eye(4))
    assert run(r, p, out=tmp_path / "out") == 0
    assert "segmentation-0: its affine differs" in capsys.readouterr().err
    cases, _ = read(tmp_path / "out")
    assert cases.tumour_dice["segmentation-0"] == 1 and "affine" in cases.note["segmentation-0"]


def test_missing_and_misshapen_predictions_are_failed_cases(folders, tmp_path, capsys):
    r, p = folders
    (p / "segmentation-1.nii.gz").unlink()
    save(p, "segmentation-2.nii.gz", labels()[:-1])
    assert run(r, p, out=tmp_path / "out") == 0
    said = capsys.readouterr().err
    assert "segmentation-1: there is no prediction" in said and "segmentation-2.nii.gz: the mask has shape" in said
    cases, values = read(tmp_path / "out")
    assert cases.tumour_dice.tolist() == [1, 0, 0] and values["tumour.dice_per_case.mean"] == pytest.approx(1 / 3, abs=1e-6)
    # slices and lesions of the two without prediction stand apart: 2 × 14 and 2 × 2
    assert values["tumour.slice_dice.mean"] == 1 and values["tumour.lesion_recall_iou50"] == 1
    assert values["not_predicted.slices"] == 28 and values["not_predicted.lesions"] == 4
    assert values["tumour.lesions"] == 2 and values["false_slices.any"] == 0
    assert values["cases.failed"] == 2 and values["cases.failed_names"] == ["segmentation-1", "segmentation-2"]
    assert cases.liver_assd_mm.isna().tolist() == [False, True, True] and values["liver.assd_mm.undefined"] == 2
    assert values["liver.assd_mm.mean"] == pytest.approx(2 / 3 * cases.diagonal_mm.max(), rel=1e-4)


@pytest.mark.parametrize(
    ("array", "said"),
    [(labels() * 127, "0, 127, 254"), (labels() * 0.5, "between whole labels"), (np.where(labels() == 2, np.nan, 1.0), "NaN")],
)
def test_labels_that_can_not_be_meant_are_refused(folders, tmp_path, capsys, array, said):
    r, p = folders
    save(p, "segmentation-0.nii.gz", array)
    assert run(r, p, out=tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert said in message and "segmentation-0.nii.gz" in message
    assert read(tmp_path / "out")[0].tumour_dice["segmentation-0"] == 0
    save(r, "segmentation-1.nii.gz", array)  # a reference is left out by name, the rest goes on
    assert run(r, p, out=tmp_path / "out") == 1
    assert "not scored" in capsys.readouterr().err and "segmentation-1" not in read(tmp_path / "out")[0].index


def test_names_are_matched_by_number(tmp_path):
    r, p = tmp_path / "r", tmp_path / "p"
    save(r, "segmentation-7.nii", labels())
    save(r, "volume-7.nii", labels().astype(np.int16))  # a scan beside its mask, as in LiTS
    save(p, "test-segmentation-7.nii.gz", labels(1))
    (job,) = mask_pairs.jobs_of(r, p, r)
    assert [path.name for path in job[1:]] == ["segmentation-7.nii", "test-segmentation-7.nii.gz", "volume-7.nii"]


def test_names_are_matched_without_words_for_masks(tmp_path):
    for name in ("a_seg", "liver_3"):
        save(tmp_path / "r", f"{name}.nii", labels())
    for name in ("segmentation-a", "segmentation-liver_3"):
        save(tmp_path / "p", f"{name}.nii.gz", labels())
    (tmp_path / "p" / "unpacked.nii").mkdir()
    jobs = mask_pairs.jobs_of(tmp_path / "r", tmp_path / "p")
    assert [(job[0], job[2].name) for job in jobs] == [
        ("a_seg", "segmentation-a.nii.gz"), ("liver_3", "segmentation-liver_3.nii.gz")
    ]  # fmt: skip


def test_a_prediction_packed_otherwise_than_its_name_says_is_scored(folders, tmp_path):
    r, p = folders
    (p / "segmentation-1.nii.gz").rename(p / "segmentation-1.nii")
    assert run(r, p, out=tmp_path / "out") == 0
    assert read(tmp_path / "out")[0].tumour_dice.tolist() == [1.0, 0.8125, 0.625]  # as under its right name


def test_two_files_of_one_number_are_not_guessed(tmp_path):
    save(tmp_path / "r", "segmentation-7.nii", labels())
    save(tmp_path / "p", "volume-7.nii", labels())
    save(tmp_path / "p", "prediction-7.nii", labels())
    with pytest.raises(ValueError, match=r"prediction-7\.nii and volume-7\.nii could both"):
        mask_pairs.jobs_of(tmp_path / "r", tmp_path / "p")


@pytest.mark.parametrize(("references", "said"), [("nowhere", "no such folder"), ("empty", "holds no .nii")])
def test_folders_that_can_not_be_scored_leave_nothing(tmp_path, capsys, folders, references, said):
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / references, folders[1], out=tmp_path / "out") == 1
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert run(folders[0], tmp_path / "empty", out=tmp_path / "out") == 1
    assert "no prediction for any" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [[], ["one"], ["one", "two", "--tolerance", "-1"], ["one", "two", "--colour", "red"]])
def test_wrong_usage_ends_with_2(words):
    with pytest.raises(SystemExit) as ended:
        score.main(words)
    assert ended.value.code == 2


def test_a_damaged_prediction_is_named(folders, tmp_path, capsys):
    r, p = folders
    file = p / "segmentation-2.nii.gz"
    file.write_bytes(file.read_bytes()[:-60])
    assert run(r, p, out=tmp_path / "out") == 1
    assert "segmentation-2.nii.gz: is damaged" in capsys.readouterr().err


def deadly(job, failed="", **more):
    """`score_files`, but memory runs out over the mask of case 1, and over case 2 whatever it reads."""
    if job[0] == "segmentation-1" and not failed or job[0] == "segmentation-2":
        os.kill(os.getpid(), signal.SIGKILL)
    return mask_pairs.score_files(job, failed=failed, **more)


def test_a_scorer_that_is_killed_costs_its_own_case(folders, tmp_path, capsys, monkeypatch):
    assert run(*folders, out=tmp_path / "all") == 0
    monkeypatch.setattr(mask_pairs, "score_files", deadly)
    assert run(*folders, out=tmp_path / "out", workers="2") == 1
    printed = capsys.readouterr().err
    reason = "scoring it ended its process (SIGKILL), most often for want of memory"
    assert f"segmentation-1: {reason}" in printed
    assert f"not scored: segmentation-2: {reason}, without its prediction, too" in printed
    cases, values = read(tmp_path / "out")
    assert cases.index.tolist() == ["segmentation-0", "segmentation-1"] and cases.failed["segmentation-1"] == reason
    assert cases.tumour_dice.tolist() == [1, 0] and cases.tumour_reference_voxels.gt(0).all()
    assert values["cases.failed_names"] == ["segmentation-1"] and len(values["cases.not_scored"]) == 1
    whole = read(tmp_path / "all")[0].loc["segmentation-0"]
    assert cases.loc["segmentation-0"].to_dict() == pytest.approx(whole.to_dict(), nan_ok=True)


def spoil_offset(path):
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[108:112] = struct.pack("<f", 348)
    path.write_bytes(gzip.compress(bytes(data)))


def spoil_type(path):
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[70:72] = struct.pack("<h", 999)
    path.write_bytes(gzip.compress(bytes(data)))


def spoil_axis(path):
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[42:44] = struct.pack("<h", -40)
    path.write_bytes(gzip.compress(bytes(data)))


SPOILT = [spoil_offset, spoil_type, spoil_axis, lambda path: path.write_bytes(b""), lambda path: (path.unlink(), path.mkdir())]


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("whose", ["references", "predictions"])
def test_a_file_that_can_not_be_read_costs_its_case_only(folders, tmp_path, capsys, spoil, whose):
    spoil(tmp_path / whose / "segmentation-1.nii.gz")
    code = run(*folders, out=tmp_path / "out")
    message = capsys.readouterr().err
    cases, _ = read(tmp_path / "out")
    assert "Traceback" not in message and cases.tumour_dice["segmentation-0"] == 1 and cases.tumour_dice["segmentation-2"] == 0.625
    gone = (tmp_path / whose / "segmentation-1.nii.gz").is_dir()  # no file: a prediction that is missing, a case that isn't there
    assert gone or code == 1 and "segmentation-1.nii.gz" in message


def test_a_reader_that_fails_in_its_own_way_costs_its_case_only(folders, tmp_path, capsys, monkeypatch):
    def stumble(path, *more):
        if path.name == "segmentation-1.nii.gz" and path.parent.name == "predictions":
            raise ZeroDivisionError("a reader's own fault")
        return read_prediction(path, *more)

    read_prediction = mask_pairs.run_scores.read_prediction
    monkeypatch.setattr(mask_pairs.run_scores, "read_prediction", stumble)
    assert run(*folders, out=tmp_path / "out") == 1
    assert "segmentation-1.nii.gz: can't be read (ZeroDivisionError: a reader's own fault)" in capsys.readouterr().err
    assert read(tmp_path / "out")[0].tumour_dice.tolist() == [1, 0, 0.625]


def test_names_that_are_there_twice_or_are_no_text_cost_their_case_only(folders, tmp_path, capsys):
    r, p = folders
    shutil.copy(p / "segmentation-1.nii.gz", p / "prediction-1.nii.gz")  # both have the number: the same name wins
    (p / "again").mkdir()
    shutil.copy(p / "segmentation-2.nii.gz", p / "again" / "segmentation-2.nii.gz")
    os.rename(p / "prediction-1.nii.gz", os.fsencode(p) + b"/gr\xf6\xdfe.nii.gz")
    assert run(r, p, out=tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert "segmentation-2: is there twice" in message and "gr\\xf6\\xdfe.nii.gz: its name is no UTF-8" in message
    cases, values = read(tmp_path / "out")
    assert cases.tumour_dice.to_dict() == {"segmentation-0": 1, "segmentation-1": 0.8125} and len(values["cases.not_scored"]) == 1


@pytest.mark.parametrize("fields", [{"sform_code": 1, "srow_x": 0, "srow_y": 0, "srow_z": 0}, {"quatern_d": 1.000001}, {"qfac": 0}])
def test_headers_that_can_be_mended_are_scored_alike(folders, tmp_path, fields):
    r, p = folders
    for folder in (r, p):
        image = nib.load(folder / "segmentation-0.nii.gz")
        header, data = image.header, np.asarray(image.dataobj)
        header["sform_code"], header["qform_code"] = 0, 1
        for name in fields.keys() - {"qfac"}:
            header[name] = fields[name]
        header["pixdim"][0], header["magic"], header["vox_offset"] = fields.get("qfac", 1), b"n+1", 352
        raw = bytearray(header.binaryblock)
        (folder / "segmentation-0.nii.gz").write_bytes(gzip.compress(bytes(raw) + bytes(4) + data.tobytes(order="F")))
    assert run(r, p, out=tmp_path / "out") == 0
    row = read(tmp_path / "out")[0].loc["segmentation-0"]
    assert row.tumour_dice == 1 and not isinstance(row.note, str) and row.voxel_ml == pytest.approx(0.8 * 0.8 * 2.5 / 1000)


@pytest.mark.parametrize(("affine", "named"), [(np.eye(4), True), (np.diag([-1.0, -1.0, 1.0, 1.0]), True), (AFFINE, False)])
def test_millimetres_that_are_a_stand_in_are_said(tmp_path, capsys, affine, named):
    """1 × 1 × 1 mm in masks alone: nothing says that it is true."""
    for folder in ("r", "p"):
        save(tmp_path / folder, "a.nii.gz", labels(), affine)
    assert run(tmp_path / "r", tmp_path / "p", out=tmp_path / "out") == 0
    cases, values = read(tmp_path / "out")
    assert ("the spacing of 1 is a stand-in" in (message := capsys.readouterr().err)) == named and ("--scans" in message) == named
    assert values["cases.stand_in_mm"] == ["a"] * named and cases.stand_in_mm.tolist() == [named]
    assert ("surface Dice aren't true" in sentences.scored_cases(values)) == named


@pytest.mark.parametrize(("width", "named"), [(120, False), (450, True)])
def test_a_body_as_wide_as_bodies_are_makes_one_millimetre_true(tmp_path, width, named):
    hu = np.full((512, 40, 6), -1000, np.int16)
    hu[20 : 20 + width, 5:35] = 50
    mask = np.uint8(hu > 0)
    for folder in ("r", "p"):
        save(tmp_path / folder, "a.nii.gz", mask, np.diag([-1.0, -1.0, 1.0, 1.0]))
    save(tmp_path / "s", "a.nii.gz", hu, np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert run(tmp_path / "r", tmp_path / "p", "--scans", tmp_path / "s", out=tmp_path / "out") == 0
    assert read(tmp_path / "out")[1]["cases.stand_in_mm"] == ["a"] * named


def test_scans_that_networks_learnt_from_are_named(folders, tmp_path, own_root, capsys):
    """One by the voxels of its scan, whatever it is called there; one by the log beside its mask."""
    hu = np.random.default_rng(0).integers(-100, 100, (40, 36, 14)).astype(np.int16)
    for number in range(3):
        scan = save(tmp_path / "scans", f"volume-{number}.nii.gz", hu + np.int16(number))
    card = own_root / "checkpoints" / "lits102" / "liver" / "final.json"
    files.write_json(card, {"data": {"training": ["another name"], "voxels": [voxel_hash(read_volume(scan).hu)]}})
    files.write_json(folders[1] / "volume-1.json", {"case": "volume-1", "learnt_from": True})
    assert run(*folders, "--scans", tmp_path / "scans", out=tmp_path / "out") == 0
    err = capsys.readouterr().err
    assert "segmentation-2: networks learnt from its scan, those of run lits102" in err and "segmentation-0: networks" not in err
    assert "segmentation-1: networks learnt from its scan, those that made its mask" in err
    assert not {"voxels", "refused"} & set(read(tmp_path / "out")[0].columns)
