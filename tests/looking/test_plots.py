"""Still figures and curves."""

import cv2
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers.looking import plots


@pytest.fixture(autouse=True)
def no_window():
    matplotlib.use("agg")
    plt.close("all")  # what tests before it left open


def test_still_figures_are_written_whole_and_closed(tmp_path):
    panel = np.zeros((20, 30, 3), np.uint8)
    sheet = plots.contact_sheet([panel] * 5, ["a", "b"], columns=3, spacing_mm=(5.0, 2.0, 1.0))
    assert plots.save_figure(sheet, tmp_path / "new" / "sheet.png") is sheet and not plt.get_fignums()
    assert cv2.imread(str(tmp_path / "new" / "sheet.png")) is not None
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["sheet.png"]
    assert sheet.axes[0].get_aspect() == 2.0 and sheet.axes[0].get_title(loc="left") == "a"
    with pytest.raises(ValueError, match="no panels"):
        plots.contact_sheet([])


def test_curves_take_rows_with_gaps_and_an_empty_history():
    history = [{"step": 10 * k, "loss": 1 / (k + 1), **({"dice": 0.1 * k} if k % 3 == 0 else {})} for k in range(10)]
    drawn = plots.save_figure(plots.curves(history, ["loss", ("dice", "ema")]))
    (loss,), (dice,) = (axis.lines for axis in drawn.axes)
    assert loss.get_xdata().tolist() == list(range(0, 100, 10)) and dice.get_ydata() == pytest.approx([0, 0.3, 0.6, 0.9])
    assert drawn.axes[0].get_title(loc="left") == "loss 1 → 0.1"
    assert plots.save_figure(plots.curves([], ["loss"])).axes[0].get_title(loc="left") == "loss: nothing yet"


def test_live_curves_do_nothing_outside_a_notebook(capsys):
    plots.LiveCurves(["loss"])([{"step": 0, "loss": 1.0}])
    assert capsys.readouterr().out == ""


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
