"""A training that is killed and resumed ends as the one that nobody touched; sittings end cleanly,
whatever ends them.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

sys.path.insert(0, str(Path(__file__).parents[1] / "proof"))
import harness  # noqa: E402 (the harness of `make proof`)

from helpers.cascade import weights
from helpers.learning import checkpoints, plans, schedules, sittings, train_step, training

CARD = {"stage": "liver", "network": {"model": "unet", "in_channels": 1, "classes": 1, "width": 2, "levels": 1}}


class NumberBatches:
    """Batches that are pure functions of the step, two chunks of six steps an epoch."""

    seed = 5

    def position(self, step):
        return step // 12, step % 12 // 6, step % 6

    def __call__(self, step):
        x = torch.from_numpy(np.random.default_rng([5, step]).standard_normal((2, 1, 8, 8)).astype(np.float32))
        return x, x


def resumed(folder, total_steps=60, save_seconds=1000.0):
    """A training small enough to be killed often: the network learns to copy its input."""
    torch.manual_seed(1)
    network = weights.build(**CARD["network"])
    optimiser = torch.optim.AdamW(network.parameters(), 0.01)
    scheduler = schedules.schedule("cosine", optimiser, total_steps, 5)
    parts = {"network": network, "ema": weights.averaged(network), "optimiser": optimiser, "scheduler": scheduler}
    settings = {"rate": 0.01, "epochs": total_steps // 12}
    plan = plans.Plan(settings, CARD, total_steps, validate_every=10, save_seconds=save_seconds)
    return sittings.resume(folder, parts, plan)


def train(state, pause=0.0, fail_at=None, **limits):
    """Sit until the training is finished or paused."""
    parts, fabric = state.parts, Fabric(accelerator="cpu", devices=1)
    learn = train_step.TrainStep(
        parts["network"], parts["optimiser"], torch.nn.functional.mse_loss, fabric, parts["ema"], parts["scheduler"],
        memory_format=torch.contiguous_format,
    )  # fmt: skip
    for step, batch in sittings.sitting(state, NumberBatches(), **limits):
        loss = learn(batch)
        if step == fail_at:
            raise ZeroDivisionError
        state.log(loss)
        if state.due_to_validate:
            state.note_validation(parts["ema"].module, score=1 - loss)
        time.sleep(pause)
    return state.sentence


def train_apart(folder, log, pause):
    """The same in a process of its own, saving as often as it may; what it prints goes into `log`.
    """
    torch.set_num_threads(1)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(written, 1)
    os.dup2(written, 2)
    sittings.SAVING_SHARE = 1.0
    print(train(resumed(folder, save_seconds=0.0), pause), flush=True)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As the processes apart have: another number of threads adds in another order, so the last
    bits differ.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def context():
    return harness.server()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "liver"


def apart(context, folder, pause=0.0):
    process = context.Process(target=train_apart, args=(folder, folder.parent.parent / "log", pause))
    process.start()
    return process


def reached(folder, step, process):
    """Wait until a process has saved a step."""
    while process.is_alive() and not any(checkpoints.step_of(p) >= step for p in checkpoints.newest_first(folder)):
        time.sleep(0.005)


def ends(folder):
    """Everything that a training ends with but the time it took and the commit: plain values and
    tensors.
    """
    state, _ = checkpoints.read_newest(folder)
    ignored = {"minutes", "clock", "made_with", "best_card"}
    return {name: value for name, value in state.items() if name not in ignored} | harness.weights_in(folder)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untouched") / "run" / "liver"
    assert train(resumed(folder)).startswith("finished at step 60 of 60; best score")
    return harness.digest(ends(folder))


def test_killed_training_ends_as_the_untouched_one(untouched, folder, context):
    rng, step, codes = np.random.default_rng(3), 0, []
    for _ in range(5):
        step += int(rng.integers(1, 11))
        process = apart(context, folder, pause=0.03)
        reached(folder, step, process)
        time.sleep(rng.uniform(0, 0.06))
        process.kill()
        process.join()
        codes.append(process.exitcode)
    assert -9 in codes[:3] and checkpoints.read_newest(folder)[0]["step"] > 0
    train(resumed(folder))
    assert harness.digest(ends(folder)) == untouched
    assert not list(folder.glob(".*.part.*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_pauses(untouched, folder, context, number):
    process = apart(context, folder, pause=0.05)
    reached(folder, 2, process)
    os.kill(process.pid, number)
    process.join()
    printed = (folder.parent.parent / "log").read_text()
    assert process.exitcode == 0 and f"({number.name} received): run again to resume" in printed
    train(resumed(folder))
    assert harness.digest(ends(folder)) == untouched


def test_limits_and_stop_file_pause(untouched, folder):
    assert "paused at step 7 of 60 (chunk_steps are up)" in train(resumed(folder), steps=7)
    for place in (folder.parent, folder):
        (place / "stop").touch()
        assert "paused at step 7 of 60 (a file named stop)" in train(resumed(folder))
        assert not (place / "stop").exists()
    assert "(chunk_minutes are up)" in train(resumed(folder), minutes=1e-9, pause=0.01)
    train(resumed(folder))
    assert harness.digest(ends(folder)) == untouched


def test_second_training_is_refused_and_a_dead_ones_lock_is_not_in_the_way(folder, context):
    first = apart(context, folder, pause=0.1)
    reached(folder, 1, first)
    with pytest.raises(RuntimeError, match="another process is training"):
        train(resumed(folder))
    first.kill()
    first.join()
    assert train(resumed(folder), steps=1).startswith("paused")


def test_state_read_before_another_process_trained_is_not_resumed(folder):
    early = resumed(folder)
    train(resumed(folder), steps=3)
    with pytest.raises(RuntimeError, match="has trained here since"):
        train(early)


def test_error_within_a_step_resumes_from_what_was_saved(untouched, folder):
    state = resumed(folder)
    train(state, steps=20)
    with pytest.raises(ZeroDivisionError):  # the optimiser has stepped, the loss isn't noted
        train(state, fail_at=25)
    train(state)  # the same object, as when a notebook's cell is run again
    assert harness.digest(ends(folder)) == untouched


def test_best_of_a_lost_future_is_put_back(folder):
    state = resumed(folder)
    train(state, steps=15)
    best = (folder / "best.safetensors").read_bytes()
    with pytest.raises(ZeroDivisionError):
        train(resumed(folder), fail_at=25)  # has validated at step 20, has not saved since step 15
    assert (folder / "best.safetensors").read_bytes() != best
    train(resumed(folder), steps=1)
    assert (folder / "best.safetensors").read_bytes() == best


def test_saving_keeps_to_its_share_of_the_time(folder, monkeypatch):
    saved = []

    def slow(self, save=training.Training.save):
        save(self)
        saved.append(self.step)
        self.save_took = 0.1  # so that 100 times as long has to pass before the next

    monkeypatch.setattr(training.Training, "save", slow)
    train(resumed(folder, save_seconds=0.0))
    assert saved == [0, 60]


def test_a_computer_that_slept_while_it_saved_saves_again_before_long(folder, monkeypatch):
    """The save seems to have taken a night; twenty nights without another would be lost by a kill."""
    saved = []

    def slept(self, save=training.Training.save):
        save(self)
        saved.append(self.step)
        self.save_took = 30_000.0

    monkeypatch.setattr(training.Training, "save", slept)
    monkeypatch.setattr(sittings, "RARELY_SECONDS", 0.0)
    train(resumed(folder, save_seconds=0.0))
    assert len(saved) > 2


def test_batches_made_meanwhile_come_in_order_and_from_threads_of_one_core(folder, monkeypatch):
    """Later ones are ready before earlier ones here; what the loop gets is the batch of its step, whoever made it."""
    makers = set()

    class Uneven(NumberBatches):
        def __call__(self, step):
            time.sleep(0.02 * (3 - step % 4))
            makers.add((threading.current_thread() is threading.main_thread(), torch.get_num_threads()))
            return super().__call__(step)

    monkeypatch.setattr(sittings.processes, "cores", lambda: 8)
    torch.set_num_threads(2)
    pairs = list(sittings.sitting(resumed(folder), Uneven(), steps=9))
    assert torch.get_num_threads() == 2 and makers == {(False, 1)}
    torch.set_num_threads(1)
    assert [step for step, _ in pairs] == list(range(9))
    assert all(torch.equal(batch[0], NumberBatches()(step)[0]) for step, batch in pairs)


def test_a_batch_that_fails_ends_the_sitting_with_its_error(folder):
    class Gone(NumberBatches):
        def __call__(self, step):
            if step == 3:
                raise FileNotFoundError("the slices of a case")
            return super().__call__(step)

    state, steps = resumed(folder), []
    with pytest.raises(FileNotFoundError, match="the slices of a case"):
        for step, _ in sittings.sitting(state, Gone()):
            steps.append(step)
    assert steps == [0, 1, 2] and checkpoints.step_of(checkpoints.newest_first(folder)[0]) == 0


def test_finished_training_is_left_alone(folder):
    train(resumed(folder))
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.suffix in (".pt", ".safetensors")}
    assert train(resumed(folder)).startswith("finished")
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.suffix in (".pt", ".safetensors")}


@pytest.mark.parametrize("first", [20, 60], ids=["paused", "finished"])
def test_more_epochs_continue_without_a_jump_and_bit_for_bit(tmp_path, first):
    def to_the_end(folder, pieces):
        train(resumed(folder), steps=first)
        state = resumed(folder, 84)
        rates = [state.parts["optimiser"].param_groups[0]["lr"]]
        for steps in pieces:
            train(state := resumed(folder, 84), steps=steps)
            rates.append(state.parts["optimiser"].param_groups[0]["lr"])
        return harness.digest(ends(folder)), rates, [row["step"] for row in state.history]

    before = resumed(tmp_path / "x" / "liver")
    train(before, steps=first)
    rate = before.parts["optimiser"].param_groups[0]["lr"]
    (one, rates, steps), (two, *_) = (to_the_end(tmp_path / name / "liver", pieces) for name, pieces in
                                      (("a", [1, 0]), ("b", [1, 7, 3, 0])))  # fmt: skip
    assert one == two and rates[0] == rate and abs(rates[1] - rate) < 0.02 * rate and rates[2] == pytest.approx(0.0001)
    assert steps == [10, 20, 30, 40, 50, 60, 70, 80, 84]


def test_fewer_epochs_than_are_done_are_refused(folder):
    train(resumed(folder), steps=30)
    with pytest.raises(ValueError, match="has done 30 of 60 steps, the epochs asked for have 24: ask for more epochs"):
        resumed(folder, 24)


@pytest.mark.parametrize("stage", harness.STAGES)
def test_killed_notebook_ends_as_the_untouched_one(stage, tiny, tmp_path, context):
    """The small form of `make proof`: 04's own cells, killed twice a stage."""
    import shutil

    import kills

    shutil.copytree(tiny[0], tmp_path / "root")
    root, small = tmp_path / "root", {"run": "tiny", "epochs": 1, "validations": 2, "save_seconds": 0.0}
    monkey = pytest.MonkeyPatch()
    monkey.setattr(harness, "RUN", "tiny")
    try:
        expected, seconds = kills.untouched(context, root, stage, **small)
        run = kills.killed_to_the_end(context, root, stage, seconds, 2, np.random.default_rng(1), **small)
    finally:
        monkey.undo()
    assert run["hashes"] == expected and run["moments"]


