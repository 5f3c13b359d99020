"""Runs scored together: the folds of a cross-validation as one table, and what each case's own files add to it."""

import os
import signal
from dataclasses import asdict

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from helpers import files, runs, steps
from helpers.cascade import pipeline
from helpers.intake import quality_control
from helpers.intake.case_table import cases_of_split
from helpers.looking import figures, lesion_charts, plots, slice_panels
from helpers.scans import folder
from helpers.scoring import case_scores, provenance, run_scores, sentences, summary

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


def labels(tumour=True):
    out = np.zeros((8, 24, 24), np.uint8)
    out[1:7, 4:20, 4:20] = 1
    out[2:5, 8:14, 8:14] = 2 if tumour else 1
    return out


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), AFFINE), path)


@pytest.fixture
def folds(tmp_path, monkeypatch):
    """Runs "cv0" and "cv1" with two scans each in their split val, the first two of one patient; all predicted, with logs."""
    for name in ("ROOT", "HERE"):
        monkeypatch.setattr(runs, name, tmp_path)
    for number in range(4):
        save(np.array([-900, 110, 50], np.int16)[labels()], tmp_path / f"data/volume-{number}.nii.gz")
        save(labels(), tmp_path / f"data/segmentation-{number}.nii.gz")
    rows, *_ = quality_control.examine_all(folder.cases_in(tmp_path / "data"), workers=1)
    groups = {"case": [f"volume-{k}" for k in range(4)], "group": ["p", "p", "volume-2", "volume-3"]}
    for fold, sides in (("cv0", ["val", "val", "train", "train"]), ("cv1", ["train", "train", "val", "val"])):
        run = runs.Run(fold)
        files.write_csv(run.lists / "cases.csv", pd.DataFrame(rows))
        files.write_csv(run.lists / "split.csv", pd.DataFrame(groups | {"split": sides}))
        for case in [case for case, side in zip(groups["case"], sides, strict=True) if side == "val"]:
            predict(run, case)
    return runs.Run("cv0"), runs.Run("cv1")


def predict(run, case, tumour=True, spread=True):
    """Write what 05 would write of a perfect prediction, or of one without its tumour."""
    said = labels(tumour)
    log = {"outcome": "ok", "slices": 8, "gate_slices": [1, 7], "roi": [[0, 8], [0, 24], [0, 24]]}
    save(said, run.prediction(case))
    save(np.where(labels() == 2, 255, 0).astype(np.uint8), run.probability(case, "tumour"))
    save(np.where(labels() >= 1, 255, 0).astype(np.uint8), run.probability(case, "liver"))
    run.tta_std(case).unlink(missing_ok=True)
    if spread:
        save(np.where(labels() == 2, 60, 0).astype(np.uint8), run.tta_std(case))
    files.write_json(run.log(case), log | {"rules": asdict(pipeline.Rules(smooth_mm=0.0, min_lesion_ml=0.05))})


def test_a_damaged_map_costs_its_explanation_only(folds):
    folds[0].probability("volume-0", "tumour").write_bytes(b"half")
    cases = run_scores.score_rows(run_scores.cases_of(folds[0], "val"), workers=1)["cases"].set_index("case")
    assert cases.tumour_dice.eq(1).all() and cases.failed.eq("").all()
    assert "tumour-probability-0.nii.gz" in cases.note["volume-0"] and cases.note["volume-1"] == ""


def test_folds_are_scored_together_and_patients_drawn_together(folds):
    predict(folds[1], "volume-3", tumour=False)
    tables = run_scores.score_rows(run_scores.cases_of_all(folds, "val"), workers=1)
    cases = tables["cases"].set_index("case")
    assert cases.run.tolist() == ["cv0", "cv0", "cv1", "cv1"] and cases.tumour_dice.tolist() == [1, 1, 1, 0]
    values = summary.summarise(tables)
    assert values["cases.patients"] == 3 and "3 patients" in values["interval.rule"]
    assert values["tumour.dice_per_case.mean"] == 0.75


def test_a_case_in_two_folds_is_refused(folds):
    split = pd.read_csv(folds[1].lists / "split.csv").assign(split="val")
    files.write_csv(folds[1].lists / "split.csv", split)
    said = r"volume-0 is in the split 'val' of cv0 and cv1, so it would count 2 times \(2 such cases\)"
    with pytest.raises(ValueError, match=said):
        run_scores.cases_of_all(folds, "val")


