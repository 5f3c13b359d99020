"""The notebooks themselves: each opens and closes as promised, stays short, and leaves its figures when it runs."""

import json
import re
import shutil
import statistics

import pytest
from conftest import command

from helpers import files, runs

NOTEBOOKS = sorted(runs.NOTEBOOKS.glob("*.ipynb"))


def cells_of(notebook, kind):
    cells = json.loads(notebook.read_text(encoding="utf8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.stem)
def test_opening_says_goal_reads_and_writes(notebook):
    first, last = (("".join(cells_of(notebook, "markdown")[k]["source"])) for k in (0, -1))
    assert first.startswith(f"# {notebook.stem[:2]} · ")
    assert all(f"**{word}**" in first for word in ("Goal", "Reads", "Writes", "Time", "Headless"))
    assert "take away" in last


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.stem)
def test_cells_are_short_and_committed_without_outputs(notebook):
    code = cells_of(notebook, "code")
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    lines = [len([line for line in "".join(cell["source"]).splitlines() if line.strip()]) for cell in code]
    parameters = [n for n, cell in zip(lines, code, strict=True) if "parameters" in cell["metadata"].get("tags", [])]
    lines.remove(parameters[0])
    assert max(lines) <= 25 and statistics.median(lines) <= 7


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.stem)
def test_code_fits_a_laptops_screen(notebook):
    """JupyterLab at 1,280 pixels shows 88 columns of code; what helpers is needed for stands in two lines at most."""
    lines = [line for cell in cells_of(notebook, "code") for line in "".join(cell["source"]).splitlines()]
    assert [line for line in lines if len(line) > 88] == []
    door = [line for line in lines if "helpers" in line and line.lstrip().startswith(("import ", "from "))]
    assert 1 <= len(door) <= 2 and all(line.startswith("from helpers import ") for line in door)


def red_boxes(run):
    """What the executed notebooks of a run printed to stderr, which JupyterLab shows in red: (notebook, text)."""
    return [(path.stem, "".join(out["text"])) for path in sorted((run / "notebooks").glob("*.ipynb"))
            for cell in cells_of(path, "code") for out in cell["outputs"] if out.get("name") == "stderr"]


def test_nothing_is_red_where_nothing_is_wrong(tiny_run):
    assert red_boxes(tiny_run.reports) == []


def test_every_notebook_ran(tiny_run):
    ran = {p.stem for p in (tiny_run.reports / "notebooks").glob("*.ipynb")}
    assert ran == {"01_exploration", "02_filtering", "03_dataset", "04_training_gate", "04_training_liver",
                   "04_training_tumour", "05_cascade_inference", "06_evaluation"}  # fmt: skip
    for path in (tiny_run.reports / "notebooks").glob("*.ipynb"):
        for cell in cells_of(path, "code"):
            assert cell["execution_count"] or not "".join(cell["source"]).strip(), f"{path.name}: a cell did not run"
            assert not any(out["output_type"] == "error" for out in cell["outputs"])


def test_every_stage_leaves_still_figures(tiny_run):
    names = {p.name[:2] for p in tiny_run.figures.glob("*.png")}
    assert names == {"01", "02", "03", "04", "05", "06"}


def test_the_report_is_the_notebook_without_its_code(tiny_run):
    page = (tiny_run.reports / "report.html").read_text(encoding="utf8")
    assert set(re.findall(r'src="([^,"]+)', page)) == {"data:image/png;base64", "data:image/jpeg;base64"}
    assert "scans are synthetic" in page and "ISBI 2017" not in page
    assert "<script" not in page and "http:" not in page and "https:" not in page
    assert "Liver and tumour segmentation, run tiny" in page and "split test of tiny: " in page
    pictures = re.findall(r'<img\s+alt="([^"]+)"', page)
    assert len(pictures) == page.count("<img") and min(len(alt.split()) for alt in pictures) >= 3
    for beginning in ("Mean Dice: liver ", "Voxels, with area", "tumour: 3 validations. loss "):
        assert any(alt.startswith(beginning) for alt in pictures), beginning
    assert "run_scores" not in page and "helpers from" not in page and "Dice and lesions on a toy" not in page


def test_a_deleted_report_is_made_again_from_the_tables_that_there_are(tiny, tmp_path):
    shutil.copytree(tiny[0] / "reports", tmp_path / "reports", ignore=shutil.ignore_patterns("predictions"))
    for name in ("checkpoints", "data_lists", "data", "reports/tiny/predictions"):  # a copy would be another file
        (tmp_path / name).symlink_to(tiny[0] / name)
    reports = tmp_path / "reports" / "tiny"
    (reports / "report.html").unlink()
    before = (reports / "cases.csv").stat()
    done = command(tmp_path, "helpers.run", "--run", "tiny", "--only", "06")
    assert done.returncode == 0 and "06_evaluation (reports/tiny/report.html is gone)" in done.stdout, done.stdout + done.stderr
    assert (reports / "report.html").is_file() and (reports / "cases.csv").stat().st_mtime_ns == before.st_mtime_ns
    assert "06_evaluation: up to date" in command(tmp_path, "helpers.run", "--run", "tiny", "--only", "06").stdout


