"""The report: tables as a person reads them, and one page that needs nothing else."""

import re

import numpy as np
import pandas as pd
import pytest
import scored_masks

from helpers import jobs
from helpers.looking import plots, report, slice_panels
from helpers.scoring import summary


@pytest.fixture(scope="module")
def tables():
    return scored_masks.tables()


@pytest.fixture(scope="module")
def written(tables, tmp_path_factory):
    """(summary, page) of a folder of scores, by notebook 06."""
    folder = tmp_path_factory.mktemp("scores")
    values = summary.write(folder, tables, {"cases.source": "p < 0 against r"})
    jobs.write_report(folder / "report.html", {"scores_dir": str(folder)})
    return values, (folder / "report.html").read_text(encoding="utf8")


def test_the_page_needs_no_other_file_and_runs_nothing(written):
    _, page = written
    assert set(re.findall(r'<img[^>]*src="([^,]+),', page)) == {"data:image/png;base64"}
    addresses = re.findall(r'(?:href|action|srcset)="([^"]*)"', page)
    assert addresses and all(address.startswith("#") for address in addresses)
    assert "@import" not in page and "url(" not in page
    assert "<script" not in page and "http:" not in page and "https:" not in page
    assert page.count("<img") == 8 and page.count("<table") >= 10


def test_every_link_leads_somewhere_and_every_picture_says_what_is_seen(written):
    _, page = written
    ids = re.findall(r'id="([^"]*)"', page)
    assert len(ids) == len(set(ids)) and set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)
    contents = re.findall(r">([^<]+)</a>", page[page.index("<nav") : page.index("</nav>")])
    assert contents == re.findall(r"<h2[^>]*>([^<]+)</h2>", page)
    alts = re.findall(r'<img[^>]*alt="([^"]*)"', page)
    assert len(alts) == page.count("<img") and all(len(alt) > 40 for alt in alts)
    assert any("1 of 3 lesions found at IoU" in alt for alt in alts)


def test_the_page_holds_no_code_and_no_chatter(written):
    _, page = written
    assert "import " not in page and "helpers from" not in page and "06_evaluation:" not in page
    assert 'class="prompt' not in page and "## " not in page


def test_what_stands_on_the_first_screen(written):
    values, page = written
    top = page[page.index("<body>") : page.index("<nav")]
    assert "<h1>p &lt; 0 against r</h1>" in top and "<title>p &lt; 0 against r</title>" in page
    assert "research only" in top and "6 cases, 4 with tumour, 1 failed" in top
    tiles = re.findall("<b>([^<]+)</b><span>95 %: ([^ ]+) to", top)
    keys = (
        "liver.dice_per_case",
        "tumour.dice_per_case",
        "liver.volume_error_ml",
        "tumour.volume_error_ml",
        "tumour.lesion_recall_iou50",
        "tumour.false_lesions_per_case",
    )
    means = [values.get(f"{key}.mean", values.get(key)) for key in keys]
    digits = (2, 2, 1, 1, 2, 2)
    assert tiles == [
        (f"{mean:.{n}f}", f"{values[f'{key}.low']:.{n}f}")
        for key, mean, n in zip(keys, means, digits, strict=True)
    ]
    assert "Cases without tumour: 2, of which 1 stayed clean" in top
    assert (
        len(re.sub(r"<style>.*?</style>|<[^>]+>", " ", top, flags=re.DOTALL).split()) < 330
    )  # half a page


def test_sections_stand_in_order_worst_cases_first(written):
    headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", written[1])
    assert headings[0] == "Cases, the worst first"
    assert headings[-1] == "What every number does with empties"
    assert len(headings) == len(set(headings)) == 15


def test_worst_cases_come_first_and_names_are_escaped(written):
    page = written[1]
    rows = re.findall(r"<tr>(.*?)</tr>", page[page.index(">Cases, the worst first</h2>") :], re.DOTALL)[1:7]
    order = [re.search(r"<td[^>]*><a[^>]*>([^<]+)</a>", row)[1].strip() for row in rows]
    assert (
        order[-2:] == ["clean", "good"]
        and "&lt;b&gt;failed&lt;/b&gt;" in order
        and "<b>failed" not in page
    )


