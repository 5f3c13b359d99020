"""The trials of notebook 07: what one is, when it is finished; patients, tests, the sentence; slices of another size."""

import time

import numpy as np
import pandas as pd
import pytest

from helpers import files, jobs, runs
from helpers.cascade import inference
from helpers.cascade.weights import load_networks
from helpers.comparing import benchmark, trial_scores, trials
from helpers.comparing.trial_figures import score_against_speed
from helpers.comparing.trial_scores import compared, conclusion, liver_dice, of_patients
from helpers.comparing.trials import Trial, beside, judged_alike
from helpers.intake import case_table
from helpers.looking import plots
from helpers.scans import reading
from helpers.scoring import statistics
from helpers.slices import lists, recipe


def scores_of(**trials):
    """DataFrame trial, patient, score from lists of scores by patient."""
    return pd.DataFrame([{"trial": t, "patient": f"p{k}", "score": s} for t, row in trials.items() for k, s in enumerate(row)])


def test_holm_by_hand():
    """Three tests: .01 × 3, .02 × 2, .04 × 1 and never less than the one before; nan takes no part, nothing exceeds 1."""
    np.testing.assert_allclose(statistics.holm([0.04, np.nan, 0.01, 0.02]), [0.04, np.nan, 0.03, 0.04])
    np.testing.assert_allclose(statistics.holm([0.6, 0.5]), [1.0, 1.0])
    assert statistics.holm([np.nan]).tolist() == pytest.approx([np.nan], nan_ok=True) and len(statistics.holm([])) == 0


def test_scans_of_one_patient_count_once():
    scores = pd.DataFrame({"trial": "a", "case": ["7", "10", "3"], "score": [0.2, 0.4, 0.9]})
    sides = pd.DataFrame({"case": ["3", "7", "10"], "group": ["3", "7-10", "7-10"]})
    assert of_patients(scores, sides).to_dict("list") == {
        "trial": ["a", "a"], "patient": ["7-10", "3"], "score": [pytest.approx(0.3), 0.9]}  # fmt: skip


def test_a_row_is_paired_with_its_default_on_the_same_patients():
    """Eight patients, all better by different steps: Wilcoxon's exact p is 2/2**8; a row of other patients is not tested."""
    base = np.arange(8) / 10
    scores = scores_of(default=base, better=base + np.arange(1, 9) / 100, same=base)
    scores = pd.concat([scores, pd.DataFrame({"trial": "other", "patient": ["x"], "score": [0.5]})])
    table = compared(scores, dict.fromkeys(("default", "better", "same", "other"), "default")).set_index("trial")
    assert table.difference["better"] == pytest.approx(0.045) and (table.better["better"], table.worse["better"]) == (8, 0)
    assert table.p["better"] == pytest.approx(2 / 256) and table.p_holm["better"] == pytest.approx(4 / 256)
    assert table.p["same"] == 1 and table.p_holm["same"] == 1
    assert table.loc[["default", "other"], "p"].isna().all() and table.patients["other"] == 1


def concluded(scores, **more):
    table = compared(scores, dict.fromkeys(scores.trial.unique(), "unet"))
    table = table.assign(stage="tumour", default="unet", slices_per_second=[40.0, 10.0, 50.0][: len(table)])
    return conclusion(pd.concat([table, pd.DataFrame(more.get("unscored", []))]))


def test_the_conclusion_names_the_leader_and_what_is_beyond_noise():
    base = np.arange(8) / 10
    scores = scores_of(unet=base, swin=base - np.arange(1, 9) / 50, wide=base + [0.05, -0.04] * 4)
    sentences = concluded(scores, unscored=[{"trial": "late", "stage": "tumour", "default": "unet"}])
    assert "wide has the highest mean, 0.355" in sentences and "within noise" in sentences and "beyond noise" not in sentences
    assert "Beyond noise against unet: swin (-0.090)" in sentences
    assert "wide learns fastest, 50.0" in sentences and sentences.endswith("Not ranked, for want of scores: late.")
    assert "nothing to compare" in concluded(scores_of(unet=base))


