"""The command line as a user meets it: one clear sentence, the right exit code, nothing written."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, command
from corpus import Place

from helpers import files, jobs, parameters, run, run_parameters, runs, side_by_side


@pytest.mark.parametrize(
    "words, said",
    [
        (["--set", "learnig_rate=0.1"], "no selected notebook has a parameter 'learnig_rate'"),
        (["--set", "rounds=3"], "'rounds' is now called 'epochs'"),
        (["--set", "seed=often"], "seed='often': is str"),
        (["--set", "seed"], "write NAME=VALUE"),
        (["--data", "no/such/folder"], "no such folder"),
        (["--data", "{empty}"], "no scans found"),
        (["--only", "09"], "there is no notebook '09'"),
        (["--only", "05", "--run", "never"], "there is no run 'never' yet"),
        (["--only", "05", "--data", "{empty}"], "--data is read by notebook 01"),
        (["--run", "../x"], "run name '../x'"),
        (["--set", "stage=spleen"], "stage 'spleen': choose one of gate, liver, tumour"),
        (["--set", "trial=../x"], "run name '../x'"),
        (["--only", "04,05", "--inline"], "--inline runs notebook 04: --only 04"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(words, said, own_root, capsys):
    (own_root / "empty").mkdir()
    assert run.main([w.format(empty=own_root / "empty") for w in words]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert [p.name for p in own_root.iterdir()] == ["empty"]


def test_processes_of_torchrun_run_nothing_but_what_they_can_share(own_root, capsys, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert run.main(["--only", "04"]) == 2
    assert "torchrun starts processes that train together: --only 04 --inline" in capsys.readouterr().err


def test_values_get_the_type_of_the_default():
    assert parameters.values_given(["a=1", "f='7'", "g=b=c"]) == {"a": "1", "f": "'7'", "g": "b=c"}
    read = {("5", 50.0): 5.0, ("true", False): True, ("[[1, 2]]", ()): ([1, 2],), ("'7'", "demo"): "7", ("7", "demo"): "7",
            ("1e3", ""): "1e3", ("0,1,2", ""): "0,1,2", ("3", 4): 3, ("['a', 'b*']", ""): "a,b*", ("[0-9]", ""): "[0-9]", ("[12]", ""): "[12]"}  # fmt: skip
    for (text, default), wanted in read.items():
        found = parameters.of_type("name", text, default)
        assert found == wanted and type(found) is type(wanted)
    with pytest.raises(parameters.Usage):
        parameters.of_type("epochs", "1.5", 3)
    assert parameters.listed(" cv1, cv2,") == ["cv1", "cv2"] and parameters.listed("") == [] == parameters.listed([])
    assert parameters.listed(["a", " b,c"]) == ["a", "b,c"]


def test_a_trial_lies_apart_under_its_own_name(own_root):
    (own_root / "data_lists" / "r").mkdir(parents=True)
    asked = run.asked(["--run", "r", "--only", "04", "--set", "stage=tumour", "trial=wide"])
    (job,) = run.planned(asked, runs.Run("r"))
    assert (job.name, job.part, job.parameters["stage"]) == ("04_training_tumour_wide", "tumour", "tumour")
    assert runs.relative(runs.Run("r").training("wide")) == "checkpoints/r/trials/wide"
    assert runs.Run("r").training() == runs.Run("r").checkpoints


def asked_for(words):
    """The jobs of a command line, whose parameters are then kept as `main` does."""
    ask = run.asked(words)
    jobs = run.planned(ask, runs.Run(ask.run))
    run_parameters.remember(runs.Run(ask.run), jobs)
    return {job.name: job.parameters for job in jobs}


def test_a_run_takes_the_parameters_that_it_was_made_with(own_root, capsys):
    Place(own_root / "scans" / "1", 1).save()
    data = ["--data", str(own_root / "scans")]
    first = asked_for(["--run", "r", *data, "--set", "val_share=0.3", "epochs=5", "flips={'volume-1': 'y'}"])
    assert capsys.readouterr().out == ""  # there is nothing of before
    again = asked_for(["--run", "r"])
    assert again == first and again["01_exploration"]["data"] == "scans"
    printed = capsys.readouterr().out
    assert printed.startswith("as before: data='scans', flips={'volume-1': 'y'}, val_share=0.3, epochs=5; ")
    changed = asked_for(["--run", "r", "--set", "epochs=9", "seed=8"])
    assert {changed[f"04_training_{stage}"]["epochs"] for stage in ("gate", "liver", "tumour")} == {9}
    assert capsys.readouterr().out.splitlines()[1:] == ["seed was 7, is 8", "epochs was 5, is 9"]  # a line for three stages
    assert asked_for(["--run", "r"]) == changed


def test_a_stage_and_a_trial_have_parameters_of_their_own(own_root):
    (own_root / "data_lists" / "r").mkdir(parents=True)
    only = ["--run", "r", "--only", "04"]
    asked_for([*only, "--set", "stage=liver", "width=8", "batch_size=4"])
    asked_for([*only, "--set", "stage=liver", "trial=wide", "width=24"])
    whole = asked_for(only)
    assert [(name, job["stage"], job["trial"], job["width"]) for name, job in whole.items()] == [
        ("04_training_gate", "gate", "", 0), ("04_training_liver", "liver", "", 8), ("04_training_tumour", "tumour", "", 0)]
    trial = asked_for([*only, "--set", "stage=liver", "trial=wide"])["04_training_liver_wide"]
    assert (trial["width"], trial["batch_size"]) == (24, 4)  # its own, and for the rest those of the run


def test_what_was_given_to_an_older_run_stands_in_its_stamps(own_root):
    stages = own_root / "reports" / "r" / "stages"
    settings = {"seed": 7, "rounds": 3, "reach_mm": 5.0, "batch_size": "often", "loss": "dice"}
    files.write_json(stages / "04_training_gate.json", {"state": "begun", "settings": settings})
    job = asked_for(["--run", "r", "--only", "04", "--set", "stage=gate"])["04_training_gate"]
    assert (job["epochs"], job["loss"], job["batch_size"]) == (3, "dice", 8)
    assert files.read_json(own_root / "data_lists" / "r" / "parameters.json") == {"04_training_gate": {"epochs": 3, "loss": "dice"}}


def test_parameters_that_are_no_more_are_named_once(own_root, capsys):
    kept = own_root / "data_lists" / "r" / "parameters.json"
    files.write_json(kept, {"05_cascade_inference": {"mirrored": False, "reach_mm": 5.0, "batch_size": [4]}})
    job = asked_for(["--run", "r", "--only", "05"])["05_cascade_inference"]
    assert job["flip_tta"] is False and job["batch_size"] == 8
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "as before: flip_tta=False; --set without a value shows all"
    assert "reach_mm=5.0, as before, is left out: tumours are sought inside" in others[0]
    assert "batch_size=[4], as before, is left out: " in others[1] and "is list" in others[1]
    asked_for(["--run", "r", "--only", "05"])
    assert "left out" not in capsys.readouterr().out
    kept.write_text("{damaged")
    assert asked_for(["--run", "r", "--only", "05"])["05_cascade_inference"]["flip_tta"] is True


def test_set_without_a_value_shows_all_parameters(own_root, capsys):
    (own_root / "data_lists" / "r").mkdir(parents=True)
    asked_for(["--run", "r", "--only", "04", "--set", "stage=liver", "width=8"])
    kept = runs.Run("r").lists / "parameters.json"
    before = kept.read_bytes()
    capsys.readouterr()
    assert run.main(["--run", "r", "--set"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["04_training"] in lines and ["chunk_minutes", "50.0"] in lines
    assert ["width", "0", "(gate,", "tumour),", "8", "(liver)", "default", "0"] in lines
    assert kept.read_bytes() == before and sorted(p.name for p in own_root.iterdir()) == ["data_lists"]


def test_folds_are_runs_of_their_own_that_share_the_cores(own_root, monkeypatch, capsys):
    """Three on four cores: one thread each. What is paused or failed decides the exit code."""
    code = "import os, sys; print(os.environ['OMP_NUM_THREADS'], *sys.argv[1:]); sys.exit({} if 'fold=1' in sys.argv else 0)"
    monkeypatch.setattr(side_by_side.processes, "cores", lambda: 4)
    words = ["--run", "cv", "--folds", "3", "--set", "test_share=0.0", "seed=3"]
    for end, exit_code, sentence in ((75, run.PAUSED, "paused, run again to resume"), (2, run.FAILED, "refused"), (0, run.DONE, "done")):
        monkeypatch.setattr(side_by_side, "COMMAND", (sys.executable, "-c", code.format(end)))
        assert run.main(words) == exit_code
        lines = capsys.readouterr().out.splitlines()
        assert sorted(lines[:3]) == [f"fold {k}: 1 --run cv-fold{k} --set test_share=0.0 seed=3 folds=3 fold={k}" for k in range(3)]
        assert lines[3:] == ["fold 0: done", f"fold 1: {sentence}", "fold 2: done"]
    assert run.main([*words, "smed=3"]) == run.USAGE and "has a parameter 'smed'" in capsys.readouterr().err


def test_a_signal_pauses_the_folds_at_work_and_begins_no_more(own_root, monkeypatch, capsys):
    begun = own_root / "begun"
    code = ("import pathlib, signal, sys, time; signal.signal(signal.SIGINT, lambda *_: sys.exit(75)); "
            f"pathlib.Path({str(begun)!r}).touch(); time.sleep(60)")
    monkeypatch.setattr(side_by_side, "COMMAND", (sys.executable, "-c", code))
    monkeypatch.setattr(side_by_side.processes, "cores", lambda: 1)

    def interrupt():
        while not begun.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    assert run.main(["--run", "cv", "--folds", "2"]) == run.PAUSED
    assert capsys.readouterr().out.splitlines() == [f"fold {k}: paused, run again to resume" for k in range(2)]


@pytest.mark.parametrize("why_not", ["", "one core", "GPU", "threads were chosen"])
def test_gate_and_liver_learn_side_by_side_on_a_cpu(own_root, monkeypatch, capsys, why_not):
    (own_root / "data_lists" / "r").mkdir(parents=True)
    code = "import os, sys; print(os.environ['OMP_NUM_THREADS'], *sys.argv[1:])"
    monkeypatch.setattr(side_by_side, "COMMAND", (sys.executable, "-c", code))
    monkeypatch.setattr(side_by_side.processes, "cores", lambda: 1 if why_not == "one core" else 2)
    monkeypatch.setattr(side_by_side.shutil, "which", lambda name: name if why_not == "GPU" else None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if why_not == "threads were chosen":
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    taken = []
    monkeypatch.setattr(run, "carried_out", lambda job, *_: taken.append(job.part) or (run.DONE, ""))
    assert run.main(["--run", "r", "--only", "04", "--set", "trial=t"]) == run.DONE
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("gate", "liver"))]
    begun = [f"{stage}: {line}" for stage in ("gate", "liver") for line in (f"1 --run r --only 04 --set stage={stage} trial=t", "done")]
    assert sorted(lines) == ([] if why_not else begun)
    assert taken[-1] == "tumour" and ("gate" in taken) == bool(why_not)


@pytest.mark.parametrize("parent, outlives", [(0, False), (os.getppid(), False), (-1, True)])
def test_what_learns_side_by_side_ends_with_its_command(own_root, monkeypatch, parent, outlives):
    """Killed, it can't say so: whoever it began sees that another process has adopted it."""
    ended = threading.Event()
    monkeypatch.setattr(jobs, "PARENT", parent)
    monkeypatch.setattr(jobs, "_papermill", lambda job, run, out, outcome: (ended.wait(1), outcome.append(None)))
    monkeypatch.setattr(jobs, "_end_kernels", ended.set)
    job = jobs.Job("04_training", {"run": "r", "stage": "gate"}, "gate")
    error, signals = jobs.executed(job, runs.Run("r"), own_root / "out.ipynb")
    assert signals == [] and ended.is_set() == outlives
    assert str(error) == "the end of its command" if outlives else error is None


