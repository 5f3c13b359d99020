"""Many scans through the command line: what one costs the others, what is made anew, whose folder it is."""

import json
import os
import signal
import sys
import threading
import time

import cv2
import filelock
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import command
from dicom_files import write_series
from known_networks import loaded
from test_predict import AFFINE, called, known, scan  # noqa: F401 (a fixture)

from helpers import crews, predict, processes
from helpers.cascade import folders, weights
from helpers.intake.arrivals import Arrivals
from helpers.looking import preview
from helpers.origins import voxel_hash
from helpers.scans.volume import read_volume
from helpers.slices.recipe import Recipe


def save(path, hu=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(scan() if hu is None else hu, AFFINE), path)
    return path


def mask(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture
def loads(monkeypatch, known):  # noqa: F811
    """How often networks were loaded, a list that grows; they come from a file of weights."""
    file, calls = known / "w", []
    file.write_bytes(b"w")

    def load(*_):
        calls.append(1)
        networks = loaded(gate=lambda g: g > 90, tumour=lambda g: g > 250)
        networks["liver"].path = file
        return networks

    monkeypatch.setattr(weights, "load_networks", load)
    return calls


def test_files_folders_and_pictures_are_segmented_with_networks_loaded_once(known, loads, capsys):  # noqa: F811
    save(known / "in" / "a" / "scan.nii.gz")
    save(known / "in" / "b" / "scan.nii.gz", np.minimum(scan(), 50))
    write_series(known / "in" / "p7", scan(), AFFINE)
    lone = save(known / "other" / "volume-3.nii")
    cv2.imwrite(str(known / "slice.png"), np.random.default_rng(0).integers(0, 255, (80, 96), np.uint8))
    assert called(known / "in", lone, known / "slice.png", "-o", "masks") == predict.DONE, capsys.readouterr().err
    names = sorted(p.name for p in (known / "here" / "masks").glob("segmentation-*"))
    assert names == [
        "segmentation-3.nii.gz", "segmentation-a-scan.nii.gz", "segmentation-b-scan.nii.gz",
        "segmentation-p7.nii.gz", "segmentation-slice.png",
    ]  # fmt: skip
    assert len(loads) == 1
    assert np.array_equal(mask("masks/segmentation-p7.nii.gz"), scan() == 100)
    table = pd.read_csv("masks/predictions.csv").set_index("case")
    assert table.outcome["volume-3"] == "ok" and table.liver_ml["volume-3"] == 1500  # 12,000 voxels of 0.125 ml
    assert table.outcome["b-scan"] == "no liver found"
    assert called(lone, "-o", "alone.nii") == predict.DONE  # the same voxels as by itself
    assert np.array_equal(mask("alone.nii"), mask("masks/segmentation-3.nii.gz"))


def test_a_bad_scan_costs_itself_and_what_is_there_stays_unless_it_is_of_other_things(known, loads, capsys):  # noqa: F811
    for name in "ab":
        save(known / "in" / f"{name}.nii")
    (known / "in" / "bad.nii").write_bytes(b"something else")
    assert called(known / "in", "-o", "masks") == predict.FAILED
    out, err = capsys.readouterr()
    assert "3 scans: 2 segmented, 1 failed; masks/predictions.csv" in out
    assert f"helpers.predict: bad: {known / 'in' / 'bad.nii'}: the file is no NIfTI file" in err
    first = os.stat("masks/segmentation-a.nii.gz").st_mtime_ns
    save(known / "in" / "bad.nii", np.flip(scan(), 0))
    assert called(known / "in", "-o", "masks") == predict.DONE
    assert "1 segmented, 2 there already" in capsys.readouterr().out
    assert os.stat("masks/segmentation-a.nii.gz").st_mtime_ns == first
    os.remove("masks/segmentation-b.nii.gz")  # as if killed before its last file
    save(known / "in" / "bad.nii")  # another scan under this name
    assert called(known / "in", "-o", "masks") == predict.DONE
    assert "2 segmented, 1 there already" in capsys.readouterr().out
    assert called(known / "in", "-o", "masks", "--set", "smooth_mm=1.0") == predict.DONE
    assert "3 segmented" in capsys.readouterr().out
    (known / "w").write_bytes(b"other weights")
    assert called(known / "in", "-o", "masks", "--set", "smooth_mm=1.0") == predict.DONE
    assert "3 segmented" in capsys.readouterr().out


def test_a_signal_ends_it_after_the_scan_in_hand_and_it_resumes(known, loads, capsys, monkeypatch):  # noqa: F811
    for name in "abc":
        save(known / "in" / f"{name}.nii")
    written = folders.Segmenter.__call__

    def then_stop(segmenter, item):
        os.kill(os.getpid(), signal.SIGTERM)
        return written(segmenter, item)

    monkeypatch.setattr(folders.Segmenter, "__call__", then_stop)
    assert called(known / "in", "-o", "masks") == predict.PAUSED
    assert "1 segmented, 2 left by SIGTERM, run again to resume" in capsys.readouterr().out
    monkeypatch.setattr(folders.Segmenter, "__call__", written)
    assert called(known / "in", "-o", "masks") == predict.DONE
    assert "2 segmented, 1 there already" in capsys.readouterr().out


def test_what_lies_beside_a_mask_on_request(known, loads):  # noqa: F811
    """Bright: 3 × 3 × 2 voxels of 0.125 ml in the liver, a single one too small, one outside."""
    hu = scan()
    hu[20:23, 30:33, 8:10] = hu[30, 40, 6] = hu[41, 20, 6] = 255
    file = save(known / "volume-1.nii.gz", hu)
    words = ["--probabilities", "--preview", "--set", "min_lesion_ml=0.2", "smooth_mm=0.0", "tumour_threshold=0.5"]
    assert called(file, "-o", "masks", *words) == predict.DONE
    assert called(file, "-o", "one.nii.gz", "--json", *words) == predict.DONE
    for folder in (known / "here" / "masks", known / "here"):
        assert mask(folder / "tumour-probability-1.nii.gz").max() == 255
        assert cv2.imread(str(folder / "preview-1.png")).std() > 20
        log = json.loads((folder / "volume-1.json").read_text())
        assert log["lesions"] == 1 and log["tumour_ml"] == 2.25 and log["learnt_from"] is False
        dropped = {(d["reason"], d["ml"], d["slice"]) for d in log["dropped"]}
        assert dropped == {("under 0.2 ml", 0.125, 6), ("outside the liver", 0.125, 6)}
    assert np.array_equal(mask("one.nii.gz"), mask("masks/segmentation-1.nii.gz"))


def test_a_scan_that_the_networks_learnt_from_is_named_whatever_its_file(known, monkeypatch, capsys):  # noqa: F811
    file = save(known / "new name.nii.gz")
    networks = loaded()
    networks["tumour"].card["data"] = {"voxels": [voxel_hash(read_volume(file).hu)]}
    monkeypatch.setattr(weights, "load_networks", lambda *_: networks)
    assert called(save(known / "b.nii", np.flip(scan(), 0))) == predict.DONE
    assert "learnt" not in capsys.readouterr().err
    write_series(known / "p7", scan(), AFFINE)  # the same voxels as DICOM
    for source in (file, known / "p7"):
        assert called(source) == predict.DONE
        assert "these networks learnt from this scan" in capsys.readouterr().err
    assert called(file, known / "b.nii", "-o", "masks") == predict.DONE
    assert "the networks learnt from new_name: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{}/in", "-o", "{}/in"], "in: holds the input, or lies in it"),
        (["{}/in", "-o", "{}/in/masks"], "holds the input, or lies in it"),
        (["{}/in/a.nii", "{}/in/b.nii", "-o", "{}/in"], "holds the input"),
        (["{}/in/a.nii", "{}/in/b.nii"], "-o FOLDER: the masks of several scans go to a folder"),
        (["{}/in/a.nii", "{}/in/b.nii", "-o", "m.nii.gz"], "m.nii.gz is a file: the masks of several"),
        (["{}/in", "{}/nothing", "-o", "masks"], "nothing: no such file"),
        (["{}/in", "-o", "masks", "--series", "1"], "are of one scan"),
        (["--watch", "{}/nothing", "-o", "masks"], "no such folder to watch"),
        (["--watch", "{}/in", "-o", "{}/in/masks"], "holds the input, or lies in it"),
    ],
)
def test_what_cannot_be_meant_is_refused(known, loads, capsys, words, message):  # noqa: F811
    for name in "ab":
        save(known / "in" / f"{name}.nii")
    assert called(*(word.format(known) for word in words)) == predict.USAGE
    assert message in capsys.readouterr().err and not list((known / "here").rglob("seg*"))
    assert sorted(p.name for p in (known / "in").iterdir()) == ["a.nii", "b.nii"] and not loads


