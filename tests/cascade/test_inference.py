"""Trained networks: found, loaded, and asked about slices of any size."""

import numpy as np
import pytest
import torch

from helpers.cascade import inference, networks, weights
from helpers.scans.volume import in_our_axes
from helpers.slices.pixels import normalised
from helpers.slices.recipe import STAGES, Recipe, Slices, pixels, whole_grid


def test_sizes_that_are_no_multiple_of_32():
    torch.manual_seed(0)
    card = {"stage": "liver", "neighbours": 0, "norm": (0.0, 255.0)}
    net = weights.TrainedNetwork(networks.UNet(1, 1, 2, 3).eval(), card)
    image = np.random.default_rng(0).integers(0, 255, (3, 1, 50, 37)).astype(np.uint8)
    assert inference.probability_of_rows(net, image, [0, 2]).shape == (2, 50, 37)


@pytest.mark.parametrize("norm", [(0.0, 255.0), (97.3, 61.7)])
def test_a_network_predicts_from_the_values_that_it_learnt_from(norm):
    planes = np.random.default_rng(0).integers(0, 256, (2, 3, 37, 64)).astype(np.uint8)
    learnt_from = normalised(torch.from_numpy(planes).float().div_(255), norm)
    got = inference.network_input(planes, norm).transpose(0, 3, 1, 2)
    assert got.shape == (2, 3, 64, 64) and np.array_equal(got[:, :, :37], learnt_from)
    assert np.unique(got[:, :, 37:]).tolist() == [float(normalised(torch.zeros(1), norm))]


def test_three_class_heads_give_liver_and_tumour():
    logits = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 3, 1, 1)
    p = torch.softmax(torch.tensor([0.0, 1.0, 2.0]), 0)
    assert float(weights.foreground(logits, "tumour")) == pytest.approx(float(p[2]))
    assert float(weights.foreground(logits, "liver")) == pytest.approx(float(p[1] + p[2]))


def test_missing_weights_say_which_stage(tmp_path):
    with pytest.raises(FileNotFoundError, match="liver: holds no final weights; train this stage"):
        weights.load_networks(tmp_path)
    for stage in ("liver", "tumour"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "best.safetensors").touch()
    assert [p.name for p in weights.paths_of(tmp_path, unfinished=True).values()] == ["best.safetensors"] * 2


def test_a_gate_of_other_pixels_is_refused(tmp_path, monkeypatch):
    def card(file, device):
        size = 128 if file.parent.name == "gate" else 256
        return None, {"recipe": vars(Recipe(size=size)), "neighbours": 1}

    monkeypatch.setattr(weights, "load_weights", card)
    for stage in STAGES:
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "final.safetensors").touch()
    with pytest.raises(ValueError, match="the gate learnt from other pixels than the liver's network"):
        weights.load_networks(tmp_path)
    (tmp_path / "gate" / "final.safetensors").unlink()
    assert set(weights.load_networks(tmp_path)) == {"liver", "tumour"}


def test_slices_are_those_of_a_whole_stack():
    hu = np.random.default_rng(0).integers(-200, 300, (9, 40, 30)).astype(np.int16)
    recipe = Recipe(windows=((-40, 160), (0, 80)), size=64)
    grid = whole_grid(hu.shape, (2.0, 1.0, 1.0), recipe.size)
    stack = np.stack([pixels(plane, grid, recipe) for plane in hu])
    slices = Slices(in_our_axes(hu, (2.0, 1.0, 1.0)), grid, recipe, kept_bytes=0)
    assert slices.shape == stack.shape and len(slices) == 9
    rows = np.array([8, 0, 0, 5])
    assert np.array_equal(slices[rows], stack[rows])