def test_the_benchmark_in_small(tiny, tmp_path):
    """Every measurement is there, and is a time or a memory that can be; asked again, nothing is measured again."""
    import shutil

    import pandas as pd
    from conftest import command

    shutil.copytree(tiny[0], tmp_path / "copy")
    root, words = tmp_path / "copy", ["rounds=1", "size=64", "scan_size=64", "slices=6", "slices_long=24", "width=4"]
    asked = ["--run", "tiny", "--only", "08", "--set", *words]
    done = command(root, "helpers.run", *asked)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    table = pd.read_csv(root / "reports" / "tiny" / "benchmark.csv").set_index("section")
    assert set(table.index) == {"training step", "data side", "changes", "threads", "ceiling", "prediction", "where seconds go",
                                "memory of a training"}  # fmt: skip
    assert (table.seconds.dropna() > 0).all() and table.peak_gib.dropna().between(0.05, 4).all()
    assert {p.name for p in (root / "reports" / "tiny" / "figures").glob("08_*")} == {
        "08_steps.png", "08_changes.png", "08_prediction.png"}  # fmt: skip
    assert not (root / "data" / "stores" / "tiny" / "benchmark").exists()
    assert red_boxes(root / "reports" / "tiny") == []
    assert "up to date" in command(root, "helpers.run", *asked).stdout


def test_the_experiments_in_small(tiny, tmp_path, monkeypatch):
    """Two architectures trained as trials, one row whose weights can't be had: a table, figures, and nothing done twice."""
    import shutil

    import pandas as pd
    from conftest import command

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # and a cache without weights
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    shutil.copytree(tiny[0], tmp_path / "copy")
    root, before = tmp_path / "copy", files.sha256(tiny[0] / "checkpoints" / "tiny" / "tumour" / "final.safetensors")
    asked = ["--run", "tiny", "--only", "07", "--set", "models=convlstm,resnet34-imagenet", "validations=1"]
    done = command(root, "helpers.run", *asked)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    table = pd.read_csv(root / "reports" / "tiny" / "experiments.csv").set_index("trial")
    assert list(table.index) == ["unet", "resnet34-imagenet", "convlstm"]
    there = table.loc[["unet", "convlstm"]]
    assert there.score.between(0, 1).all() and there.note.isna().all() and there.slices_seen.nunique() == 1
    assert there.peak_gib.between(0.05, 4).all() and (there.slices_per_second > 0).all()
    assert there.parameters_m["unet"] < there.parameters_m["convlstm"] < 1
    assert "can't be downloaded" in table.note["resnet34-imagenet"] and "can't be downloaded" in done.stdout
    assert "tumour, 1 patient:" in done.stdout
    assert red_boxes(root / "reports" / "tiny") == []
    trials = root / "checkpoints" / "tiny" / "trials"
    assert {p.name for p in trials.iterdir()} == {"unet.r1s7v1q", "convlstm.r1s7v1q"}
    scores = pd.read_csv(trials / "convlstm.r1s7v1q" / "tumour" / "validation.csv")
    assert scores.score.mean() == pytest.approx(table.score["convlstm"])
    assert files.sha256(root / "checkpoints" / "tiny" / "tumour" / "final.safetensors") == before  # the run's own stay
    assert {p.name for p in (root / "reports" / "tiny" / "figures").glob("07_*")} == {"07_speed.png", "07_patients.png"}
    assert "up to date" in command(root, "helpers.run", *asked).stdout


def test_a_damaged_scan_costs_no_other(tiny, tiny_run, tmp_path):
    """One scan of the test split is cut in half after intake: its case fails by name, the others are predicted."""
    import shutil

    import pandas as pd
    from conftest import TINY, command

    shutil.copytree(tiny[0], tmp_path / "copy")
    root = tmp_path / "copy"
    volumes = sorted((root / "data" / "phantoms").rglob("volume-*.nii.gz"))
    words = ["--run", "tiny", "--only", "05", "--set", "split=train", *[w for w in TINY if w.startswith("min_liver")]]
    split = pd.read_csv(root / "data_lists" / "tiny" / "split.csv", dtype=str)
    victim, *others = split.case[split.split == "train"]
    scan = next(v for v in volumes if v.name == f"{victim}.nii.gz")
    scan.write_bytes(scan.read_bytes()[: scan.stat().st_size // 2])
    done = command(root, "helpers.run", *words)
    assert done.returncode == 0, done.stderr
    log = json.loads((root / "reports" / "tiny" / "predictions" / f"{victim}.json").read_text())
    assert log["outcome"] == "failed" and scan.name in log["sentence"]
    predictions = root / "reports" / "tiny" / "predictions"
    assert others and all((predictions / f"segmentation-{case.removeprefix('volume-')}.nii.gz").is_file() for case in others)
