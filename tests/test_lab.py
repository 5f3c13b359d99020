"""The lab's copies of the notebooks: what a person did in them stays, and the project's stay untouched."""

import json
import os

import pytest

from helpers import files, lab, run_parameters, runs
from helpers.parameters import parameters_of


@pytest.fixture
def project(own_root, monkeypatch):
    """A project of one notebook of three cells, and its run "mine"."""
    folder = own_root / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(runs, "NOTEBOOKS", folder)
    write(folder / "01_first.ipynb", 'data = ""     # folder\nsize = 64     # pixels\nrun = "demo"  # its name', "print(size)")
    return folder / "01_first.ipynb", own_root / "lab" / "mine" / "01_first.ipynb"


def write(path, parameters, code, **more):
    cells = [{"cell_type": "markdown", "metadata": {}, "source": ["[race](../reports/race.md), [next](02.ipynb)"]},
             {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": parameters.splitlines(keepends=True)},
             {"cell_type": "code", "metadata": {}, "source": [code], "outputs": []} | more]  # fmt: skip
    files.write_json(path, {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def edited(path, change):
    content = files.read_json(path)
    change(content["cells"])
    files.write_json(path, content)


def test_a_copy_has_the_runs_name_and_links_that_hold(project):
    original, copy = project
    before = original.read_bytes()
    assert lab.copied(runs.Run("mine")) == ([copy], [])
    markdown, parameters, _ = files.read_json(copy)["cells"]
    assert markdown["source"] == ["[race](../../reports/race.md), [next](02.ipynb)"]
    assert parameters["source"] == ['data = ""     # folder\n', "size = 64     # pixels\n", 'run = "mine"  # its name']
    assert original.read_bytes() == before


def test_what_was_done_in_a_copy_stays(project):
    original, copy = project
    lab.copied(runs.Run("mine"))
    edited(copy, lambda cells: cells[2].update(outputs=[{"text": "64"}], source=["print(2 * size)"]))
    edited(copy, lambda cells: cells[1].update(source=['data = "/a/long/path/to/scans"  # folder\nrun = "mine"']))
    kept = copy.read_bytes()
    assert lab.copied(runs.Run("mine")) == ([copy], []) and copy.read_bytes() == kept
    write(original, 'data = ""\nrun = "demo"', "print(3 * size)")
    _, (sentence,) = lab.copied(runs.Run("mine"))
    assert copy.read_bytes() == kept and sentence.startswith("lab/mine/01_first.ipynb stays as you edited it")


def test_a_copy_nobody_edited_follows_the_project_and_keeps_its_parameters(project):
    original, copy = project
    lab.copied(runs.Run("mine"))
    edited(copy, lambda cells: cells[1].update(source=['size = 128\ndata = "x"\nrun = "mine"']))
    write(original, 'run = "demo"\nsize = 64  # pixels\nnew = 1', "print(3 * size)")
    assert lab.copied(runs.Run("mine"))[1] == []
    assert files.read_json(copy)["cells"][2]["source"] == ["print(3 * size)"]
    assert parameters_of(copy) == {"run": "mine", "size": 128, "new": 1}


@pytest.mark.parametrize("made_later", [True, False])
def test_parameters_are_those_of_whoever_came_last_the_run_or_the_person(project, made_later):
    _, copy = project
    lab.copied(runs.Run("mine"))
    edited(copy, lambda cells: cells[1].update(source=['data = ""\nsize = 128\nrun = "mine"']))
    called = run_parameters.file_of(runs.Run("mine"))
    files.write_json(called, {"01_first": {"size": 256, "data": 'a"b'}})
    os.utime(called, (0, copy.stat().st_mtime + (1 if made_later else -1)))
    lab.copied(runs.Run("mine"))
    assert parameters_of(copy) == {"data": 'a"b' if made_later else "", "size": 256 if made_later else 128, "run": "mine"}


def test_the_projects_notebooks_can_be_copied(own_root):
    copies, _ = lab.copied(runs.Run("demo"))
    assert [copy.name for copy in copies] == [path.name for path in sorted(runs.NOTEBOOKS.glob("*.ipynb"))]
    for copy in copies:
        there, original = (json.loads(path.read_text(encoding="utf8")) for path in (copy, runs.NOTEBOOKS / copy.name))
        assert parameters_of(copy) == parameters_of(runs.NOTEBOOKS / copy.name)
        assert len(there["cells"]) == len(original["cells"])
