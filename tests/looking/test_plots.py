"""Axes in logarithms: numbers as people write them, and enough of them."""

import pytest

from helpers.looking import plots


@pytest.mark.parametrize("low, high, shown", [
    (1, 100_000, ["1", "10", "100", "1,000", "10,000", "100,000"]),
    (0.002, 0.4, ["0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2"]),
    (4, 60, ["5", "10", "20", "50"]),
    (11, 19, ["12", "14", "16", "18"]),  # two points: matplotlib's own says 2 × 10¹, or nothing
])  # fmt: skip
def test_a_logarithmic_axis_has_plain_numbers(low, high, shown):
    for name in "xy":
        drawn, axis = plots.figure()
        plots.log_axis(axis, name)
        axis.set(**{f"{name}lim": (low, high)})
        drawn.canvas.draw()
        line = getattr(axis, f"{name}axis")
        texts = [label.get_text() for label, at in zip(line.get_ticklabels(), line.get_ticklocs()) if low <= at <= high]
        assert texts == shown
        plots.save_figure(drawn)


def test_a_logarithmic_axis_without_points_is_drawn():
    drawn, axis = plots.figure()
    plots.log_axis(axis)
    drawn.canvas.draw()
    plots.save_figure(drawn)
