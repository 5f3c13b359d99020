"""The learning rate: its shape by hand, and an end that moves without a jump."""

import pytest
import torch

from helpers.learning import schedules


def made(total=100, warm_up=10, rate=2.0):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], rate)
    return schedules.schedule("cosine", optimiser, total, warm_up), optimiser


def driven(scheduler, optimiser, steps):
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        scheduler.step()
    return rates


def test_shape_by_hand():
    rates = driven(*made(), 120)
    assert rates[0] == pytest.approx(0.02) and rates[5] == pytest.approx(2 * (0.01 + 0.99 / 2))
    assert rates[10] == 2.0 == max(rates)
    # half-way down: the mean of highest and floor
    assert rates[55] == pytest.approx(2 * (0.01 + 0.99 / 2))
    assert rates[100:] == [pytest.approx(0.02)] * 20


@pytest.mark.parametrize("at, end", [(40, 160), (40, 60), (100, 150), (3, 200)])
def test_end_moves_without_a_jump_and_falls_to_the_floor_there(at, end):
    plain = driven(*made(), 100)
    steepest = max(abs(a - b) for a, b in zip(plain, plain[1:], strict=False))
    scheduler, optimiser = made()
    rates = driven(scheduler, optimiser, at)
    before = optimiser.param_groups[0]["lr"]
    scheduler.move_end(at, end)
    assert optimiser.param_groups[0]["lr"] == before
    rates += driven(scheduler, optimiser, end - at + 5)
    assert max(abs(a - b) for a, b in zip(rates, rates[1:], strict=False)) <= max(steepest, before * 2 / (end - at)) * 1.001
    assert rates[end:] == [pytest.approx(0.02)] * 5
    if at == 100:
        assert rates[at:] == [pytest.approx(0.02)] * len(rates[at:])
    if at == 3:  # still warming up: it rises to the top first
        assert max(rates) == 2.0 == rates[10]


def test_moved_twice_at_one_step_is_moved_once():
    (one, _), (two, _) = made(), made()
    one.move_end(40, 200)
    two.move_end(40, 150)
    two.move_end(40, 200)
    assert one.falls == two.falls


def test_restored_schedule_continues_exactly():
    scheduler, optimiser = made()
    driven(scheduler, optimiser, 30)
    scheduler.move_end(30, 130)
    other, its = made(total=130)
    other.load_state_dict(scheduler.state_dict())
    assert driven(scheduler, optimiser, 90) == driven(other, its, 90)


def test_unknown_name():
    with pytest.raises(ValueError, match="choose 'cosine' or 'plateau'"):
        schedules.schedule("step", None, 1, 1)
