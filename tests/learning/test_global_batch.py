"""Processes that train together learn what one process learns of the same batches."""

import os
import socket
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "proof"))
import harness  # noqa: E402 (the harness of `make proof`)

from helpers import files, together
from helpers.cascade import weights
from helpers.learning import checkpoints, global_batch, losses, machine, train_step

NETWORKS = {"unet": ((8, 2, 16, 16), (8, 1, 16, 16)), "classifier": ((8, 2, 32, 32), (8, 1))}
STEPS = 50


def batches(kind):
    rng = torch.Generator().manual_seed(2)
    pixels, target = NETWORKS[kind]
    for _ in range(STEPS):
        yield torch.randn(pixels, generator=rng, dtype=torch.float64), (torch.rand(target, generator=rng) > 0.7).long()


def learnt(kind):
    """Weights and statistics of a small network after STEPS steps in double precision, in which rounding doesn't grow."""
    torch.manual_seed(1)
    network = weights.build(kind, 2, width=2, levels=2)
    optimiser = torch.optim.AdamW(network.parameters(), 0.002)
    learn = train_step.TrainStep(network, optimiser, losses.loss_named("bce+dice" if kind == "unet" else "bce"),
                                 machine.fabric_of(torch.device("cpu"), "64-true"))  # fmt: skip
    each = [learn(batch) for batch in batches(kind)]
    return network.state_dict() | {"losses": torch.tensor(each, dtype=torch.float64)}


def apart(rank, count, port, work, folder):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
                   "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    together.join()
    torch.save(work(), folder / f"{rank}.pt")
    together.leave()


def in_processes(work, count, folder):
    """What work() gives in each of `count` processes that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = harness.server()
    processes = [context.Process(target=apart, args=(rank, count, port, work, folder)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * count
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]


def learnt_both():
    return {kind: learnt(kind) for kind in NETWORKS}


@pytest.mark.parametrize("count", [2, 4])
def test_the_same_weights_after_fifty_steps(count, tmp_path):
    alone = learnt_both()
    for of_process in in_processes(learnt_both, count, tmp_path):
        for kind, state in alone.items():
            for name, value in state.items():
                assert (of_process[kind][name] - value).abs().max() < 1e-5, (kind, name)


def agreed():
    rank = together.rank()
    return [together.of_first(lambda: f"of {rank}"), together.any_of("" if rank != 1 else "one stops"), together.any_of("")]


def test_what_the_first_finds_and_any_wants_is_known_to_all(tmp_path):
    assert in_processes(agreed, 3, tmp_path) == [["of 0", "one stops", ""]] * 3
    assert agreed() == ["of 0", "", ""]  # alone


def test_the_first_process_alone_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(together, "rank", lambda: 1)
    files.write_text(tmp_path / "a.txt", "a")
    checkpoints.write(tmp_path, 3, {"step": 3})
    weights.save_weights(tmp_path / "w.safetensors", {"w": torch.zeros(2)}, {})
    assert not list(tmp_path.iterdir()) and machine.loggers_named("csv,tensorboard", tmp_path) == []


def test_slices_that_can_not_be_shared_evenly_are_refused(monkeypatch):
    monkeypatch.setattr(together, "count", lambda: 3)
    monkeypatch.setattr(together, "rank", lambda: 2)
    image, target = torch.arange(9), torch.arange(9) * 10
    assert [tensor.tolist() for tensor in global_batch.part_of((image, target))] == [[6, 7, 8], [60, 70, 80]]
    with pytest.raises(ValueError, match="batch_size=8 can't be shared evenly by 3 processes"):
        global_batch.part_of((torch.zeros(8), torch.zeros(8)))
