"""A step of training: what plain torch does by hand, in as many parts as memory needs."""

import copy

import pytest
import torch
from lightning_fabric import Fabric

from helpers.cascade import weights
from helpers.learning import losses, schedules, train_step


@pytest.fixture
def network():
    torch.manual_seed(3)
    return weights.build("unet", 1, width=2, levels=1)


def batch(step):
    rng = torch.Generator().manual_seed(step)
    return torch.rand(4, 1, 8, 8, generator=rng), torch.randint(0, 2, (4, 1, 8, 8), generator=rng)


def made(network, **more):
    optimiser = torch.optim.AdamW(network.parameters(), 0.01)
    fabric = Fabric(accelerator="cpu", devices=1, precision=more.pop("precision", "32-true"))
    return train_step.TrainStep(network, optimiser, losses.loss_named("bce+dice"), fabric, **more)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_is_plain_torch_to_the_last_bit(network, precision):
    plain = copy.deepcopy(network).to(memory_format=torch.channels_last)
    average, optimiser = weights.averaged(plain), torch.optim.AdamW(plain.parameters(), 0.01)
    falling, loss_of = schedules.schedule("cosine", optimiser, 6, 2), losses.loss_named("bce+dice")
    network.to(memory_format=torch.channels_last)
    learn = made(network, precision=precision, ema=weights.averaged(network))
    learn.scheduler = schedules.schedule("cosine", learn.optimiser.optimizer, 6, 2)
    for k in range(4):
        image, target = batch(k)
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            logits = plain.train()(image.contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits, target)
        loss.backward()
        optimiser.step()
        average.update_parameters(plain)
        falling.step()
        assert learn((image, target)) == loss.item()
    for one, other in ((network, plain), (learn.ema.module, average.module)):
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_the_gradients_of_parts_add_up_to_those_of_the_batch():
    """The loss is a mean over the batch and the network has no BatchNorm, so that parts don't see
    each other anyway.
    """
    grads = []
    for parts in (1, 3):
        torch.manual_seed(1)
        network = torch.nn.Conv2d(1, 1, 3, padding=1)
        optimiser = torch.optim.SGD(network.parameters(), 0.0)
        fabric = Fabric(accelerator="cpu", devices=1)
        learn = train_step.TrainStep(network, optimiser, losses.loss_named("bce"), fabric, parts=parts)
        value = learn(batch(0))
        grads.append((value, network.weight.grad.clone()))
    assert grads[0][0] == pytest.approx(grads[1][0]) and torch.allclose(grads[0][1], grads[1][1], atol=1e-7)


def test_memory_shortage_halves_the_parts():
    calls = []

    def work(image, target, parts):
        calls.append(parts)
        if parts < 4:
            raise torch.OutOfMemoryError("too large")
        return "done"

    assert train_step.in_parts(work, torch.zeros(8), torch.zeros(8), 1) == ("done", 4)
    assert calls == [1, 2, 4]
    with pytest.raises(torch.OutOfMemoryError):
        train_step.in_parts(lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("never")), torch.zeros(2), None, 1)
