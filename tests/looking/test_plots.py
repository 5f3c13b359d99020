"""Still figures and curves."""

import cv2
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

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


def test_black_round_all_panels_of_a_sheet_is_cut_off():
    """Lit are rows 5 to 9, columns 10 to 19 of one and rows 6 to 12, columns 8 to 15 of the other: with two pixels more 12 × 16 are kept."""
    panels = np.zeros((2, 20, 30, 3), np.uint8)
    panels[0, 5:10, 10:20], panels[1, 6:13, 8:16] = 90, 255
    for trim, shape in ((True, (12, 16, 3)), (False, (20, 30, 3))):
        shown = [axis.images[0].get_array() for axis in plots.contact_sheet(panels, trim=trim).axes]
        assert [plane.shape for plane in shown] == [shape] * 2
        assert [np.count_nonzero(plane[..., 0]) for plane in shown] == [50, 56]


@pytest.mark.parametrize("count, rows, columns", [(3, 1, 3), (5, 2, 3), (6, 2, 3), (9, 3, 3), (11, 3, 4)])
def test_no_row_of_a_sheet_is_nearly_empty(count, rows, columns):
    sheet = plots.contact_sheet([np.full((20, 20, 3), 99, np.uint8)] * count, columns=4, width=8.0)
    assert sheet.axes[0].get_gridspec().get_geometry() == (rows, columns) and sheet.get_figwidth() == 2.0 * columns


def test_a_notebook_gets_planes_as_jpeg_charts_with_few_colours_and_both_in_words(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    chart, axis = plots.figure()
    axis.set(title="it rises", xlabel="step", ylabel="loss")
    for drawn, begin, words in ((plots.contact_sheet([noise], ["noise"]), b"\xff\xd8", "noise"), (chart, b"\x89PNG", "it rises (loss against step)")):
        shown = plots.picture_of(plots.save_figure(drawn, tmp_path / "x.png"))
        assert shown.data.startswith(begin) and shown.alt == plots.alt_of(tmp_path / "x.png") == words
    assert Image.open(tmp_path / "x.png").mode == "P"


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
