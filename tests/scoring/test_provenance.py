"""What a scoring was made from is said truly, and the command makes it again."""

import shlex
from argparse import Namespace

import pandas as pd
import pytest

from helpers import files, runs, score
from helpers.cascade import weights
from helpers.scoring import provenance


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with weights of two stages, a log of a case, and a split of three patients."""
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    run = runs.Run("try")
    hashes = []
    for stage in ("liver", "tumour"):
        network = {"model": "unet", "in_channels": 1, "classes": 1, "width": 4, "levels": 2}
        card = {"network": network, "data": {"training": ["a", "b", "c"]}}
        path = run.checkpoints / stage / "final.safetensors"
        path.parent.mkdir(parents=True)
        weights.save_weights(path, weights.build(**network), card | {"stage": stage})
        hashes.append(files.short_hash(path))
    files.write_json(run.log("d"), {"origin": {"weights": hashes}})
    split = {"case": list("abcd"), "group": ["p", "p", "q", "r"], "split": ["train"] * 3 + ["test"]}
    files.write_csv(run.lists / "split.csv", pd.DataFrame(split))
    return run


def told(run):
    spacing = {"spacing_z_mm": 5.0, "spacing_y_mm": 0.8}
    rows = pd.DataFrame([{"case": "d", "run": "try", "image": "data/x/d.nii.gz"} | spacing])
    return provenance.of_run(rows, pd.DataFrame({"case": ["d"], "synthetic": [True]}), "again!")


def test_a_run_names_data_weights_and_the_patients_they_learnt_from(run):
    words = told(run)
    assert words["data"] == "data/x: 1 scan, synthetic" and words["again"] == "again!"
    assert words["spacing"] == "slices 5 mm apart, pixels of 0.8 mm"
    assert words["weights of try"].startswith("checkpoints/try: liver ")
    assert words["liver, tumour learnt from"] == "2 patients: p, q"


def test_weights_that_are_gone_or_unknown_are_not_guessed(run):
    (run.checkpoints / "liver" / "final.safetensors").write_bytes(b"trained again")
    words = told(run)
    assert "no longer in checkpoints/try" in words["weights of try"]
    assert not any("learnt from" in name for name in words)
    run.log("d").unlink()
    assert "not known" in told(run)["weights of try"]


@pytest.mark.parametrize("more", [[], ["--scans", "my scans", "--report", "--tolerance", "3"]])
def test_the_command_of_a_folder_of_masks_asks_for_the_same_again(more):
    options = score._parser().parse_args(["r", "p q", "-o", "out", *more])
    cases = pd.DataFrame({"case": ["a", "b"], "synthetic": [True, False]})
    words = provenance.of_masks(cases, options)
    again = shlex.split(words["again"])
    assert again[:3] == ["python", "-m", "helpers.score"]
    same = vars(score._parser().parse_args(again[3:]))
    assert Namespace(**same) == options
    assert words["data"] == "2 scans, 1 of them synthetic"
