"""Networks fused for predicting: the same answers, in one pass a convolution."""

import pytest
import torch
from torch import nn

from helpers.cascade import fused, networks, weights

CARD = {"stage": "liver", "neighbours": 0, "norm": (0.0, 255.0)}


def trained(make):
    """A network whose BatchNorms have statistics, as after a training."""
    torch.manual_seed(0)
    network = make()
    for _ in range(3):
        network(torch.randn(2, 1, 64, 64) * 2 + 1)
    return network.eval()


@pytest.mark.parametrize("make", [lambda: networks.UNet(1, 1, 4, 2, 2), lambda: networks.SliceClassifier(1)])
def test_a_fused_network_answers_as_before(make):
    network = trained(make)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    quick = fused.fused(network, torch.float32)
    x = torch.randn(3, 1, 64, 96)
    with torch.inference_mode():
        assert (quick(x) - network(x)).abs().max() < 1e-5
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in quick.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


OTHERS = ["unet3d", "convlstm", "specialists", "upsampled:resnet18", "monai:AttentionUnet", "monai:BasicUNet", "monai:SegResNet",
          "smp:Unet:resnet18", "smp:UnetPlusPlus:resnet18", "smp:FPN:resnet18", "smp:Unet:tu-tf_efficientnet_lite0"]  # fmt: skip


@pytest.mark.parametrize("model", OTHERS)
def test_every_network_answers_fused_as_before(model):
    network = trained(lambda: weights.build(model, 1, width=8, levels=2))
    quick, x = fused.fused(network, torch.float32), torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        expected = network(x)
        assert (quick(x) - expected).abs().max() < 1e-4 * expected.abs().max()
    assert quick is not network or not model.startswith("smp:Unet")


def test_in_half_precision_it_is_as_close_to_float32_as_autocast_is():
    network = trained(lambda: networks.UNet(1, 1, 8, 3))
    quick, x = fused.fused(network, torch.bfloat16), torch.randn(4, 1, 64, 64)
    with torch.inference_mode():
        exact = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            usual, got = network(x).float(), quick(x).float()
    assert (got - exact).square().mean() < 1.5 * (usual - exact).square().mean()


def test_hand_derived_scale_and_shift():
    """A kernel of 2, then (x − 1) / 2 · 3 + 4 by the BatchNorm, below 0 nothing: 1.5 · (2 x − 1) + 4."""
    convolution, norm = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0)
    with torch.no_grad():
        convolution.weight.fill_(2)
        for name, value in (("running_mean", 1), ("running_var", 4), ("weight", 3), ("bias", 4)):
            getattr(norm, name).fill_(value)
    quick = fused.fused(nn.Sequential(convolution, norm, nn.ReLU()).eval(), torch.float32)
    assert quick(torch.tensor([[[[0.0, 1.0, -5.0]]]])).flatten().tolist() == [2.5, 5.5, 0.0]


@pytest.mark.parametrize("layers", [
    (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(1), nn.ReLU()),
    (networks.Doubling(1, 1), nn.BatchNorm2d(1), nn.ReLU()),
    (nn.Conv2d(1, 1, 3), nn.ReLU()),
])  # fmt: skip
def test_other_rows_stay_as_they_are(layers):
    network = nn.Sequential(*layers)
    assert fused.fused(network, torch.float32) is network


def test_weights_that_still_change_are_not_fused(tmp_path):
    network = trained(lambda: networks.UNet(1, 1, 4, 2))
    assert weights.TrainedNetwork(network, CARD).predicting is network
    assert weights.TrainedNetwork(network, CARD, path=tmp_path / "w.safetensors").predicting is not network
