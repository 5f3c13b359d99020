"""Teachers answer what masks leave open, and nothing else."""

import json

import numpy as np
import pandas as pd
import pytest

from helpers.learning import plans, teaching
from helpers.runs import Run
from helpers.scans.labels import UNKNOWN
from helpers.slices.recipe import Recipe
from helpers.slices.store import Store


class Teacher:
    """Is as sure of tumour as a slice is bright."""

    recipe = Recipe()

    def __init__(self, offset=0):
        self.offset = offset


@pytest.fixture
def data(own_root, monkeypatch):
    """StageData of one case whose slice has four columns: 0, 100, 200, 255 bright, liver of unknown tumours but one."""
    run = Run("pupil")
    run.stores.mkdir(parents=True)
    image = np.tile(np.array([0, 100, 200, 255], np.uint8), (2, 1, 4, 1))
    mask = np.full((2, 4, 4), UNKNOWN, np.uint8)
    mask[0, 0], mask[0, 1] = 0, 2
    np.save(run.stores / "a.image.npy", image)
    np.save(run.stores / "a.mask.npy", mask)
    (run.stores / "a.json").write_text(json.dumps({"box": [[0, 2], [0, 4], [0, 4]], "spacing_mm": [3, 1, 1]}))
    chunk = pd.DataFrame({"case": ["a", "a"], "z": [0, 1], "kind": ["unknown", "unknown"]})
    answers = lambda network, image, rows, **_: (image[list(rows), 0].astype(int) + network.offset).clip(0, 255)  # noqa: E731
    monkeypatch.setattr(teaching.inference, "probability_of_rows", answers)
    monkeypatch.setattr(teaching, "load_network", lambda path, device: Teacher(int(path.read_text())))
    return plans.StageData(run, "tumour", [chunk], chunk[:0], Recipe(), [0.0, 255.0], Store(run.stores))


def teacher(name, offset):
    path = Run(name).checkpoints / "tumour" / "final.safetensors"
    path.parent.mkdir(parents=True)
    path.write_text(str(offset))
    return Run(name)


def test_sure_answers_are_taken_and_what_is_known_stays(data):
    taught = teaching.taught(data, [teacher("one", 0)])
    mask = taught.store.mask("a")
    assert mask[1].tolist() == [[1, UNKNOWN, UNKNOWN, 2]] * 4
    assert not mask[0, 0].any() and (mask[0, 1] == 2).all()
    assert (data.store.mask("a")[1] == UNKNOWN).all()  # the store itself is as it was


def test_teachers_answer_together_and_belong_to_the_settings(data):
    """255 and 255 − 60: their mean is no longer sure; 0 and 0 is."""
    two = [teacher("one", 0), teacher("two", -60)]
    taught = teaching.taught(data, two)
    assert taught.store.mask("a")[1, 0].tolist() == [1, UNKNOWN, UNKNOWN, UNKNOWN]
    assert taught.teachers != teaching.taught(data, two[:1]).teachers != ""


def test_a_teacher_that_has_not_finished_is_named(data):
    with pytest.raises(FileNotFoundError, match="nobody.*a teacher has finished"):
        teaching.taught(data, [Run("nobody")])


def test_a_teacher_of_other_pixels_is_refused(data, monkeypatch):
    monkeypatch.setattr(Teacher, "recipe", Recipe(reference_hu=90.0))
    with pytest.raises(ValueError, match="other pixels"):
        teaching.taught(data, [teacher("one", 0)])
