"""Networks learn, keep their shapes, and come back from disk as they went; losses and doors to other libraries."""

import os
import signal

import numpy as np
import pytest
import torch

from helpers import files
from helpers.cascade import networks, precision, weights
from helpers.intake import case_table
from helpers.learning import losses
from helpers.scans.labels import UNKNOWN


@pytest.mark.parametrize("levels, width, classes, unshuffle", [(1, 2, 1, 1), (3, 4, 3, 1), (5, 2, 1, 1), (3, 4, 3, 2)])
def test_unet_keeps_the_picture_size(levels, width, classes, unshuffle):
    net = weights.build("unet", 3, classes, width, levels, unshuffle)
    assert net(torch.zeros(2, 3, 64, 96)).shape == (2, classes, 64, 96)


def test_unet_has_the_published_shape():
    """Blocks of two 3 × 3 convolutions with BatchNorm; weights counted by hand for width 2 and one level."""
    net = networks.UNet(1, 1, width=2, levels=1)
    block = lambda a, b: a * b * 9 + b * b * 9 + 4 * b  # noqa: E731
    by_hand = block(1, 2) + block(2, 4) + (4 * 2 * 4 + 2) + block(4, 2) + (2 + 1)
    assert sum(p.numel() for p in net.parameters()) == by_hand


def test_unet_sees_detail_through_its_skips():
    """A single pixel moves the answer at that pixel: without skip connections the lowest level would blur it."""
    torch.manual_seed(0)
    net = networks.UNet(1, 1, 4, 4).eval()
    x = torch.zeros(1, 1, 64, 64)
    y = x.clone()
    y[0, 0, 33, 21] = 1
    moved = (net(y) - net(x)).abs()[0, 0]
    assert divmod(int(moved.argmax()), 64)[0] in range(30, 37) and divmod(int(moved.argmax()), 64)[1] in range(18, 25)


def test_an_unshuffled_unet_still_draws_single_pixels():
    """Its head has a channel for every pixel of a square; a head that knows one of them draws every second pixel."""
    net = networks.UNet(1, 1, width=2, levels=1, unshuffle=2).eval()
    torch.nn.init.zeros_(net.head.weight)
    net.head.bias.data = torch.tensor([0.0, 1.0, 2.0, 3.0])
    said = net(torch.rand(1, 1, 8, 8))[0, 0]
    assert (said == torch.tensor([[0.0, 1.0], [2.0, 3.0]]).repeat(4, 4)).all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_doubling_is_a_transposed_convolution(layout):
    """Value and all three gradients against torch's own layer, on a plane that isn't square."""
    torch.manual_seed(0)
    ours = networks.Doubling(6, 3).double()
    theirs = torch.nn.ConvTranspose2d(6, 3, 2, stride=2).double()
    theirs.load_state_dict(ours.state_dict())
    x, above = torch.randn(2, 6, 5, 7).double().to(memory_format=layout), torch.randn(2, 3, 10, 14).double()
    results = []
    for layer in (ours, theirs):
        seen = x.clone().requires_grad_()
        out = layer(seen)
        out.backward(above)
        results.append([out, seen.grad, layer.weight.grad, layer.bias.grad])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_doubling_learns_in_half_precision():
    layer = networks.Doubling(4, 2)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.ones(1, 4, 3, 3))
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16
    assert (layer.weight.grad == 9).all() and (layer.bias.grad == 36).all()  # 9 pixels of ones, 36 pixels come out


def test_predicting_takes_half_precision_only_with_units_for_it(monkeypatch):
    for units, expected in ((False, "32-true"), (True, "bf16-mixed")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda units=units: units)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert precision.half_precision_supported(torch.device("cpu")) == expected


@pytest.mark.parametrize("name", ["bce+dice", "dice", "focal", "tversky", "ce+dice"])
@pytest.mark.parametrize("classes", [1, 3])
def test_every_loss_is_lower_for_the_right_answer(name, classes):
    target = torch.from_numpy(np.random.default_rng(0).integers(0, 2 if classes == 1 else 3, (2, 1, 8, 8)))
    right = (target * 2.0 - 1) * 8 if classes == 1 else 16 * torch.nn.functional.one_hot(target[:, 0], 3).movedim(-1, 1).float()
    loss = losses.loss_named(name, classes)
    assert float(loss(right, target)) < 0.05 < float(loss(-right, target))


