"""What notebook 07 computes from scores: patients, tests, the sentence; and stores of another size with the same lists."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import files, jobs, runs
from helpers.cascade import inference, pipeline
from helpers.comparing.trials import (
    compared,
    conclusion,
    judged_alike,
    liver_scores,
    of_patients,
    remembered,
    resized,
    score_against_speed,
    slimmed,
    training_finished,
)
from helpers.intake import case_table
from helpers.looking import plots
from helpers.scans import reading
from helpers.scoring import statistics
from helpers.slices import recipe


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
    said = concluded(scores_of(unet=base, swin=base - np.arange(1, 9) / 50, wide=base + [0.05, -0.04] * 4),
                     unscored=[{"trial": "late", "stage": "tumour", "default": "unet"}])  # fmt: skip
    assert "wide leads with 0.355" in said and "within noise" in said and "beyond noise" not in said
    assert "Beyond noise against unet: swin (-0.090)" in said
    assert "wide learns fastest, 50.0" in said and said.endswith("Not ranked, for want of scores: late.")
    assert "nothing to compare" in concluded(scores_of(unet=base))


def test_a_difference_beyond_noise_is_said_to_be():
    base = np.arange(8) / 10
    assert "beyond noise" in concluded(scores_of(unet=base, swin=base + np.arange(1, 9) / 50))


def test_the_figure_ranks_no_row_that_lacks_patients():
    row = {"stage": "tumour", "default": "unet", "parameters_m": 1.0, "low": np.nan, "high": np.nan}
    table = pd.DataFrame([
        row | {"trial": "unet", "patients": 20, "score": 0.5, "slices_per_second": 30.0},
        row | {"trial": "swin", "patients": 2, "score": 0.9, "slices_per_second": 3.0},
    ])  # fmt: skip
    drawn = plots.save_figure(score_against_speed(table))
    assert "highest unet, 0.50" in drawn.axes[0].get_title("left")


def test_what_is_remembered_is_made_again_for_other_weights(tmp_path):
    weights, calls = tmp_path / "w", []

    def make(path, word):
        calls.append(word)
        return {"score": len(calls)}

    for content, expected in ((b"a", 1), (b"a", 1), (b"b", 2)):
        weights.write_bytes(content)
        assert remembered(tmp_path / "s.json", make, weights, "x") == {"score": expected}
    assert remembered(tmp_path / "s.json", make, weights, "x", scans=["bytes of one"]) == {"score": 3}
    assert remembered(tmp_path / "s.json", make, weights, "x", scans=["bytes of one"]) == {"score": 3}


def test_only_a_finished_trial_is_slimmed(tmp_path):
    for name in ("generation-00000040.pt", "chunk_01.safetensors", "best.safetensors", "final.safetensors", "history.csv"):
        (tmp_path / name).touch()
    slimmed(tmp_path)
    assert len(list(tmp_path.iterdir())) == 5
    (tmp_path / "validation.csv").touch()  # 04 writes it last
    slimmed(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"final.safetensors", "history.csv", "validation.csv"}


def test_a_finished_trial_is_left_alone_and_one_of_other_lists_is_named(own_root):
    run, asked = runs.Run("r"), {"stage": "tumour", "trial": "wide", "options": {"levels": 3}}
    folder = run.training("wide") / "tumour"
    files.write_text(run.lists / "val.csv", "case,z\n")

    def finished(**changes):
        return training_finished(folder, jobs.training(run, **asked | changes).stage(run))

    assert not finished()
    trained = jobs.training(run, **asked).stage(run)
    trained.reads = [run.lists / "val.csv"]
    trained.paused("half way")
    files.write_text(folder / "final.safetensors", "weights")
    assert not finished()  # of an earlier end
    trained.done([folder / "final.safetensors"])
    assert finished() and finished(device="cpu", chunk_minutes=3.0)
    for change, said in (({"width": 32}, "width was 0, is 32"), ({"options": {}}, "options was {'levels': 3}, is {}")):
        with pytest.raises(ValueError, match=f"was trained otherwise than is asked for now: {said}; delete it to go on"):
            finished(**change)
    files.write_text(run.lists / "val.csv", "case,z\n1,2\n")
    with pytest.raises(ValueError, match=r"val.csv has changed; delete it to go on"):
        finished()
    (folder / "final.safetensors").unlink()  # as it says
    assert not finished()


def test_rows_judged_in_other_regions_are_not_compared(tmp_path):
    for name, liver in (("a", "one"), ("b", "one"), ("c", "")):
        files.write_json(tmp_path / name / "final.json", {"made_with": {"liver": liver}})
    judged_alike([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(ValueError, match="b: one; .*c: none, the references"):
        judged_alike([tmp_path / name for name in "abc"])


def test_slices_of_another_size_have_the_same_lists(tiny, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(tiny[0], tmp_path / "copy")
    monkeypatch.setattr(runs, "ROOT", tmp_path / "copy")
    monkeypatch.setenv("CASCADE_LIVER_ROOT", str(tmp_path / "copy"))
    run = runs.Run("tiny")
    assert resized(run, 128) == run  # what it has
    other = resized(run, 64)
    assert other.name == "tiny-64"
    for name in ("val.csv", "train_chunk_01.csv", "split.csv"):
        assert (other.lists / name).read_bytes() == (run.lists / name).read_bytes()
    image = np.load(next((other.stores / "liver").glob("*.image.npy")), mmap_mode="r")
    assert image.shape[2:] == (64, 64)
    split = (run.lists / "split.csv").read_text()
    files.write_text(run.lists / "split.csv", split.replace("val", "train"))
    stamp = other.reports / "stages" / "02_filtering.json"
    monkeypatch.setattr(jobs, "carried_out", lambda job, run: (jobs.DONE, ""))
    resized(run, 64)
    assert not stamp.is_file()  # so that 02 deals anew
    (other.lists / "resized.json").unlink()
    with pytest.raises(ValueError, match="the run 'tiny-64' is there, and slices of 64 pixels need its name"):
        resized(run, 64)


def test_liver_scores_are_taken_on_the_scans_own_grid(tiny_run):
    """Against the plain way: probabilities slice by slice, brought back, thresholded, Dice by its definition."""

    row = case_table.read_table(tiny_run.lists / "cases.csv").iloc[:1]
    weights = tiny_run.checkpoints / "liver" / "final.safetensors"
    found = liver_scores(weights, row, torch.device("cpu"))
    volume, labels = reading.read_row(row.iloc[0])
    loaded = inference.load(tiny_run.checkpoints, "cpu")["liver"]
    grid, image = recipe.working_slices(volume, loaded.recipe)
    step = pipeline.Rules().neighbour_step(volume)
    said = inference.probabilities(loaded, image, range(len(image)), step=step)
    mask = np.stack([grid.back(plane, np.zeros(volume.hu.shape[1:], np.uint8)).copy() for plane in said]) >= 127.5
    dice = 2 * (mask & (labels >= 1)).sum() / (mask.sum() + (labels >= 1).sum())
    case = row.case.iloc[0]
    assert found["pieces"][case] == pytest.approx(dice) and 0 <= found["largest"][case] <= 1
