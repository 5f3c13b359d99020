"""The report says what the tables say, and holds all it shows."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from helpers import runs
from helpers.files import write_csv
from helpers.intake import quality_control
from helpers.looking import figures, overlays, plots
from helpers.scans.folder import cases_in
from helpers.scoring import case_scores, report, run_scores, statistics, summary


def labels(tumour=((2, 10, 14),), shape=(8, 24, 24)):
    """A liver with square lesions (slice, first, last)."""
    out = np.zeros(shape, np.uint8)
    out[1:7, 4:20, 4:20] = 1
    for z, first, last in tumour:
        out[z : z + 2, first:last, first:last] = 2
    return out


@pytest.fixture(scope="module")
def tables():
    pairs = {
        "good": (labels(), labels()), "poor": (labels(), labels(((2, 12, 16),))), "missed": (labels(), labels(())),
        "clean": (labels(()), labels(())), "false": (labels(()), labels(((4, 5, 8),))),
    }  # fmt: skip
    how = {"tolerances_mm": (2.0, 2.5)}
    scored = [case_scores.score(name, *pair, (2.0, 1.0, 1.0), **how)[0] for name, pair in pairs.items()]
    scored.append(case_scores.score("<b>failed</b>", labels(), None, (2.0, 1.0, 1.0), failed="there is no prediction", **how)[0])
    return case_scores.tables(scored)


@pytest.fixture(scope="module")
def written(tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    values = report.write_outputs(folder, tables, "A title")
    return folder, values, (folder / "report.html").read_text(encoding="utf8")


def test_the_report_needs_no_other_file(written):
    _, _, page = written
    assert set(re.findall(r'(?:src|href)="([^"]{5})', page)) == {"data:"}
    assert "http" not in re.sub(r"base64,[^\"]+", "", page)
    assert page.count("<figure>") == 8 and "<script" not in page


def test_every_tolerance_has_its_row(written):
    assert all(f"tumour: surface Dice at {mm} mm" in written[2] for mm in ("2", "2.5"))


def test_what_stands_on_top(written, tables):
    _, values, page = written
    top = page[page.index("<body>") : page.index("<h2>")]
    assert "research only" in top and "6 cases" in top
    assert f"{values['tumour.dice_per_case.mean']:.2f}" in top and f"{values['tumour.dice_per_case.low']:.2f}" in top
    assert "Cases without tumour: 2, of which 1 stayed clean" in top
    assert "1 of 6 cases have no usable prediction" in top and "rather too narrow" in top
    assert len(re.sub(r"<[^>]+>", " ", top).split()) < 330  # half a page


def test_worst_cases_come_first_and_names_are_escaped(written):
    page = written[2]
    table = page[page.index("Worst cases first") :]
    order = re.findall(r'<tr><td class="text">([^<]+)</td>', table)[:6]
    assert order[-2:] == ["clean", "good"] and "&lt;b&gt;failed&lt;/b&gt;" in order and "<b>failed" not in page


def test_every_mean_of_the_summary_has_an_interval_and_a_rule(written):
    folder, values, _ = written
    assert json.loads((folder / "summary.json").read_text(encoding="utf8")) == values
    means = [key.removesuffix(".mean") for key in values if key.endswith(".mean") and "slice" not in key]
    assert len(means) > 25
    for key in means:
        assert {f"{key}.low", f"{key}.high", f"{key}.rule", f"{key}.cases", f"{key}.left_out"} <= values.keys()
        if values[f"{key}.low"] is not None:
            assert values[f"{key}.low"] <= values[f"{key}.mean"] <= values[f"{key}.high"]


def test_rules_for_empties_by_hand(written):
    values = written[1]
    # good 1, poor 16/64 (a quarter of each lesion), missed 0, clean 1, false 0, failed 0
    assert values["tumour.dice_per_case.mean"] == pytest.approx((1 + 0.25 + 0 + 1 + 0 + 0) / 6, abs=1e-6)
    assert values["tumour.dice_per_case_with_tumour.mean"] == pytest.approx(1.25 / 4, abs=1e-6)
    assert values["tumour.dice_per_case_with_tumour.cases"] == 4 and values["tumour_free.cases"] == 2
    assert values["tumour.dice_global"] == pytest.approx(2 * (32 + 8) / (4 * 32 + 32 + 32 + 18), abs=1e-6)
    assert values["tumour.lesion_recall_iou50"] == 0.25 and values["tumour.lesion_recall_any"] == 0.5
    assert values["tumour.lesion_precision_iou50"] == pytest.approx(1 / 3, abs=1e-6)
    assert values["tumour.assd_mm.left_out"] == 1 and values["tumour.assd_mm.undefined"] == 3
    assert values["tumour.rvd_lits_official.mean"] is None and values["tumour.rvd_2017.cases"] == 4


def test_tables_survive_their_files(written, tables):
    files = {name: written[0] / f"{name}.csv" for name in ("cases", "lesions", "slices")}
    again = case_scores.read_tables(files)
    for name, table in again.items():
        pd.testing.assert_frame_equal(table, tables[name], check_dtype=False)
    assert summary.summarise(*(tables | again).values()) == summary.summarise(*tables.values())


def test_one_case_without_any_lesion_still_gives_a_report(tmp_path):
    scored = case_scores.score("only", labels(()), labels(()), (2.0, 1.0, 1.0))[0]
    values = report.write_outputs(tmp_path, case_scores.tables([scored]), "One case")
    assert values["tumour.dice_per_case.mean"] == 1 and values["tumour.dice_per_case.low"] is None
    assert values["tumour.lesion_recall_iou50"] is None and "–" in (tmp_path / "report.html").read_text(encoding="utf8")


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


def test_worst_slices_are_those_with_most_wrong_voxels(tables):
    worst, best = overlays.pick(tables["slices"], count=3, min_voxels=10)
    wrong = worst.tumour_reference + worst.tumour_prediction - 2 * worst.tumour_both
    assert wrong.is_monotonic_decreasing and wrong.iloc[0] == 24 and set(best.case) <= {"good", "poor"}
    assert best.tumour_dice.iloc[0] == 1


def test_learning_curves_take_whichever_columns_there_are(tmp_path):
    history = pd.DataFrame(
        {"step": [1, 2, 3], "loss": [1.0, 0.5, np.nan], "val_dice": [np.nan, 0.5, 0.6], "note": ["a", "b", "c"]}
    )
    plots.save_figure(figures.learning(history, "liver"), tmp_path / "curves.png")
    plots.save_figure(figures.learning(history[["loss"]], "gate"))
    with pytest.raises(ValueError, match="no column"):
        figures.learning(history[["note"]], "gate")


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


def test_numbers_as_people_write_them():
    assert [report.number(x, 2) for x in (None, np.nan, 0.12345, 1234567, np.int64(3), "a<b")] == [
        "–", "–", "0.12", "1,234,567", "3", "a&lt;b"
    ]  # fmt: skip
