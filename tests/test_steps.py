"""A stage runs when it should, says why, and files are written whole or not at all."""

import json
import os
from functools import partial

import pytest

from helpers import files, parameters, runs, steps


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 65, "ä"])
def test_run_names_that_could_leave_their_folder_are_refused(name):
    with pytest.raises(ValueError, match="run name"):
        runs.Run(name)


def test_written_whole_leaves_nothing_after_an_error(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("old")
    with pytest.raises(ZeroDivisionError), files.written_whole(file) as beside:
        beside.write_text("half")
        1 / 0
    assert file.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.csv"]


def test_leftovers_of_dead_processes_go_and_those_of_the_living_stay(tmp_path):
    import subprocess
    import sys

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f".{dead.pid}-ab.part.x.pt", f".{os.getppid()}-ab.part.x.pt", ".notes.part.x", "x.pt"]
    for name in names:
        (tmp_path / name).touch()
    assert files.remove_leftovers(tmp_path) == names[:1]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names[1:])


def test_shown_and_found_undo_each_other(own_root):
    for path in (own_root / "data" / "a ä.nii.gz", own_root.parent / "elsewhere.nii"):
        assert runs.absolute(runs.relative(path)) == path
    assert runs.relative(own_root / "data" / "x.nii") == "data/x.nii"


def stage_on(root, **settings):
    return steps.Step("02_filtering", runs.Run("r"), {"size": 1, "device": "cpu"} | settings, [root / "in.csv"])


def test_stage_says_what_changed(own_root):
    (own_root / "in.csv").write_text("a")
    (own_root / "out.csv").write_text("b")
    stage = stage_on(own_root)
    assert stage.changes() == ["it has not run yet"]
    stage.done([own_root / "out.csv"])
    assert stage.changes() == []
    assert stage_on(own_root, device="cuda").changes() == []  # where it runs changes nothing
    assert stage_on(own_root, size=2).changes() == ["size was 1, is 2"]
    (own_root / "in.csv").write_text("c")
    assert stage.changes() == ["in.csv has changed"]
    (own_root / "in.csv").write_text("a")  # the same bytes again are no change
    (own_root / "out.csv").unlink()
    assert stage.changes() == ["out.csv is gone"]


def test_folder_that_grew_is_named(own_root):
    (own_root / "scans").mkdir()
    (own_root / "scans" / "a.nii").write_text("a")
    stage = steps.Step("01", runs.Run("r"), {}, [own_root / "scans"])
    stage.done([])
    (own_root / "scans" / "b.nii").write_text("b")
    assert stage.changes() == ["scans/b.nii is new"]


def test_what_changes_while_a_stage_runs_was_not_read_by_it(own_root, monkeypatch, capsys):
    monkeypatch.setattr(parameters, "parameters_of", lambda notebook: {"run": "r", "size": 1})
    (own_root / "in.csv").write_text("a")
    given = {"size": 1}, [own_root / "in.csv"]
    stage = steps.begin("02_filtering", runs.Run("r"), *given)
    (own_root / "in.csv").write_text("b")
    stage.done([])
    steps.begin("02_filtering", runs.Run("r"), *given)
    assert "runs, because in.csv has changed" in capsys.readouterr().out


def test_a_stage_that_was_stopped_under_other_settings_has_to_run_again(own_root, monkeypatch, capsys):
    """What it had written by then is of the other settings, and the stamp of the first ones must not vouch for it."""
    monkeypatch.setattr(parameters, "parameters_of", lambda notebook: {"run": "r", "size": 1})
    (own_root / "in.csv").write_text("a")
    begin = partial(steps.begin, "02_filtering", runs.Run("r"), reads=[own_root / "in.csv"])
    begin({"size": 1}).done([])
    begin({"size": 1})
    assert "up to date" in capsys.readouterr().out
    begin({"size": 2})  # and no more of it: it was stopped
    assert begin({"size": 1}).changes() == ["it has not come to its end"]
    begin({"size": 1}).done([])
    assert begin({"size": 1}).changes() == []


def test_a_file_that_is_made_again_leaves_the_stage_done(own_root, monkeypatch):
    monkeypatch.setattr(parameters, "parameters_of", lambda notebook: {"run": "r"})
    stage = steps.begin("05_cascade_inference", runs.Run("r"), {})
    stage.done([own_root / "mask.nii.gz"])
    stage = steps.begin("05_cascade_inference", runs.Run("r"), {})
    (own_root / "mask.nii.gz").touch()
    assert stage.changes()  # asked by the last cell, which then writes the stamp
    stage.done([own_root / "mask.nii.gz"])
    assert stage.state == "done" and stage.changes() == []


def test_paused_stage_has_to_run_again(own_root):
    (own_root / "in.csv").write_text("a")
    stage = stage_on(own_root)
    stage.paused("paused at step 3")
    assert stage.changes() == ["it paused: paused at step 3"]


def test_every_notebook_declares_literal_parameters():
    for notebook in sorted(runs.NOTEBOOKS.glob("*.ipynb")):
        found = parameters.parameters_of(notebook)
        assert "run" in found, notebook
        tagged = [c for c in json.loads(notebook.read_text())["cells"] if "parameters" in c["metadata"].get("tags", [])]
        for line in "".join(tagged[0]["source"]).splitlines():
            comment = line.partition("#")[2]
            assert comment and "=" not in comment and ";" not in comment, f"{notebook.name}: papermill can't read {line!r}"