def test_files_of_others_are_not_written_over(known, loads, capsys):  # noqa: F811
    """A reference, another program's JSON, and the mask of a scan of the same name elsewhere."""
    for name in ("volume-0", "b", "c"):
        save(known / "in" / f"{name}.nii")
    (known / "here" / "masks").mkdir()
    nib.save(nib.Nifti1Image(np.uint8(scan() == 100), AFFINE), "masks/segmentation-0.nii.gz")
    (known / "here" / "masks" / "b.json").write_text('{"Modality": "CT"}')
    assert called(save(known / "elsewhere" / "c.nii"), "-o", "masks") == predict.DONE
    before = {p.name: p.read_bytes() for p in (known / "here" / "masks").glob("*[zn]")}
    assert called(known / "in", "-o", "masks") == predict.FAILED
    err = capsys.readouterr().err
    assert "segmentation-0.nii.gz is there already and no mask of ours" in err
    assert "b.json is there already and no log of ours" in err
    assert f"segmentation-c.nii.gz is of {known / 'elsewhere' / 'c.nii'}; choose another folder" in err
    assert {p.name: p.read_bytes() for p in (known / "here" / "masks").glob("*[zn]")} == before


def test_two_at_once_do_not_share_a_folder(known, loads, capsys):  # noqa: F811
    file = save(known / "in" / "a.nii")
    (known / "here" / "masks").mkdir()
    with filelock.FileLock(known / "here" / "masks" / ".lock"):
        assert called(file, "-o", "masks") == predict.FAILED
    assert "masks: another helpers.predict writes its masks there; wait for it" in capsys.readouterr().err
    assert called(file, "-o", "masks") == predict.DONE