def test_whole_sequence_leaves_a_report(tiny, tiny_run):
    _, printed = tiny
    end = printed.rstrip().splitlines()[-4:]
    assert end[1:] == ["figures: reports/tiny/figures", "notebooks: reports/tiny/notebooks",
                       "report: reports/tiny/report.html"]
    assert re.fullmatch(r"patients: \d+ train, \d+ validate, \d+ test", end[0])
    for part in ("lists/cases.csv", "lists/val.csv", "reports/summary.json", "reports/report.html"):
        folder, name = part.split("/")
        assert (getattr(tiny_run, folder) / name).is_file(), part
    assert not list(runs.ROOT.rglob("*.part.*"))


def test_second_call_does_nothing_and_says_so(tiny):
    root, _ = tiny
    again = command(root, "helpers.run", "--run", "tiny", "--set", *TINY)
    assert again.returncode == 0 and again.stdout.count("up to date") == 8
    assert "──" not in again.stdout


def test_scans_without_masks_are_no_dead_end(tiny, tmp_path):
    root = shutil.copytree(tiny[0], tmp_path / "copy")
    (tmp_path / "bare").mkdir()
    for scan in (root / "data" / "phantoms").glob("6-cases*/volume-[12].nii*"):
        shutil.copy(scan, tmp_path / "bare")
    words = ["--run", "bare", "--only", "01,05,06", "--data", tmp_path / "bare", "--set", "weights=tiny", "min_liver_ml=0.0"]
    shutil.rmtree(root / "data")
    done = command(root, "helpers.run", *words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "2 scans of split 'all'" in done.stdout and "worth knowing: these networks learnt from volume-" in done.stdout
    assert "06_evaluation: none of the 2 scans has a reference mask, so there is nothing to score" in done.stdout
    assert "report: reports/bare/predictions.html" in done.stdout and (root / "reports" / "bare" / "predictions.html").is_file()
    assert len(list((root / "reports" / "bare" / "predictions").glob("tumour-probability-*"))) == 2
    refused = command(root, "helpers.run", "--run", "bare", "--only", "02")
    assert refused.returncode == 1 and "in 05 and 06 set weights='lits102'" in refused.stderr


def test_a_training_begins_with_weights(tiny, tmp_path):
    root = shutil.copytree(tiny[0], tmp_path / "copy")
    words = ["--run", "tiny", "--only", "04", "--set", "stage=liver", "trial=tuned", "start_from=tiny", "epochs=1", "validations=1"]
    done = command(root, "helpers.run", *words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    folder = root / "checkpoints" / "tiny" / "trials" / "tuned" / "liver"
    card = files.read_json(folder / "final.json")
    assert card["settings"]["start_from"]["weights"] == "tiny" and card["network"]["width"] == 4
    assert card["settings"]["learning_rate"] == pytest.approx(0.0002)
    score = pd.read_csv(root / "checkpoints" / "tiny" / "liver" / "history.csv").score.max()
    assert pd.read_csv(folder / "history.csv").score.max() > score - 0.05  # it doesn't begin by chance


def test_failing_notebook_is_named_with_its_reason(tmp_path):
    for name in ("volume-0.nii", "segmentation-0.nii"):
        (tmp_path / "scans").mkdir(exist_ok=True)
        (tmp_path / "scans" / name).write_bytes(b"no image")
    failed = command(tmp_path, "helpers.run", "--run", "bad", "--data", tmp_path / "scans", "--only", "01")
    assert failed.returncode == 1
    assert "01_exploration: failed." in failed.stderr and "volume-0.nii" in failed.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_pauses_a_training_and_the_next_call_goes_on(tiny, tmp_path, number):
    root, _ = tiny
    shutil.copytree(root, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "checkpoints" / "tiny" / "gate")
    words = ["--run", "tiny", "--only", "04", "--set", "stage=gate", "epochs=400", "width=4"]
    env = os.environ | {"CASCADE_LIVER_ROOT": str(tmp_path / "copy")}
    process = subprocess.Popen([sys.executable, "-m", "helpers.run", *words], env=env, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    lock = tmp_path / "copy" / "checkpoints" / "tiny" / "gate" / ".lock"
    while not lock.exists() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(1.5)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75, out + err
    assert f"{number.name}: the training saves and pauses" in err and "paused at step" in out


def test_predict_from_another_folder(tiny, tiny_run, tmp_path):
    import nibabel as nib

    root, _ = tiny
    scan = next((root / "data" / "phantoms").rglob("volume-3.nii.gz"))
    done = command(root, "helpers.predict", scan, "--run", "tiny", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    mask, image = nib.load(tmp_path / "segmentation-3.nii.gz"), nib.load(scan)
    assert mask.shape == image.shape and np.allclose(mask.affine, image.affine)
    assert set(np.unique(mask.dataobj)) <= {0, 1, 2}


def test_predict_for_one_picture(tiny, tmp_path):
    import cv2

    root, _ = tiny
    cv2.imwrite(str(tmp_path / "slice.png"), np.tile(np.arange(96, dtype=np.uint8), (80, 1)))
    done = command(root, "helpers.predict", "slice.png", "--run", "tiny", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    mask = cv2.imread(str(tmp_path / "segmentation-slice.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (80, 96) and set(np.unique(mask)) <= {0, 127, 255}


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["nothing.nii.gz"], 2, "no such file"),
        (["."], 2, "is a folder"),
        (["scan.nii.gz", "--run", "never"], 2, "run 'never' has no checkpoints"),
        (["scan.nii.gz", "--run", "tiny"], 1, "scan.nii.gz"),
        (["scan.nii.gz", "--run", "tiny", "-o", "mask.jpg"], 2, "is written as"),
    ],
)
def test_predict_refuses_in_one_sentence(tiny, tmp_path, words, code, said):
    (tmp_path / "scan.nii.gz").write_bytes(b"damaged")
    done = command(tiny[0], "helpers.predict", *words, cwd=tmp_path)
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["scan.nii.gz"]