def test_of_two_patients_nothing_is_said_about_noise():
    sentences = concluded(scores_of(unet=np.array([0.02, 0.03]), wide=np.array([0.5, 0.4])))
    assert "too few patients to tell from noise" in sentences and "within" not in sentences and "Beyond" not in sentences


def test_a_difference_beyond_noise_is_said_to_be():
    base = np.arange(8) / 10
    assert "beyond noise" in concluded(scores_of(unet=base, swin=base + np.arange(1, 9) / 50))


def test_the_figure_names_no_row_that_lacks_patients_or_is_within_noise():
    row = {"stage": "tumour", "default": "unet", "parameters_m": 1.0, "low": np.nan, "high": np.nan, "p_holm": np.nan}
    surely = {"difference": 0.4, "p_holm": 0.01}
    table = pd.DataFrame([
        row | {"trial": "unet", "patients": 20, "score": 0.5, "slices_per_second": 30.0},
        row | surely | {"trial": "swin", "patients": 2, "score": 0.9, "slices_per_second": 3.0},
        row | surely | {"trial": "wide", "patients": 20, "score": 0.9, "slices_per_second": 9.0, "p_holm": 0.06},
    ])  # fmt: skip
    title = plots.save_figure(score_against_speed(table)).axes[0].get_title("left")
    assert "none is better than the default beyond noise" in title and "pale: fewer patients" in title
    table.loc[2, "p_holm"] = 0.04
    assert "tumour: better than the default: wide\n" in score_against_speed(table).axes[0].get_title("left")
    few = score_against_speed(table.assign(patients=5)).axes[0].get_title("left")  # 2 / 2⁵ is over 0.05
    assert few.startswith("tumour: too few patients (5) for a difference beyond noise")


def test_scores_and_cost_are_taken_again_for_other_weights(own_root, monkeypatch):
    """Of two scans, the second without a place in val.csv; a cost of 4 steps of 8 slices."""
    trial, calls = trial_of(runs.Run("r"), stage="liver", device="cpu"), []
    cases = pd.DataFrame({"case": ["1", "2"], "bytes": ["one", "two"]})
    monkeypatch.setattr(case_table, "read_table", lambda path: cases)
    monkeypatch.setattr(lists, "read_lists", lambda folder: ([], cases[:1]))

    def measured(weights, rows, device):
        calls.append(rows.case.tolist())
        return {"all": {"1": 0.5}, "largest": {"1": len(calls) / 10}}

    monkeypatch.setattr(trial_scores, "liver_dice", measured)
    monkeypatch.setattr(benchmark, "rehearsed", lambda weights, run, steps: {"peak_gib": float(steps)})
    files.write_json(trial.folder / "final.json", {"settings": {"batch_size": 8}})
    files.write_text(trial.folder / "history.csv", "step,loss\n2,0.5\n4,0.4\n")
    for content, expected in (("a", 0.1), ("a", 0.1), ("b", 0.2)):
        files.write_text(trial.weights, content)
        assert trial.scores().to_dict("records") == [{"case": "1", "score": expected, "all_components": 0.5, "trial": "wide"}]
    assert calls == [["1"], ["1"]]
    cases.loc[0, "bytes"] = "another"
    assert trial.scores().score.tolist() == [0.3]
    assert trial.cost(3) == {"trial": "wide", "slices_seen": 32, "peak_gib": 3.0}


def trial_of(run, row="wide", **parameters):
    return Trial(row, run, run, {"stage": "tumour", "trial": row} | parameters)


