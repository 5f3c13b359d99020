"""One scan in any form through the command line, with networks whose answers are known."""

import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pydicom
import pytest
from dicom_files import write_series
from known_networks import loaded

from helpers import predict
from helpers.cascade import weights
from helpers.intake import quality_control
from helpers.scans.folder import scan_folder

AFFINE = np.array([[-5.0, 0, 0, 90], [0, -5, 0, 80], [0, 0, 5, -300], [0, 0, 0, 1]])


def scan():
    """A liver of 100 HU in air, 30 × 40 × 10 voxels of 0.125 ml, that leaves no doubt about any axis."""
    hu = np.full((64, 56, 20), -1000, np.int16)
    hu[10:40, 12:52, 4:14] = 100
    return hu


@pytest.fixture
def known(own_root, monkeypatch):
    """A run "known" whose networks call everything above 90 HU liver; the working folder is empty."""
    (own_root / "checkpoints" / "known").mkdir(parents=True)
    (own_root / "here").mkdir()
    monkeypatch.chdir(own_root / "here")
    monkeypatch.setattr(weights, "load_networks", lambda *_: loaded(gate=lambda g: g > 90, tumour=lambda g: g > 250))
    return own_root


def called(*words):
    return predict.main([*map(str, words), "--run", "known"])


@pytest.mark.parametrize("inside", ["", "study/series 1"])
def test_dicom_folder_gets_a_mask_on_its_own_grid(known, inside, capsys):
    folder = known / "scans" / "Patient é 7"
    names = [f"IM{n}" for n in np.random.default_rng(0).permutation(20)]
    write_series(folder / inside, scan(), AFFINE, names)
    assert called(folder) == predict.DONE, capsys.readouterr().err
    (out,) = (known / "here").iterdir()
    assert out.name == ("segmentation-series_1.nii.gz" if inside else "segmentation-Patient_é_7.nii.gz")
    mask = nib.load(out)
    assert np.array_equal(np.asarray(mask.dataobj), scan() == 100) and np.allclose(mask.affine, AFFINE)


def test_one_file_of_a_series_stands_for_the_series(known):
    files = write_series(known / "p7", scan(), AFFINE)
    assert called(files[11], "-o", "out.nii") == predict.DONE
    assert nib.load("out.nii").shape == (64, 56, 20)


def test_several_series_are_listed_and_one_is_chosen(known, capsys):
    for number, height in ((3, 20), (12, 16)):
        write_series(known / "p7", scan()[:, :, :height], AFFINE, [f"{number}-{k}" for k in range(height)], number=number)
    assert called(known / "p7") == predict.USAGE
    err = capsys.readouterr().err
    assert "holds 2 series; choose one" in err
    assert "--series 1  p7-3  phase 3, axial, 20 files" in err and "--series 2  p7-12  phase 12, axial, 16 files" in err
    assert called(known / "p7", "--series", 3) == predict.USAGE and "counted from 1" in capsys.readouterr().err
    assert called(known / "p7", "--series", 2) == predict.DONE
    assert nib.load("segmentation-p7-12.nii.gz").shape == (64, 56, 16)


def test_series_with_a_missing_slice_is_refused_and_leaves_nothing(known, capsys):
    write_series(known / "p7", scan(), AFFINE)[9].unlink()
    assert called(known / "p7") == predict.FAILED
    assert "p7: slices are missing" in (err := capsys.readouterr().err) and "10 mm after 008.dcm, 5 mm elsewhere" in err
    assert not list((known / "here").iterdir())


def two_phases(folder):
    """Two scans half a step apart in one series, as AcquisitionNumber 1 and 2; the second has no liver."""
    for number, hu in ((1, scan()), (2, np.minimum(scan(), 50))):

        def change(ds, k, number=number):
            ds.SeriesInstanceUID, ds.AcquisitionNumber = "1.2.3", number

        affine = AFFINE + 2.5 * (number - 1) * np.eye(4)[2][:, None] * np.eye(4)[3]
        write_series(folder, hu, affine, [f"{number}-{k}" for k in range(20)], change)


def test_one_of_several_acquisitions_is_chosen(known, capsys):
    two_phases(known / "p7")
    assert called(known / "p7") == predict.FAILED
    err = capsys.readouterr().err
    assert "2 acquisitions, distinguished by AcquisitionNumber: 1 (20 slices, 5 mm apart), 2 (20" in err and "--acquisition" in err
    assert called(known / "p7", "--acquisition", 3) == predict.FAILED and "there is no acquisition '3'" in capsys.readouterr().err
    assert called(known / "p7", "--acquisition", 1) == predict.DONE
    assert np.array_equal(np.asarray(nib.load("segmentation-p7.nii.gz").dataobj), scan() == 100)
    assert called(known / "p7" / "2-4", "--acquisition", 2, "-o", "two.nii.gz") == predict.DONE
    assert not np.asarray(nib.load("two.nii.gz").dataobj).any()
    nib.save(nib.Nifti1Image(scan(), AFFINE), known / "a.nii")
    capsys.readouterr()
    assert called(known / "a.nii", "--acquisition", 1) == predict.USAGE and "is no DICOM file" in capsys.readouterr().err


