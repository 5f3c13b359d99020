"""What a card says about where a result was made, and what a training gets from the machine it runs
on.
"""

import json

import pytest
import torch

from helpers import runs
from helpers.learning import machine


def test_description_is_plain_and_names_what_matters():
    description = machine.described()
    assert json.loads(json.dumps(description)) == description and {type(value) for value in description.values()} <= {str, int}
    assert {"python", "torch", "numpy", "helpers", "commit", "processor", "threads"} <= description.keys()
    assert "cores" in description["processor"]


def test_no_git_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "HERE", tmp_path)
    assert machine.commit() == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.commit() == ""


def test_loggers_by_name(tmp_path):
    assert [type(t).__name__ for t in machine.loggers_named("csv, tensorboard", tmp_path)] == ["CSVLogger", "TensorBoardLogger"]
    assert machine.loggers_named("", tmp_path) == []
    with pytest.raises(ValueError, match="logger 'excel'"):
        machine.loggers_named("excel", tmp_path)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_fabric_computes_in_the_precision_asked_for_or_measured(tmp_path, precision):
    network, example = torch.nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 4, 4)
    fabric = machine.fabric_for(tmp_path, network, example, device="cpu", precision=precision)
    assert machine.precision_of(fabric) == precision and fabric.device.type == "cpu"
    (tmp_path / "precision.json").write_text(json.dumps({"cpu": precision}))
    assert machine.precision_of(machine.fabric_for(tmp_path, network, example, device="cpu")) == precision
