"""A training that is killed and resumed ends as the one that nobody touched; damage is named; other settings are refused."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch

from helpers import chunks, generations, networks

# a real training loop, small enough to be killed often: the network learns to copy its input
SCRIPT = textwrap.dedent(
    """
    import sys, torch
    from helpers import chunks, networks
    from test_chunks import NumberBatches, make_parts

    folder, save_seconds, pause = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    parts = make_parts()
    training = chunks.resume(folder, {"rate": 0.01}, 60, parts, card=CARD, validate_every=10, save_seconds=save_seconds)
    for step, (image, target) in chunks.sitting(training, NumberBatches()):
        loss = torch.nn.functional.mse_loss(parts["network"](image), target)
        parts["optimiser"].zero_grad()
        loss.backward()
        parts["optimiser"].step()
        parts["ema"].update_parameters(parts["network"])
        training.log(loss)
        if training.due_to_validate:
            training.judge(parts["ema"].module, score=1 - float(loss))
        __import__("time").sleep(pause)
    print(training.sentence)
    """
)
CARD = {"stage": "liver", "network": {"model": "unet", "in_channels": 1, "classes": 1, "width": 2, "levels": 1}}


class NumberBatches:
    """Batches that are pure functions of the step, two chunks of six steps a round."""

    seed = 5

    def place(self, step):
        return step // 12, step % 12 // 6, step % 6

    def __call__(self, step):
        x = torch.from_numpy(np.random.default_rng([5, step]).standard_normal((2, 1, 8, 8)).astype(np.float32))
        return x, x


def make_parts():
    torch.manual_seed(1)
    network = networks.build(**CARD["network"])
    optimiser = torch.optim.AdamW(network.parameters(), 0.01)
    return {"network": network, "ema": networks.averaged(network), "optimiser": optimiser}


def started(folder, save_seconds=0.0, pause=0.0):
    script = SCRIPT.replace("CARD", repr(CARD))
    words = [sys.executable, "-c", script, str(folder), str(save_seconds), str(pause)]
    env = os.environ | {"PYTHONPATH": os.path.dirname(__file__), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_to_end(folder):
    out, err = (process := started(folder)).communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def same(a, b, path=""):
    """Compare two saved states to the last bit; the time they took is the only thing that may differ."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            if key not in ("minutes", "clock"):
                same(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for k, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{path}/{k}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b, path


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untouched") / "liver"
    assert "finished at step 60 of 60" in run_to_end(folder)
    return generations.read_newest(folder)[0]


def test_killed_training_ends_as_the_untouched_one(untouched, tmp_path):
    rng, kills = np.random.default_rng(3), 0
    while kills < 4:
        process = started(tmp_path / "liver", pause=0.03)
        while not generations.newest_first(tmp_path / "liver"):
            time.sleep(0.01)
        time.sleep(rng.uniform(2.0, 3.2))  # importing torch takes about two seconds, saving is all the time
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
    run_to_end(tmp_path / "liver")
    same(untouched, generations.read_newest(tmp_path / "liver")[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_pauses(untouched, tmp_path, number):
    process = started(tmp_path / "liver", save_seconds=1000, pause=0.2)
    while not (tmp_path / "liver" / ".lock").exists():
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "paused at step" in out and number.name in out
    run_to_end(tmp_path / "liver")
    same(untouched, generations.read_newest(tmp_path / "liver")[0])


def test_stop_file_pauses_and_is_used_up(tmp_path):
    (tmp_path / "stop").touch()
    assert "paused at step 0 of 60 (a file named stop)" in run_to_end(tmp_path / "liver")
    assert not (tmp_path / "stop").exists()
    assert "finished" in run_to_end(tmp_path / "liver")


def test_second_training_in_one_folder_is_refused(tmp_path):
    first = started(tmp_path / "liver", pause=0.2)
    while not generations.newest_first(tmp_path / "liver"):
        time.sleep(0.01)
    _, err = (second := started(tmp_path / "liver")).communicate(timeout=60)
    assert second.returncode == 1 and "another process is training" in err
    first.kill()  # a lock left by a dead process is not in the way
    first.wait()
    assert "finished" in run_to_end(tmp_path / "liver")


def test_damaged_newest_generation_falls_back_and_says_so(untouched, tmp_path):
    (tmp_path / "stop").touch()
    run_to_end(tmp_path / "liver")
    process = started(tmp_path / "liver", pause=0.02)
    while len(generations.newest_first(tmp_path / "liver")) < 3:
        time.sleep(0.01)
    process.kill()
    process.wait()
    newest = generations.newest_first(tmp_path / "liver")[0]
    newest.write_bytes(newest.read_bytes()[:-7] + b"garbage")
    out = run_to_end(tmp_path / "liver")
    assert newest.name in out and "damaged" in out and "the generation before it is used" in out
    same(untouched, generations.read_newest(tmp_path / "liver")[0])