def test_a_run_without_predictions_is_named(folds):
    rows = run_scores.cases_of_all(folds, "val").assign(run="nothing")
    with pytest.raises(FileNotFoundError, match="run notebook 05 for the run 'nothing' first"):
        run_scores.score_rows(rows)


def test_masks_of_other_weights_or_rules_are_not_scored_as_one_result(folds):
    rows = run_scores.cases_of_all(folds, "val")
    run_scores.agree(rows)  # logs that say nothing of their origin are taken as they are
    for run, case, weights in zip(rows.run, rows.case, "aabb", strict=True):  # each fold has its own weights
        log = runs.Run(run).log(case)
        files.write_json(log, files.read_json(log) | {"origin": {"rules": "r", "weights": [weights]}})
    run_scores.agree(rows)
    files.write_json(log, files.read_json(log) | {"origin": {"rules": "others", "weights": ["b"]}})
    with pytest.raises(ValueError, match=r"run 'cv1': volume-2 and volume-3 tell of different weights or rules.*split='val'"):
        run_scores.agree(rows)


def deadly(row, failed="", **more):
    """`score_one`, but memory runs out over the prediction of volume-1."""
    if row["case"] == "volume-1" and not failed:
        os.kill(os.getpid(), signal.SIGKILL)
    return run_scores.score_one(row, failed=failed, **more)


def test_a_cluster_scores_what_this_process_scores(folds):
    distributed = pytest.importorskip("distributed")
    rows = run_scores.cases_of_all(folds, "val")
    one = {"n_workers": 1, "threads_per_worker": 1, "processes": False}
    with distributed.LocalCluster(**one, dashboard_address=None) as cluster:
        tables = run_scores.score_rows(rows, scheduler=cluster.scheduler_address)
    for name, table in run_scores.score_rows(rows, workers=1).items():
        pd.testing.assert_frame_equal(table, tables[name])


def test_a_scorer_that_is_killed_costs_its_own_case(folds, tmp_path, monkeypatch):
    monkeypatch.setenv("CASCADE_LIVER_ROOT", str(tmp_path))  # for the processes
    rows = run_scores.cases_of_all(folds, "val")
    monkeypatch.setattr(run_scores, "score_one", deadly)
    tables = run_scores.score_rows(rows, workers=2)
    cases = tables["cases"]
    assert cases.tumour_dice.tolist() == [1, 0, 1, 1] and cases.group[1] == "p" and cases.lesions[1] == 1
    assert cases.failed.tolist() == ["", "scoring it ended its process (SIGKILL), most often for want of memory", "", ""]
    assert tables["lesions"].lost_by.tolist() == [""] * 7  # three times two lesions, one without an explanation


def test_cases_that_cannot_be_read_any_more_are_all_named(folds):
    rows = run_scores.cases_of_all(folds, "val")
    for row in rows[:2].itertuples():
        runs.absolute(row.image).write_bytes(b"")
    with pytest.raises(RuntimeError, match=f"2 of {len(rows)} cases can't be scored") as raised:
        run_scores.score_rows(rows, workers=1)
    assert all(f"{case}: " in str(raised.value) for case in rows.case[:2]) and "is empty" in str(raised.value)


def test_names_that_look_like_numbers_or_nothing_stay_names(tmp_path):
    tables = case_scores.tables([case_scores.score("NA", labels(), labels(), (2.0, 1.0, 1.0))[0]])
    tables["cases"] = tables["cases"].assign(group="007")
    files.write_csv(tmp_path / "cases.csv", tables["cases"])
    (row,) = case_scores.read_tables({"cases": tmp_path / "cases.csv"})["cases"].itertuples()
    assert (row.case, row.group, row.failed, row.tumour_dice) == ("NA", "007", "", 1.0)


def test_other_runs_predictions_of_the_same_cases_are_found(folds):
    rows = run_scores.cases_of_all(folds, "val").assign(run="ours")
    assert run_scores.found_elsewhere(rows, list(folds)).run.tolist() == ["cv0", "cv0", "cv1", "cv1"]
    assert run_scores.found_elsewhere(rows, [folds[1]]).run.tolist() == ["cv1"] * 4  # those it hasn't count as failed