def test_what_a_folder_holds_besides_is_named(known, capsys):
    def coronal(ds, k):
        ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    write_series(known / "p7", scan(), AFFINE)
    write_series(known / "p7", scan()[:, :, :1], AFFINE, ["scout"], coronal)
    (known / "p7" / "notes.txt").write_text("x")
    assert called(known / "p7") == predict.DONE
    assert "p7: ignored: 1 × DICOM pictures beside a scan" in (err := capsys.readouterr().err) and "(notes.txt)" in err and "(scout)" in err


def test_a_dicomdir_stands_for_its_folder(known):
    write_series(known / "p7" / "IMAGES", scan(), AFFINE)
    (known / "p7" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    assert called(known / "p7" / "DICOMDIR", "-o", "out.nii") == predict.DONE and nib.load("out.nii").shape == (64, 56, 20)


@pytest.mark.parametrize("kind", ["phases", "gap", "offset", "grey", "cut off"])
def test_a_scan_is_refused_with_the_words_of_01(known, capsys, kind):
    source = known / "p7"
    if kind == "phases":
        two_phases(source)
    elif kind == "gap":
        write_series(source, scan(), AFFINE)[9].unlink()
    else:
        source = known / "p7.nii"
        hu = {"offset": scan() + np.int16(1024), "grey": np.uint8(scan() > 0), "cut off": scan()}[kind]
        nib.save(nib.Nifti1Image(hu, AFFINE), source)
        source.write_bytes(source.read_bytes()[: -9 if kind == "cut off" else None])
    row = quality_control.examine(scan_folder(source if source.is_dir() else known)[0][0])[0]
    assert row["verdict"] == "quarantined"
    assert called(source) == predict.FAILED
    reason = row["reason"].removesuffix("; there is no mask; the case can be predicted, not trained or scored")
    assert f"helpers.predict: {source}: {reason}; what to do: {row['to_do']}\n" in capsys.readouterr().err


def test_repair_is_said(known, capsys):
    first = write_series(known / "p7", scan(), AFFINE)[0]
    (first.parent / "copy").write_bytes(first.read_bytes())
    assert called(known / "p7") == predict.DONE
    assert "slices that are there twice were used once: " in capsys.readouterr().err


def test_a_series_gets_a_dicom_seg(known, capsys):
    pytest.importorskip("highdicom", reason="highdicom isn't installed: pip install highdicom")
    write_series(known / "p7", scan(), AFFINE)
    assert called(known / "p7", "--dicom-seg") == predict.DONE
    written = pydicom.dcmread("segmentation-p7.dcm")
    assert written.Modality == "SEG" and written.pixel_array.sum() == np.count_nonzero(scan() == 100)
    assert called(known / "p7", "--dicom-seg") == predict.DONE  # its own may be made anew
    written.Manufacturer = "somebody else"
    written.save_as("segmentation-p7.dcm")
    assert called(known / "p7", "--dicom-seg") == predict.FAILED
    assert "segmentation-p7.dcm: is there already and not ours" in capsys.readouterr().err
    nib.save(nib.Nifti1Image(scan(), AFFINE), known / "a.nii")
    assert called(known / "a.nii", "--dicom-seg") == predict.FAILED
    assert "a.nii: is no DICOM series, and a DICOM-SEG refers to one" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["volume-3.nii.gz", "scan é.NII"])
def test_nifti_file(known, name):
    nib.save(nib.Nifti1Image(scan(), AFFINE), known / name.lower())
    (known / name.lower()).rename(known / name)
    assert called(known / name) == predict.DONE
    (out,) = (known / "here").iterdir()
    assert out.name == ("segmentation-3.nii.gz" if name.startswith("volume") else "segmentation-scan é.nii.gz")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{}/nothing.nii"], "nothing.nii: no such file"),
        (["{}/nifti"], "nifti: is a folder without a DICOM series; give one file"),
        (["{}/empty"], "no scans found"),
        (["{}/nifti/a.nii", "--series", "1"], "--series chooses from a folder"),
        (["{}/nifti/a.nii", "-o", "a.png"], "a.png: the mask of a.nii is written as .nii.gz or .nii"),
        (["{}/nifti/a.nii", "-o", "{}/nifti/a.nii"], "is the input itself"),
        (["{}/nifti/a.nii", "--set", "necks_mm=1"], "'necks_mm' is now called 'neck_widths_mm'"),
        (["{}/nifti/a.nii", "--set", "most_fat=1"], "'most_fat' is no parameter any more: what the tumour network finds"),
        (["{}/nifti/a.nii", "--set", "min_peak_probability=0.5"], "is no parameter any more: a finding counts from"),
        (["{}/nifti/a.nii", "--set", "reach_mm=9"], "'reach_mm' is no parameter any more: tumours are"),
        (["{}/nifti/a.nii", "--set", "most_fatt=1"], "the cascade has no rule 'most_fatt'; there are"),
        (["{}/nifti/a.nii", "--set", "neck_widths_mm=18"], "neck_widths_mm=18: is int, the default (12.0, 18.0, 27.0) is tuple"),
        (["{}/nifti/a.nii", "--set", "smooth_mm"], "write NAME=VALUE"),
    ],
)
def test_what_cannot_be_meant_is_refused(known, capsys, words, said):
    (known / "nifti").mkdir()
    (known / "empty").mkdir()
    nib.save(nib.Nifti1Image(scan(), AFFINE), known / "nifti" / "a.nii")
    assert called(*(word.format(known) for word in words)) == predict.USAGE
    assert said in capsys.readouterr().err and not list((known / "here").iterdir())