def test_bce_dice_by_hand():
    """Logits 0 are probabilities of a half: BCE is ln 2, batch Dice 1 − (2·½·4 + ε)/(4 + ½·8 + ε) = ½."""
    target = torch.tensor([[[[1, 1, 0, 0]]], [[[1, 1, 0, 0]]]])
    value = float(losses.loss_named("bce+dice")(torch.zeros(2, 1, 1, 4), target))
    assert value == pytest.approx(np.log(2) + 0.5, abs=1e-4)


def test_class_weights_weigh_the_foreground():
    target, logits = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    assert float(losses.loss_named("bce", 1, [3.0])(logits, target)) == pytest.approx(3 * np.log(2), abs=1e-5)
    with pytest.raises(ValueError, match="2 class weights for 3 classes"):
        losses.loss_named("ce+dice", 3, [1.0, 2.0])
    for name in ("tversky", "focal"):
        with pytest.raises(ValueError, match=f"loss '{name}' of 1 classes takes no class weights"):
            losses.loss_named(name, 1, [3.0])


@pytest.mark.parametrize("name", ["bce", "bce+dice"])
def test_class_weights_go_where_the_logits_are(name):
    logits = torch.zeros(1, 1, 2, 2, device="meta")  # stands for a GPU: what lies elsewhere can't be added to it
    assert losses.loss_named(name, 1, [3.0])(logits, logits).device.type == "meta"


@pytest.mark.parametrize(
    "name", ["smp:Unet:resnet18", "smp:UnetPlusPlus:resnet18", "monai:BasicUNet", "monai:AttentionUnet", "monai:SegResNet"]
)
def test_other_libraries_by_name(name):
    assert weights.build(name, 3, 1, 8, 3)(torch.zeros(2, 3, 64, 64)).shape == (2, 1, 64, 64)


@pytest.mark.parametrize("name", ["vnet", "smp:Nothing:resnet18", "smp:Unet:nothing", "monai:Nothing"])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError):
        weights.build(name, 3)