def test_the_cascades_files_give_oracles_and_uncertainty(folds, tmp_path):
    predict(folds[0], "volume-1", tumour=False)
    predict(folds[1], "volume-2", spread=False)
    tables = run_scores.score_rows(run_scores.cases_of_all(folds, "val"), workers=1)
    cases = tables["cases"].set_index("case")
    assert cases.gate_lost_slices.eq(0).all() and cases.oracle_liver_dice.eq(1).all()
    spreads = tables["uncertainty"]
    assert sorted(spreads.case.unique()) == ["volume-0", "volume-1", "volume-3"]
    wrong = spreads[spreads.wrong]
    assert wrong.case.unique().tolist() == ["volume-1"]
    assert wrong.groupby("measure").voxels.sum().to_dict() == {"doubt": 108, "spread": 108}  # 3 · 6 · 6
    values = summary.write(tmp_path / "scores", tables)
    assert values["uncertainty.cases"] == 3 and "finds wrong voxels with a ROC area of" in sentences.uncertainty(values)
    levels, slices = tables["probabilities"], tables["slices"]
    for drawn in (
        figures.calibration_curves(levels, values), figures.roc_curves(slices, levels),
        figures.uncertainty_and_errors(tables["cases"], spreads, values), figures.oracles_beside(tables["cases"]),
        lesion_charts.lost_by_stage(values),
    ):  # fmt: skip
        plots.save_figure(drawn)


def test_without_any_file_of_the_cascade_masks_are_scored_all_the_same(folds, tmp_path):
    for path in folds[0].predictions.iterdir():
        if not path.name.startswith("segmentation"):
            path.unlink()
    tables = run_scores.score_rows(run_scores.cases_of_all(folds[:1], "val").iloc[:1], workers=1)
    values = summary.write(tmp_path / "scores", tables)
    assert values["oracle.components.mean"] == 1 and "oracle.liver.mean" not in values and "calibration_error.rule" not in values
    assert not (tmp_path / "scores" / "uncertainty.csv").exists()


def test_the_map_of_the_most_uncertain_case(folds, tmp_path):
    drawn = slice_panels.uncertain(run_scores.cases_of_all(folds, "val").iloc[0])
    shown = drawn.axes[1].images[0].get_array()
    assert "volume-0, slice 2" in drawn.get_suptitle() and shown.max() == pytest.approx(60 / 255)
    plots.save_figure(drawn)


def test_dice_by_volume_needs_no_tumour():
    cases = pd.DataFrame({"case": ["a"], "tumour_reference_voxels": [0], "tumour_reference_ml": [0.0], "tumour_dice": [1.0]})
    drawn = figures.dice_by_volume(cases)
    assert drawn.axes[0].get_title(loc="left") == "0 cases with tumour"
    plots.save_figure(drawn)


def test_a_reference_that_takes_tumours_for_liver_is_no_reference(folds):
    file = folds[0].lists / "cases.csv"
    rows = pd.read_csv(file, keep_default_na=False)
    rows.loc[rows.case == "volume-0", "findings"] += " tumour-unknown"
    files.write_csv(file, rows)
    assert run_scores.cases_of(folds[0], "val").case.tolist() == ["volume-1"]


def test_scans_that_others_networks_segment_need_no_split(folds):
    run = folds[0]
    (run.lists / "split.csv").unlink()
    with pytest.raises(FileNotFoundError, match="run notebook 02 .* that are trained already need no split: weights='lits102'"):
        run_scores.cases_of(run, "test")
    rows = run_scores.cases_of(run, "test", weights="lits102")
    assert len(rows) == 4 and set(rows.split) == {"all"} and rows.group.tolist() == rows.case.tolist()
    table = pd.read_csv(run.lists / "cases.csv").assign(mask="")
    files.write_csv(run.lists / "cases.csv", table)
    with pytest.raises(steps.NothingToDo, match="none of the 4 scans has a reference mask, so there is nothing to score"):
        run_scores.cases_of(run, "test", weights="lits102")


def test_all_takes_scans_of_no_side_as_well(folds):
    split = pd.read_csv(folds[0].lists / "split.csv")
    files.write_csv(folds[0].lists / "split.csv", split[:3])
    rows = cases_of_split(folds[0], "all")
    assert rows.split.tolist() == ["val", "val", "train", ""] and rows.group.tolist() == ["p", "p", "volume-2", ""]
    assert cases_of_split(folds[0], "train,val").case.tolist() == ["volume-0", "volume-1", "volume-2"]


def test_scans_that_were_learnt_from_are_named(folds):
    log = folds[0].log("volume-1")
    files.write_json(log, files.read_json(log) | {"learnt_from": True})
    assert provenance.learnt_cases(run_scores.cases_of(folds[0], "val")) == ["volume-1"]