def test_rules_can_be_set(known, capsys):
    nib.save(nib.Nifti1Image(scan(), AFFINE), known / "a.nii")
    assert called(known / "a.nii") == predict.DONE and "no liver found" not in capsys.readouterr().out
    assert called(known / "a.nii", "--set", "min_liver_ml=1e9", "neck_widths_mm=[]") == predict.DONE
    assert "no liver found" in capsys.readouterr().out


def test_rules_given_in_several_words_all_count(known, capsys):
    nib.save(nib.Nifti1Image(scan(), AFFINE), known / "a.nii")
    assert called(known / "a.nii", "--set", "min_liver_ml=1e9", "--set", "neck_widths_mm=[]") == predict.DONE
    assert "no liver found" in capsys.readouterr().out


def test_a_reference_of_the_masks_name_is_not_written_over(known, capsys):
    nib.save(nib.Nifti1Image(scan(), AFFINE), known / "volume-0.nii")
    nib.save(nib.Nifti1Image(np.uint8(scan() == 100), AFFINE), "segmentation-0.nii.gz")
    before = (known / "here" / "segmentation-0.nii.gz").read_bytes()
    assert called(known / "volume-0.nii") == predict.USAGE
    assert "segmentation-0.nii.gz: is there already and no mask of ours" in capsys.readouterr().err
    assert (known / "here" / "segmentation-0.nii.gz").read_bytes() == before
    assert called(known / "volume-0.nii", "-o", "mine.nii.gz") == predict.DONE
    (known / "here" / "mine.nii.gz").rename(known / "here" / "segmentation-0.nii.gz")
    assert called(known / "volume-0.nii") == predict.DONE  # its own mask may be made anew


def test_a_reference_picture_is_not_written_over(known, capsys):
    (known / "volume-3_slice_7.png").touch()
    Path("segmentation-3_slice_7.png").touch()
    assert called(known / "volume-3_slice_7.png") == predict.USAGE
    assert "segmentation-3_slice_7.png: is there already and no mask of ours" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_said(known, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    nib.save(nib.Nifti1Image(scan(), AFFINE), known / "a.nii")
    assert called(known / "a.nii", "--device", "cuda") == predict.FAILED
    assert "torch finds no NVIDIA GPU here; take --device cpu" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"), [("b.nrrd", "another format: save it as .nii.gz"), ("c.dcm", "c.dcm"), ("d.nii", "d.nii")]
)
def test_file_that_cannot_be_read_is_named(known, capsys, name, said):
    (known / name).write_bytes(b"something else")
    assert called(known / name) == predict.FAILED
    assert said in capsys.readouterr().err and not list((known / "here").iterdir())


def test_where_the_seconds_went(known, capsys):
    """Every part once and in order; together they are the process's life up to the mask."""
    began = psutil.Process().create_time()
    nib.save(nib.Nifti1Image(scan(), AFFINE), known / "a.nii")
    assert called(known / "a.nii", "--time") == predict.DONE
    lived = time.time() - began
    rows = [line.rpartition(" s")[0].split() for line in capsys.readouterr().out.splitlines()[:11]]
    spent = {name: float(seconds) for name, seconds in rows}
    assert list(spent) == ["start", "reading", "loading", "gate", "liver", "components", "tumour", "lesions", "checks", "writing", "all"]
    assert lived - 2 < spent["all"] < lived + 0.01 and spent["all"] == pytest.approx(sum(spent.values()) / 2, abs=0.06)


def test_a_damaged_scan_takes_no_torch(tmp_path):
    """Reading a scan and learning that it is damaged is quick: torch comes after it."""
    (tmp_path / "d.nii").write_bytes(b"something else")
    code = "import sys; from helpers import predict; print(predict.main(sys.argv[1:]), 'torch' in sys.modules)"
    words = [str(tmp_path / "d.nii"), "-o", str(tmp_path / "m.nii"), "--set", "smooth_mm=1.0"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.stdout.split() == [str(predict.FAILED), "False"], done.stderr