def test_a_killed_process_ends_those_it_trains_with_and_one_goes_on_alone(tiny, tmp_path, context, monkeypatch):
    """The small form of `make proof`'s processes: notebook 04 in two, of which the second is killed."""
    import shutil

    shutil.copytree(tiny[0], tmp_path / "root")
    root, log, small = tmp_path / "root", tmp_path / "log", {"run": "tiny", "epochs": 1, "validations": 2}
    monkeypatch.setattr(harness, "RUN", "tiny")
    harness.forget(root, "gate")
    both = harness.begun_together(context, root, "gate", log, 2, **small | {"save_seconds": 0.0})
    while harness.steps_done(root, "gate") < 3 and both[1].is_alive():
        time.sleep(0.005)
    both[1].kill()
    for process in both:
        process.join()
    assert both[1].exitcode == -9 and both[0].exitcode == 1  # no one waits for ever
    step, printed = harness.steps_done(root, "gate"), log.read_text()
    assert step >= 3 and printed.count("helpers from") == 1  # the first alone speaks
    kept, _ = checkpoints.read_newest(harness.folder_of(root, "gate"))
    assert kept["made_with"]["processes"] == 2
    alone = harness.begun(context, root, "gate", log, **small)
    alone.join()
    printed = log.read_text()
    assert alone.exitcode == 0 and harness.finished(root, "gate")
    assert f"resumes at step {step}" in printed and "processes was 2, is 1: not the same result to the last bit" in printed