def test_a_case_leads_to_its_own_page_with_volumes_and_lesions(written):
    page = written[1]
    poor = page[page.index('id="case-poor"') :]
    poor = re.sub("<[^>]+>", " ", poor[: poor.index("</section>")])
    words = " ".join(poor.split())
    # 2 slices of 4 × 4 voxels of 2 mm³ on either side
    assert "tumour, ml 0.1 0.1 0.0" in words and "0 of 1 lesion found at IoU &gt; 0.5" in words
    # the box of the liver: slices 1 to 6, rows and columns 4 to 19; the lesion's middle 2.5, 11.5
    assert "1 met, outlined too poorly right, front, lower 2" in words
    failed = page[page.index('id="case-_b_failed__b_"') :]
    assert "No usable prediction: there is no prediction" in failed[: failed.index("</section>")]


def test_synthetic_scans_are_called_so_and_stand_beside_no_published_result(tables, tmp_path):
    tables = tables | {"cases": tables["cases"].assign(synthetic=True)}
    summary.write(tmp_path, tables, {"cases.source": "phantoms", "made_from": {"again": "a < b"}})
    jobs.write_report(tmp_path / "report.html", {"scores_dir": str(tmp_path)})
    page = (tmp_path / "report.html").read_text(encoding="utf8")
    top = page[page.index("<body>") : page.index("<h2")]
    assert "scans are synthetic" in top and "<dt>again</dt><dd>a &lt; b</dd>" in top
    assert "never set beside results" in page and "ISBI 2017" not in page
    assert "human reader" not in page


def test_results_on_patients_stand_beside_published_ones(written):
    assert "ISBI 2017" in written[1] and "scans are synthetic" not in written[1]


def test_every_tolerance_has_its_row(written):
    assert all(f"tumour: surface Dice at {mm} mm" in written[1] for mm in ("2", "2.5"))


def test_one_case_without_any_lesion_still_gives_a_report(tmp_path):
    summary.write(tmp_path, scored_masks.one_case())
    jobs.write_report(tmp_path / "report.html", {"scores_dir": str(tmp_path)})
    page = (tmp_path / "report.html").read_text(encoding="utf8")
    assert "–" in page and "too few cases for an interval" in page and "There is no lesion" in page


def test_a_report_that_cannot_be_made_says_why(tmp_path):
    with pytest.raises(
        RuntimeError,
        match=r"report.html: the report can't be made. FileNotFoundError: .*summary.json",
    ):
        jobs.write_report(tmp_path / "report.html", {"scores_dir": str(tmp_path)})
    assert not list(tmp_path.glob("report.html"))


def test_a_table_for_people():
    rows = [
        {"iou": 0.123, "lost_by": "<i>"},
        {"iou": 2, "lost_by": "x", "P < 0": np.nan},
        {"iou": 3, "lost_by": "y"},
    ]
    page = report.table(rows, "iou lost_by a_b", 2, limit=2).data
    assert re.findall(r"<t[dh][^>]*>([^<]*)</t", page)[:9] == [
        *("IoU", "lost by", "a b"),
        *("0.12", "&lt;i&gt;", "–"),
        *("2", "x", "–"),
    ]
    assert "… and 1 more in the CSV file." in page
    assert "P &lt; 0" in report.table(rows[1:2]).data


def test_worst_slices_are_those_with_most_wrong_voxels(tables):
    worst, best = slice_panels.pick(tables["slices"], count=3, min_voxels=10)
    wrong = worst.tumour_reference + worst.tumour_prediction - 2 * worst.tumour_both
    assert (
        wrong.is_monotonic_decreasing and wrong.iloc[0] == 24 and set(best.case) <= {"good", "poor"}
    )
    assert best.tumour_dice.iloc[0] == 1


def test_learning_curves_take_whichever_columns_there_are(tmp_path):
    history = pd.DataFrame(
        {
            "step": [1, 2, 3],
            "loss": [1.0, 0.5, np.nan],
            "val_dice": [np.nan, 0.5, 0.6],
            "note": ["a", "b", "c"],
        }
    )
    plots.save_figure(plots.learning(history, "liver"), tmp_path / "curves.png")
    plots.save_figure(plots.learning(history[["loss"]], "gate"))
    with pytest.raises(ValueError, match="no column"):
        plots.learning(history[["note"]], "gate")
