"""The summary of a scoring: rules for empties by hand, intervals, and what is written and read back."""

import json

import numpy as np
import pandas as pd
import pytest
import scored_masks
from scored_masks import labels

from helpers import runs
from helpers.files import write_csv
from helpers.intake import quality_control
from helpers.scans.folder import cases_in
from helpers.scoring import case_scores, run_scores, statistics, summary


@pytest.fixture(scope="module")
def tables():
    return scored_masks.tables()


@pytest.fixture(scope="module")
def written(tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    return folder, summary.write(folder, tables, {"cases.not_scored": ["a sentence"]})


def test_every_mean_of_the_summary_has_an_interval_and_a_rule(written):
    folder, values = written
    assert json.loads((folder / "summary.json").read_text(encoding="utf8")) == values
    means = [key.removesuffix(".mean") for key in values if key.endswith(".mean") and "slice" not in key]
    assert len(means) > 25
    for key in means:
        assert {f"{key}.low", f"{key}.high", f"{key}.rule", f"{key}.cases", f"{key}.left_out"} <= values.keys()
        if values[f"{key}.low"] is not None:
            assert values[f"{key}.low"] <= values[f"{key}.mean"] <= values[f"{key}.high"]


def test_rules_for_empties_by_hand(written):
    _, values = written
    # good 1, poor 16/64 (a quarter of each lesion), missed 0, clean 1, false 0, failed 0
    assert values["tumour.dice_per_case.mean"] == pytest.approx((1 + 0.25 + 0 + 1 + 0 + 0) / 6, abs=1e-6)
    assert values["tumour.dice_per_case_with_tumour.mean"] == pytest.approx(1.25 / 4, abs=1e-6)
    assert values["tumour.dice_per_case_with_tumour.cases"] == 4 and values["tumour_free.cases"] == 2
    assert values["tumour.dice_global"] == pytest.approx(2 * (32 + 8) / (4 * 32 + 32 + 32 + 18), abs=1e-6)
    # of the lesions of good, poor and missed; the failed case's stands apart, with its 8 slices
    assert values["tumour.lesion_recall_iou50"] == pytest.approx(1 / 3, abs=1e-6)
    assert values["tumour.lesion_recall_any"] == pytest.approx(2 / 3, abs=1e-6)
    assert (values["not_predicted.lesions"], values["not_predicted.slices"]) == (1, 8)
    assert values["tumour.lesion_precision_iou50"] == pytest.approx(1 / 3, abs=1e-6)
    assert values["tumour.assd_mm.left_out"] == 1 and values["tumour.assd_mm.undefined"] == 3
    assert values["tumour.rvd_lits_official.mean"] is None and values["tumour.rvd_2017.cases"] == 4


def test_tables_survive_their_files(written, tables):
    folder, values = written
    assert set(summary.table_files(folder)) == {"cases", "lesions", "slices"}  # nothing gave probabilities
    again, read_values = summary.read(folder)
    assert list(again) == list(case_scores.TABLES) and read_values == values
    for name, table in again.items():
        pd.testing.assert_frame_equal(table, tables[name], check_dtype=False)
    assert summary.summarise(again) == summary.summarise(tables)


def test_tables_of_before_are_not_left_beside_new_ones(tables, tmp_path):
    (tmp_path / "uncertainty.csv").write_text("case\nof another scoring\n")
    summary.write(tmp_path, tables)
    assert not (tmp_path / "uncertainty.csv").exists()


def test_one_case_without_any_lesion(tmp_path):
    values = summary.write(tmp_path, scored_masks.one_case())
    assert values["tumour.dice_per_case.mean"] == 1 and values["tumour.dice_per_case.low"] is None
    assert values["tumour.lesion_recall_iou50"] is None


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = [low <= 0.7 <= high for low, high in (statistics.bootstrap_ci(rng.normal(0.7, 0.1, 40)) for _ in range(120))]
    assert 0.87 <= np.mean(hits) <= 1.0
    assert np.isnan(statistics.bootstrap_ci([0.5])).all() and statistics.bootstrap_ci([0.5, 0.5]) == (0.5, 0.5)


def test_two_runs_side_by_side():
    first = pd.DataFrame({"case": list("abcdefgh"), "tumour_dice": np.linspace(0.1, 0.8, 8)})
    second = first.assign(tumour_dice=first.tumour_dice + 0.1).iloc[::-1]
    found = statistics.paired_difference(first, second, "tumour_dice")
    assert found["mean"] == pytest.approx(0.1) and found["better"] == 8 and found["p"] == pytest.approx(2 / 2**8)
    assert statistics.paired_difference(first, first, "tumour_dice")["p"] is None
    with pytest.raises(ValueError, match="no case in common"):
        statistics.paired_difference(first, second.assign(case="z"), "tumour_dice")


def test_a_missing_prediction_is_no_gain_in_false_lesions():
    first = pd.DataFrame({"case": list("abcdef"), "failed": ""} | dict.fromkeys(statistics.MEASURES, 0.5))
    first["false_lesions"] = 4
    second = first.assign(failed=["no", "no", "no", "", "", ""], false_lesions=[0, 0, 0, 4, 4, 4])
    row = statistics.side_by_side(first, second).set_index("measure").loc["false lesions"]
    assert row.difference == 0


def test_a_run_is_scored_from_its_folders(tmp_path, monkeypatch):
    import nibabel as nib


    for name in ("ROOT", "HERE"):
        monkeypatch.setattr(runs, name, tmp_path)
    run, data, affine = runs.Run("try"), tmp_path / "data", np.diag([-1.0, -1.0, 2.0, 1.0])
    data.mkdir()
    for number in (1, 2):
        reference = labels()
        hu = np.where(reference == 2, 50, np.where(reference == 1, 110, -900)).astype(np.int16)
        for kind, array in (("volume", hu), ("segmentation", reference)):
            nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), affine), data / f"{kind}-{number}.nii.gz")
    rows, *_ = quality_control.examine_all(cases_in(data), workers=1)
    write_csv(run.lists / "cases.csv", pd.DataFrame(rows))
    write_csv(run.lists / "split.csv", pd.DataFrame({"case": ["volume-1", "volume-2"], "split": ["test", "val"]}))
    run.predictions.mkdir(parents=True)
    nib.save(nib.Nifti1Image(labels().transpose(2, 1, 0), affine), run.prediction("volume-1"))
    chosen = run_scores.cases_of(run, "val,test")
    scored = run_scores.score_rows(chosen, workers=1)["cases"].set_index("case")
    assert scored.tumour_dice.to_dict() == {"volume-1": 1.0, "volume-2": 0.0}
    assert scored.failed["volume-2"] == "segmentation-2.nii.gz: there is no prediction"
    assert run_scores.cases_of(run, "test").case.tolist() == ["volume-1"]
    with pytest.raises(ValueError, match=r"the run has the splits \['test', 'val'\]"):
        run_scores.cases_of(run, "tset")
    with pytest.raises(FileNotFoundError, match="run notebook 01"):
        run_scores.cases_of(runs.Run("nothing"), "test")