def test_only_a_finished_trial_is_slimmed(own_root):
    trial = trial_of(runs.Run("r"))
    trial.folder.mkdir(parents=True)
    for name in ("generation-00000040.pt", "chunk_01.safetensors", "best.safetensors", "final.safetensors", "history.csv"):
        (trial.folder / name).touch()
    trial.slim()
    assert len(list(trial.folder.iterdir())) == 5
    (trial.folder / "validation.csv").touch()  # 04 writes it last
    trial.slim()
    assert {p.name for p in trial.folder.iterdir()} == {"final.safetensors", "history.csv", "validation.csv"}


def test_a_finished_trial_is_left_alone_and_one_of_other_lists_is_named(own_root):
    run, given = runs.Run("r"), {"options": {"levels": 3}}
    files.write_text(run.lists / "val.csv", "case,z\n")

    def finished(**changes):
        return trial_of(run, **given | changes).finished()

    assert not finished()
    trial = trial_of(run, **given)
    trained = trial.job().stage(run)
    trained.reads = [run.lists / "val.csv"]
    trained.paused("half way")
    files.write_text(trial.weights, "weights")
    assert not finished()  # of an earlier end
    trained.done([trial.weights])
    assert finished() and finished(device="cpu", save_seconds=3.0)
    for change, reason in (({"width": 32}, "width was 0, is 32"), ({"options": {}}, "options was {'levels': 3}, is {}")):
        with pytest.raises(ValueError, match=f"was trained otherwise than is asked for now: {reason}; delete it to resume"):
            finished(**change)
    files.write_text(run.lists / "val.csv", "case,z\n1,2\n")
    with pytest.raises(ValueError, match=r"val.csv has changed; delete it to resume"):
        finished()
    trial.weights.unlink()  # as it says
    assert not finished()


def test_a_trial_trains_for_the_time_that_is_left(own_root, monkeypatch):
    trial, minutes = trial_of(runs.Run("r")), []
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    monkeypatch.setattr(jobs, "carried_out", lambda job, run: (minutes.append(job.parameters["chunk_minutes"]) or jobs.DONE, ""))
    assert [trial.train(), trial.train(1090.0), trial.train(1000.0)] == [jobs.DONE, jobs.DONE, jobs.PAUSED]
    assert minutes == [0.0, 1.5]  # no limit, then a minute and a half; the third finds its time up


def test_a_trial_is_named_after_its_row_and_its_budget(own_root, monkeypatch):
    budget = {"seed": 7, "epochs": 2, "validations": 4, "device": "cpu"}
    monkeypatch.setattr(trials, "beside", lambda run, size, patients: runs.Run(f"{run.name}.{size}px") if size else run)
    whole = trials.planned("wide", {"stage": "liver", "width": 32, "size": 384}, runs.Run("r"), budget)
    assert (whole.home.name, whole.fold.name, whole.parameters["width"]) == ("r.384px", "r", 32) and "size" not in whole.parameters
    assert whole.folder == own_root / "checkpoints" / "r.384px" / "trials" / "wide.r2s7v4" / "liver"
    quick = trials.planned("wide", {"stage": "tumour", "width": 32}, runs.Run("r"), budget, quick=True)
    assert (quick.home.name, quick.parameters["trial"], quick.parameters["width"]) == ("r", "wide.r2s7v4q", 4)


def test_rows_judged_in_other_regions_are_not_compared(own_root):
    rows = {name: trial_of(runs.Run("r"), name) for name in "abc"}
    for name, liver in (("a", "one"), ("b", "one"), ("c", "")):
        files.write_json(rows[name].folder / "final.json", {"made_with": {"liver": liver}})
    judged_alike([rows["a"], rows["b"]])
    with pytest.raises(ValueError, match="b/tumour: one; .*c/tumour: none, the references"):
        judged_alike(rows.values())
    elsewhere = [Trial("c", runs.Run("another"), runs.Run("r"), rows["c"].parameters)]
    judged_alike([rows["a"], *elsewhere])  # another fold has another liver network


