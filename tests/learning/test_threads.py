"""A training takes as many threads as are fastest now; what it takes belongs to its state."""

import pytest
import torch
from test_sittings import NumberBatches, resumed

from helpers.learning import sittings, threads


@pytest.fixture
def speed(monkeypatch):
    """Seconds of a step by threads, which a test may change; four threads, and nobody has said how many."""
    seconds, before = {4: 1.0, 2: 1.5, 1: 2.5}, torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "step_seconds", lambda *_: seconds[torch.get_num_threads()])
    torch.set_num_threads(4)
    yield seconds
    torch.set_num_threads(before)


def training_in(folder, device="cpu", **more):
    state = resumed(folder, **more)
    state.plan.made_with.update(device=device, precision="32-true")
    return state


def sat(state, steps, during=lambda step: None):
    """Threads of each step of a sitting."""
    taken = []
    for step, _ in sittings.sitting(state, NumberBatches(), steps=steps):
        taken.append(torch.get_num_threads())
        during(step)
    return taken


def test_the_fastest_is_taken_told_remembered_and_given_back(tmp_path, speed, capsys):
    assert sat(training_in(tmp_path), 2) == [4, 4]
    speed |= {4: 9.0, 2: 3.0}  # somebody else came
    assert sat(training_in(tmp_path), 2) == [1, 1] and torch.get_num_threads() == 4
    assert "threads: 1 of 4, 4 before: not the same result to the last bit; slices a second: 0 with 4" in capsys.readouterr().out
    speed |= {1: 2.9, 2: 2.5}  # by chance, or a little faster: no reason to change the last bits
    assert sat(training_in(tmp_path), 2) == [1, 1] and not capsys.readouterr().out.count("threads:")
    assert training_in(tmp_path).threads == 1


def test_a_number_that_changes_is_in_the_state_before_the_next_step(tmp_path, speed):
    """So a killed training goes on with it from there, and never with it from an earlier step."""
    speed |= {4: 9.0}
    state = training_in(tmp_path)
    next(sittings.sitting(state, NumberBatches()))
    assert training_in(tmp_path).threads == 2


@pytest.mark.parametrize("longer, then", [(2.0, 1), (1.2, 4)])
def test_it_is_measured_again_when_steps_take_far_longer(tmp_path, speed, monkeypatch, longer, then):
    """By a clock of its own, since steps really take longer where somebody else is at work."""
    now = [0.0]
    monkeypatch.setattr(sittings.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sittings, "SAVING_SHARE", 1e6)  # may save after every step

    def during(step):
        if step == 4:
            speed[4] = 9.0
            speed[2] = 9.0
        now[0] += longer if step >= 4 else 1.0

    taken = sat(training_in(tmp_path, save_seconds=0.0), 10, during)
    assert taken[:5] == [4] * 5 and taken[-1] == then


def test_fewer_than_there_are_are_measured_again_in_time(tmp_path, speed, monkeypatch):
    monkeypatch.setattr(sittings, "SAVING_SHARE", 1e6)
    monkeypatch.setattr(threads, "AGAIN_SECONDS", 0.0)
    quiet = dict(speed)
    speed |= {4: 9.0, 2: 9.0}
    taken = sat(training_in(tmp_path, save_seconds=0.0), 8, lambda step: step == 3 and speed.update(quiet))
    assert taken[:4] == [1] * 4 and taken[-1] == 4


@pytest.mark.parametrize("device, said", [("cuda", ""), ("cpu", "4")])
def test_threads_stay_where_they_decide_nothing_or_are_decided(tmp_path, speed, monkeypatch, device, said):
    speed |= {4: 9.0}
    if said:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    state = training_in(tmp_path, device)
    assert sat(state, 2) == [4, 4] and state.threads == 0


def test_measuring_changes_nothing_of_the_training(tmp_path, speed):
    torch.set_num_threads(1)
    alone = training_in(tmp_path / "alone")
    sat(alone, 1)
    torch.set_num_threads(4)
    measured = training_in(tmp_path / "measured")
    sat(measured, 1)
    for name, part in alone.parts["network"].state_dict().items():
        assert torch.equal(part, measured.parts["network"].state_dict()[name]), name
