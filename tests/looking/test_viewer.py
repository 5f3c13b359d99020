"""Pictures that say what the arrays say, and widgets that move without a person."""

import cv2
import numpy as np
import pytest

from helpers.looking import plots, viewer


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    import matplotlib.pyplot

    matplotlib.use("agg")
    matplotlib.pyplot.close("all")  # what tests before it left open


def shown(widget):
    """The RGB picture that a slider shows now."""
    return cv2.imdecode(np.frombuffer(widget.children[0].value, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def controls(widget):
    return {getattr(c, "description", "") or "caption": c for c in widget.children[1].children}


def test_each_slider_changes_the_picture():
    hu = np.arange(5, dtype=np.int16)[:, None, None] * 50 + np.zeros((5, 40, 40), np.int16)
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    widget = viewer.slice_slider(hu, lambda z: [(mask, "predicted liver")], start=2, spacing_mm=(5.0, 1.0, 2.0))
    assert shown(widget).shape == (250, 500, 3)  # 40 × 1 mm by 40 × 2 mm
    seen = [shown(widget)]
    for name, value in (("slice", 4), ("centre", 100), ("width", 200), ("overlay", 0.5)):
        controls(widget)[name].value = value
        assert not np.array_equal(shown(widget), seen[-1]), name
        seen.append(shown(widget))
    assert "slice 4, from 0 at the feet to 4<br>0 to 200 HU" in controls(widget)["caption"].value
    assert "predicted liver" in controls(widget)["caption"].value and "case" not in controls(widget)


def test_cases_of_other_lengths_and_one_that_cannot_be_read():
    def read(name):
        if name == "gone":
            raise ValueError("gone.nii: <no such file>")
        return np.full((int(name), 8, 8), int(name), np.int16), lambda z: [], None

    widget = viewer.case_slider(["9", "gone", "1"], read)
    assert controls(widget)["slice"].max == 8
    controls(widget)["case"].value = "gone"
    assert "&lt;no such file&gt;" in controls(widget)["caption"].value and list(controls(widget)) == ["case", "caption"]
    controls(widget)["case"].value = "1"
    assert (controls(widget)["slice"].max, controls(widget)["slice"].value) == (0, 0) and shown(widget).shape == (500, 500, 3)
    controls(widget)["case"].value = "9"
    assert controls(widget)["slice"].value == 4


def test_still_figures_are_written_whole_and_closed(tmp_path):
    import matplotlib.pyplot as plt

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