def test_slices_of_another_size_have_the_same_lists(tiny, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(tiny[0], tmp_path / "copy")
    monkeypatch.setattr(runs, "ROOT", tmp_path / "copy")
    monkeypatch.setenv("CASCADE_LIVER_ROOT", str(tmp_path / "copy"))
    run = runs.Run("tiny")
    assert beside(run, 128) == run  # what it has
    other = beside(run, 64)
    assert other.name == "tiny.64px"
    for name in ("val.csv", "train_chunk_01.csv", "split.csv"):
        assert (other.lists / name).read_bytes() == (run.lists / name).read_bytes()
    image = np.load(next((other.stores / "liver").glob("*.image.npy")), mmap_mode="r")
    assert image.shape[2:] == (64, 64)
    split = (run.lists / "split.csv").read_text()
    files.write_text(run.lists / "split.csv", split.replace("val", "train"))
    stamp = other.reports / "stages" / "02_filtering.json"
    monkeypatch.setattr(jobs, "carried_out", lambda job, run: (jobs.DONE, ""))
    beside(run, 64)
    assert not stamp.is_file()  # so that 02 deals anew
    (other.lists / "resized.json").unlink()
    with pytest.raises(ValueError, match="the run 'tiny.64px' is there, and 64px of 'tiny' need its name"):
        beside(run, 64)


def test_few_patients_to_learn_from_and_the_same_to_validate(tiny, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(tiny[0], tmp_path / "copy")
    monkeypatch.setattr(runs, "ROOT", tmp_path / "copy")
    monkeypatch.setenv("CASCADE_LIVER_ROOT", str(tmp_path / "copy"))
    run = runs.Run("tiny")
    settings = files.read_json(run.reports / "stages" / "02_filtering.json")["settings"]
    folds = settings | {"run": "tiny", "folds": 5, "fold": 0, "test_share": 0.0, "interactive": False}  # two patients fill no four folds
    (run.lists / "split.csv").unlink()
    assert jobs.carried_out(jobs.Job("02_filtering", folds), run)[0] == jobs.DONE
    other = beside(run, patients=2)
    assert other.name == "tiny.2patients" and (other.lists / "recipe.json").is_file()
    split, few = (pd.read_csv(one.lists / "split.csv", dtype=str).drop(columns="fold") for one in (run, other))
    assert few.split.tolist().count("train") == 2 and split.split.tolist().count("train") > 2
    assert few[few.split != "train"].values.tolist() == split[split.split != "train"].values.tolist()
    cases = pd.read_csv(other.lists / "cases.csv", dtype=str)
    assert sorted(cases.case) == sorted(few.case) and (pd.to_numeric(cases.tumour_ml) > 0).any()
    liver = [one.checkpoints / "liver" / "final.safetensors" for one in (run, other)]
    assert liver[0].read_bytes() == liver[1].read_bytes()
    with pytest.raises(ValueError, match="9 patients to learn from: . of the split 'train' show tumour"):
        beside(run, patients=9)


def test_liver_scores_are_taken_on_the_scans_own_grid(tiny_run):
    """Against the plain way: probabilities slice by slice, brought back, thresholded, Dice by its definition."""

    row = case_table.read_table(tiny_run.lists / "cases.csv").iloc[:1]
    weights = tiny_run.checkpoints / "liver" / "final.safetensors"
    scores = liver_dice(weights, row, "cpu")
    volume, labels = reading.read_row(row.iloc[0])
    network = load_networks(tiny_run.checkpoints, "cpu")["liver"]
    grid, image = recipe.grid_of(volume, "liver", network.recipe), recipe.whole_slices(volume, network.recipe)
    probability = inference.probability_of_rows(network, image, range(len(image)), step=image.step)
    mask = np.stack([grid.back(plane, np.zeros(volume.hu.shape[1:], np.uint8)).copy() for plane in probability]) >= 127.5
    dice = 2 * (mask & (labels >= 1)).sum() / (mask.sum() + (labels >= 1).sum())
    case = row.case.iloc[0]
    assert scores["all"][case] == pytest.approx(dice) and 0 <= scores["largest"][case] <= 1