def test_weights_come_back_with_their_card(tmp_path):
    card = {"stage": "liver", "network": {"model": "unet", "in_channels": 1, "classes": 1, "width": 2, "levels": 2}}
    net = weights.build(**card["network"])
    net.down[0][0].weight.data[0] = 1e6  # more than half precision can hold
    weights.save_weights(tmp_path / "w.safetensors", net, card)
    again, read = weights.load_weights(tmp_path / "w.safetensors")
    assert read == card
    for name, kept in net.state_dict().items():
        rounded = kept.half().float() if kept.ndim > 1 and name != "down.0.0.weight" else kept
        assert torch.equal(rounded, again.state_dict()[name]), name
    assert all(p.dtype == torch.float32 for p in again.parameters())
    (tmp_path / "bad.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:100])
    with pytest.raises(ValueError, match="bad.safetensors"):
        weights.load_weights(tmp_path / "bad.safetensors")
    weights.save_weights(tmp_path / "other.safetensors", net, card | {"network": card["network"] | {"model": "foo"}})
    with pytest.raises(ValueError, match="other.safetensors: its weights .*model 'foo'"):
        weights.load_weights(tmp_path / "other.safetensors")


def test_average_begins_fast_and_then_holds(tmp_path):
    net = torch.nn.Linear(1, 1, bias=False)
    ema = weights.averaged(net, decay=0.9)
    torch.nn.init.zeros_(net.weight)
    ema.update_parameters(net)  # the first call copies
    torch.nn.init.ones_(net.weight)
    ema.update_parameters(net)
    assert ema.module.weight.item() == pytest.approx(1 - 2 / 11)


def test_precision_is_measured_once_and_remembered(tmp_path):
    net, example, device = weights.build("unet", 1, 1, 2, 1), torch.zeros(1, 1, 16, 16), torch.device("cpu")
    first = precision.remembered_precision(tmp_path, net, example, device)
    assert first in ("32-true", "bf16-mixed")
    (tmp_path / "precision.json").write_text('{"cpu": "kept"}')
    assert precision.remembered_precision(tmp_path, net, example, device) == "kept"


class Crashing(torch.nn.Conv2d):
    """Half precision ends the process that tries it, as conv3d does on some processors."""

    def forward(self, x):
        if torch.is_autocast_enabled("cpu"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().forward(x)


@pytest.mark.parametrize("wanted", ["auto", "bf16-mixed", "32-true"])
def test_half_precision_that_crashes_is_found_out_apart_and_left(monkeypatch, tmp_path, capsys, wanted):
    monkeypatch.setattr(precision, "half_precision_supported", lambda device: "bf16-mixed")
    tried = Crashing(1, 1, 1), torch.zeros(1, 1, 4, 4), torch.device("cpu"), wanted
    assert precision.remembered_precision(tmp_path, *tried) == "32-true"
    assert ("SIGSEGV" in capsys.readouterr().out) == (wanted != "32-true")
    monkeypatch.setattr(precision, "_tried_apart", lambda *_: pytest.fail("it is remembered"))
    assert precision.remembered_precision(tmp_path, *tried) == "32-true"


def test_half_precision_that_is_asked_for_and_works_is_taken(tmp_path):
    class Local(torch.nn.Conv2d):  # of no module: it can't travel to another process
        pass

    example = torch.zeros(1, 1, 4, 4), torch.device("cpu"), "bf16-mixed"
    for network in (torch.nn.Conv2d(1, 1, 1), Local(1, 1, 1)):
        folder = tmp_path / type(network).__name__
        assert precision.remembered_precision(folder, network, *example) == "bf16-mixed"


@pytest.mark.parametrize(
    ("units", "in_float", "chosen"),
    [("bf16-mixed", "works", "bf16-mixed"), ("bf16-mixed", "waits", "32-true"), ("32-true", "works", "32-true")],
)
def test_half_precision_is_taken_for_the_processor_time_it_saves(monkeypatch, units, in_float, chosen):
    """Waiting, as for a busy machine, decides nothing; without units for it half precision isn't tried."""
    import time

    class Net(torch.nn.Conv2d):
        def forward(self, x):
            slow = not torch.is_autocast_enabled("cpu")
            end = time.process_time() + (0.03 if slow and in_float == "works" else 0.01)
            while time.process_time() < end:
                pass
            time.sleep(0.02 if slow and in_float == "waits" else 0)
            return super().forward(x)

    monkeypatch.setattr(precision, "half_precision_supported", lambda device: units)
    assert precision.fastest_precision(Net(1, 1, 1), torch.zeros(1, 1, 4, 4), torch.device("cpu")) == chosen


@pytest.mark.parametrize("name", ["bce", "bce+dice", "dice", "focal", "tversky"])
@pytest.mark.parametrize("classes", [1, 3])
def test_nothing_is_learnt_where_the_target_is_unknown(name, classes):
    """Whatever the logits are there, the loss is the same, and its gradient zero; elsewhere it isn't."""
    if name == "bce" and classes > 1:
        pytest.skip("a binary loss")
    target = torch.tensor([[[[0, 1, UNKNOWN, UNKNOWN]]]])
    loss_of, losses_of = losses.loss_named(name, classes), []
    for there in (-3.0, 5.0):
        logits = torch.zeros(1, classes, 1, 4)
        logits[..., 2:] = there
        logits[:, -1, :, 0] = 0.5
        logits.requires_grad_()
        loss = loss_of(logits, target)
        loss.backward()
        losses_of.append(loss.item())
        assert logits.grad[..., 2:].abs().max() == 0 and logits.grad[..., :2].abs().max() > 0
    assert losses_of[0] == losses_of[1]


def test_cards_of_before_get_the_voxels_of_their_scans_and_weights_stay_as_they_are(tmp_path):
    rows = [{"case": case, "voxels": f"0000000{k}", "verdict": "ok", "image": "", "bytes": ""} for k, case in enumerate("abc")]
    files.write_csv(tmp_path / "cases.csv", case_table.table(rows))
    for stage, names in (("liver", ["a", "c"]), ("tumour", ["c"])):
        net = weights.build("unet", 1, 1, 2, 1)
        card = {"network": {"model": "unet", "in_channels": 1, "width": 2, "levels": 1}, "data": {"training": names}}
        weights.save_weights(tmp_path / "run" / stage / "final.safetensors", net, card)
        files.write_json(tmp_path / "run" / stage / "final.json", card | {"minutes": 1})
    liver = tmp_path / "run" / "liver" / "final.safetensors"
    before = weights.load_weights(liver)[0].state_dict()
    weights.note_voxels(tmp_path / "run", tmp_path / "cases.csv")
    net, card = weights.load_weights(liver)
    assert card["data"] == {"training": ["a", "c"], "voxels": ["00000000", "00000002"]}
    assert files.read_json(liver.with_name("final.json")) == card | {"minutes": 1}
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    files.write_csv(tmp_path / "cases.csv", case_table.table(rows[:2]))
    with pytest.raises(ValueError, match="has the voxels of 1 of the 2 scans that"):
        weights.note_voxels(tmp_path / "run", tmp_path / "cases.csv")