def test_two_patients_in_one_folder_are_two_scans(known, loads, capsys):  # noqa: F811
    for patient in "12":

        def change(ds, k, patient=patient):
            ds.PatientID, ds.SeriesInstanceUID = f"patient {patient}", "1.2.3"

        write_series(known / "in", scan(), AFFINE, [f"{patient}-{k}" for k in range(20)], change)
    assert called(known / "in", "-o", "masks") == predict.DONE
    assert "in: its series are of 2 patients; each is a scan of its own" in capsys.readouterr().err
    assert len(list((known / "here" / "masks").glob("segmentation-*"))) == 2


def test_a_watched_folder_gives_each_scan_once_when_it_is_whole(known, loads, capsys):  # noqa: F811
    inbox, masks = known / "in", known / "here" / "masks"
    inbox.mkdir()
    whole = save(known / "whole.nii").read_bytes()

    def wait_for(name):
        until = time.monotonic() + 60
        while not (masks / name).exists() and time.monotonic() < until:
            time.sleep(0.02)

    def bring():
        save(inbox / "a.nii")
        wait_for("segmentation-a.nii.gz")
        for k in range(6):  # it grows at each look, and is no scan yet
            (inbox / "b.nii").write_bytes(whole[: (k + 1) * len(whole) // 6])
            time.sleep(0.15)
        (inbox / "bad.nii").write_bytes(b"x")
        wait_for("segmentation-b.nii.gz")
        wait_for("bad.json")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=bring)
    thread.start()
    assert called("--watch", inbox, "-o", "masks", "--every", "0.3") == predict.FAILED
    thread.join()
    out = capsys.readouterr().out
    assert [out.count(f"\n{name}: ") for name in ("a", "b", "bad")] == [1, 1, 1] and " s)" in out
    assert "failed" not in out[out.index("\nb: ") : out.index("\nb: ") + 20]
    assert np.array_equal(mask(masks / "segmentation-b.nii.gz"), scan() == 100)


def test_a_watched_scan_keeps_its_name_when_another_of_that_name_comes(known):  # noqa: F811
    def names():
        return {case.image.parent.name: case.name for case in (arrivals.whole(), arrivals.whole())[1]}

    arrivals = Arrivals(known / "in")
    first = save(known / "in" / "a" / "scan.nii")
    assert names() == {"a": "scan"}
    save(known / "in" / "b" / "scan.nii")
    assert names() == {"a": "scan", "b": "b-scan"}
    arrivals = Arrivals(known / "in", {str(first): "scan"})  # started again: what the logs say
    assert names() == {"a": "scan", "b": "b-scan"}


def test_a_preview_without_matplotlib_is_said(known, loads, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "helpers.looking.preview", None)
    monkeypatch.delattr("helpers.looking.preview")
    assert called(save(known / "a.nii"), "--preview") == predict.FAILED
    assert "--preview: " in (err := capsys.readouterr().err) and "pip install matplotlib seaborn" in err


def test_two_processes_write_the_masks_of_one(known):  # noqa: F811
    """With networks that learnt nothing, from their files: processes share no memory."""
    for stage in ("liver", "tumour"):
        torch.manual_seed(len(stage))
        net = weights.build("unet", 1, 1, 4, 2).eval()
        card = {"network": {"model": "unet", "in_channels": 1, "width": 4, "levels": 2}, "stage": stage}
        card |= {"neighbours": 0, "norm": [0.0, 255.0], "recipe": Recipe(windows=((-160, 240),), size=64).as_dict()}
        weights.save_weights(known / "checkpoints" / "random" / stage / "final.safetensors", net, card)
    for number in range(3):
        noise = np.random.default_rng(number).normal(0, 60, scan().shape).astype(np.int16)
        save(known / "in" / f"{number}.nii", scan() + noise)
    words = [known / "in", "--run", "random", "--set", "min_liver_ml=0.0", "liver_threshold=0.05"]
    for folder, workers in (("one", 1), ("two", 2)):
        done = command(known, "helpers.predict", *words, "-o", folder, "--probabilities", "--workers", workers, cwd=known)
        assert done.returncode == 0 and "3 segmented" in done.stdout, done.stdout + done.stderr
    for file in (known / "one").glob("*.nii.gz"):
        one, two = mask(file), mask(known / "two" / file.name)
        assert np.array_equal(one, two) and (one.any() or "tta-std" in file.name)  # no second look without a finding


def test_a_scan_that_ends_its_process_twice_is_recorded(known, loads, monkeypatch):  # noqa: F811
    file = save(known / "a.nii")
    folder = predict.runs.Folder(known / "masks")
    item = predict.Item(predict.inputs.chosen_case(file), folder.prediction("a"))
    segmenter = folders.Segmenter(None, folder)
    monkeypatch.setattr(crews, "spread", lambda *_: [(0, processes.WorkerDied("SIGKILL"))])
    done = folders.segment_all(segmenter, [item], [])
    assert done.failed == {"a": f"{file}: ended its process (SIGKILL), most often for want of memory"} and not done.left
    assert pd.read_csv(known / "masks" / "predictions.csv").outcome.tolist() == ["failed"]


def test_a_dask_cluster_writes_the_same_masks(known, loads, capsys):  # noqa: F811
    distributed = pytest.importorskip("distributed")
    for name in "ab":
        save(known / "in" / f"{name}.nii")
    (known / "in" / "bad.nii").write_bytes(b"something else")
    assert called(known / "in", "-o", "one") == predict.FAILED
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        words = [known / "in", "-o", "two", "--scheduler", cluster.scheduler_address]
        assert called(*words) == predict.FAILED
        assert "2 segmented, 1 failed" in (out := capsys.readouterr()).out and "bad.nii: the file is no NIfTI" in out.err
        assert called(*words) == predict.FAILED and "2 there already, 1 failed" in capsys.readouterr().out
    for name in "ab":
        assert np.array_equal(mask(f"one/segmentation-{name}.nii.gz"), mask(f"two/segmentation-{name}.nii.gz"))
    assert called(known / "in", "-o", "three", "--scheduler", "tcp://127.0.0.1:9") == predict.FAILED
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_a_missing_dask_is_said(known, loads, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert called(save(known / "a.nii"), "-o", "masks", "--scheduler", "tcp://host:8786") == predict.FAILED
    assert "scheduler tcp://host:8786: import of distributed halted" in (err := capsys.readouterr().err) and "pip install distributed" in err


def test_a_preview_shows_most_tumour_and_the_rest_of_the_liver():
    labels = np.zeros((100, 4, 4), np.uint8)
    labels[20:80, 1:3, 1:3] = 1
    labels[50:56, 1, 1] = 2
    labels[52, 1:3, 1] = 2  # most of it; what lies within 3 slices of it shows the same
    shown = preview.slices_to_show(labels, count=8)
    assert 52 in shown and len(shown) == 8 and shown == sorted(shown) and 23 in shown and 76 in shown
    assert min(np.diff(shown)) >= 3
    assert preview.slices_to_show(labels * 0, count=4) == [5, 27, 49, 94] and preview.slices_to_show(labels[:1]) == [0]


def test_a_mask_corrected_by_hand_stays(known, loads, capsys):  # noqa: F811
    file, out = save(known / "in" / "a.nii"), known / "masks" / "segmentation-a.nii.gz"
    words = known / "in", "-o", known / "masks"
    assert called(*words) == predict.DONE and called(*words) == predict.DONE
    image = nib.load(out)
    corrected = np.asarray(image.dataobj).copy()
    corrected[:3] = 1
    nib.save(nib.Nifti1Image(corrected, image.affine, image.header), out)  # as ours says its header
    capsys.readouterr()
    for more in ((), ("--preview",), ("--set", "tumour_threshold=0.9")):
        assert called(*words, *more) == predict.FAILED
        assert "segmentation-a.nii.gz: was changed after it was written" in capsys.readouterr().err
    assert np.array_equal(mask(out), corrected)
    out.unlink()
    assert called(*words) == predict.DONE and not np.array_equal(mask(out), corrected) and file.exists()


def test_tables_and_logs_of_others_stay(known, loads, capsys):  # noqa: F811
    file, out = save(known / "ct.nii"), known / "masks"
    out.mkdir()
    for name, text, words in (("ct.json", '{"EchoTime": 1}', (file, "-o", out / "ct.nii.gz", "--json")),
                              ("predictions.csv", "mine,1\n", (file, "-o", out))):
        (out / name).write_text(text)
        (out / "preview-ct.png").write_bytes(b"mine")
        assert called(*words) == predict.FAILED
        assert name in (err := capsys.readouterr().err) and "of ours" in err
        assert (out / name).read_text() == text and not list(out.glob("*.nii.gz"))
        if name == "ct.json":
            assert called(*words[:-1]) == predict.DONE and (out / name).read_text() == text
            (out / "ct.nii.gz").unlink()
        assert (out / "preview-ct.png").read_bytes() == b"mine"
        (out / name).unlink()


def test_a_scan_keeps_its_name_and_its_mask_whatever_comes_beside_it(known, loads):  # noqa: F811
    """Another scan of the same name, and slices of a series that come before those that were there."""
    save(known / "in" / "a" / "scan.nii")
    files = write_series(known / "in" / "pat", scan(), AFFINE)
    late = sorted((known / "in" / "pat").iterdir())[:4]
    kept = {path: path.read_bytes() for path in late}
    for path in late:
        path.unlink()
    words = known / "in", "-o", known / "masks"
    assert called(*words) == predict.DONE
    save(known / "in" / "b" / "scan.nii")
    for path, content in kept.items():
        path.write_bytes(content)
    assert called(*words) == predict.DONE
    table = pd.read_csv(known / "masks" / "predictions.csv", index_col="case")
    assert sorted(table.index) == ["b-scan", "pat", "scan"], files
    assert mask(known / "masks" / "segmentation-pat.nii.gz").shape[2] == scan().shape[2]


def test_files_of_one_series_are_one_scan(known, loads):  # noqa: F811
    write_series(known / "p7", scan(), AFFINE)
    assert called(*sorted((known / "p7").iterdir())[:5], "-o", known / "masks") == predict.DONE
    assert len(list((known / "masks").glob("segmentation-*"))) == 1


def test_a_watch_that_cannot_be_is_refused_or_ends(known, loads, capsys):  # noqa: F811
    (known / "inbox").mkdir()
    for every in ("0", "-1", "nan", "inf"):
        with pytest.raises(SystemExit) as ended:
            called("--watch", known / "inbox", "-o", "masks", "--every", every)
        assert ended.value.code == 2 and "--every" in capsys.readouterr().err
    threading.Timer(1.0, (known / "inbox").rmdir).start()
    assert called("--watch", known / "inbox", "-o", "masks", "--every", "0.3") == predict.FAILED
    assert "inbox: the watched folder is gone" in capsys.readouterr().err


def test_a_scheduler_for_one_file_is_refused(known, capsys):  # noqa: F811
    with pytest.raises(SystemExit) as ended:
        called(save(known / "a.nii"), "--scheduler", "tcp://127.0.0.1:9")
    assert ended.value.code == 2 and "name a folder with -o" in capsys.readouterr().err


def test_ctrl_c_on_one_scan_ends_without_a_traceback(known, loads, capsys, monkeypatch):  # noqa: F811
    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("helpers.cascade.pipeline.segment", pressed)
    assert called(save(known / "a.nii"), "-o", known / "m.nii.gz") == predict.PAUSED
    assert "stopped" in capsys.readouterr().err and not (known / "m.nii.gz").exists()
