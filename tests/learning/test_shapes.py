"""The table of a batch's way through a network, against shapes and parameters counted by hand."""

import inspect

import torch

from helpers.cascade import networks, weights
from helpers.learning import shapes
from helpers.learning.train_step import TrainStep


def test_the_way_through_a_small_unet_by_hand():
    network = weights.build("unet", 1, width=2, levels=1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    table = shapes.shape_table(network, torch.rand(3, 1, 8, 8)).set_index("level")
    assert table["shape"].to_dict() == {
        "input": (3, 1, 8, 8), "down 0": (3, 2, 8, 8), "down 1": (3, 4, 4, 4), "lift 0": (3, 2, 8, 8), "up 0": (3, 2, 8, 8),
        "head": (3, 1, 8, 8), "whole network": (3, 1, 8, 8)}  # fmt: skip
    # weights, and scale and shift of BatchNorm, of two convolutions
    down = (1 * 2 * 9 + 4) + (2 * 2 * 9 + 4)
    assert table.parameters["down 0"] == down and table.parameters["lift 0"] == 4 * 2 * 4 + 2 and table.parameters["head"] == 3
    assert table.parameters["whole network"] == sum(p.numel() for p in network.parameters())
    assert network.training and all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_an_encoder_that_gives_a_list_is_shown_by_its_deepest_picture():
    network = weights.build("smp:Unet:resnet18", 3)
    table = shapes.shape_table(network, torch.rand(1, 3, 64, 64)).set_index("level")
    assert table["shape"]["encoder"] == (1, 512, 2, 2) and table["shape"]["whole network"] == (1, 1, 64, 64)


def test_what_notebook_04_prints_of_the_source_fits_its_page():
    for shown in (networks.UNet, networks.SliceClassifier, TrainStep):
        assert max(map(len, inspect.getsource(shown).splitlines())) <= 88
