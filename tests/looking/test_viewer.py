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


def test_window_ends_are_black_and_white():
    assert viewer.grey(np.array([[-500, -160, 40, 240, 900]]), (-160, 240)).tolist() == [[0, 0, 128, 255, 255]]
    with pytest.raises(ValueError, match="window"):
        viewer.grey(np.zeros((2, 2)), (10, 10))


def test_fill_is_mixed_and_line_is_the_rim_only():
    hu = np.full((5, 5), 240)
    mask = np.zeros((5, 5), bool)
    mask[1:4, 1:4] = True
    filled = viewer.overlay(hu, [(mask, "#0072B2", "fill")], opacity=0.4)
    # 255 · 0.6 + (0, 114, 178) · 0.4 = (153, 198.6, 224.2)
    assert filled[2, 2].tolist() == [153, 198, 224] and filled[0, 0].tolist() == [255, 255, 255]
    lined = viewer.overlay(hu, [(mask, "#0072B2", "line")])
    assert (lined != 255).any(axis=2).sum() == 8 and lined[1, 1].tolist() == [0, 114, 178] and lined[2, 2].tolist() == [255] * 3
    with pytest.raises(ValueError, match="'fill' or 'line'"):
        viewer.overlay(hu, [(mask, "#0072B2", "dots")])


def test_mask_that_fills_the_plane_has_its_rim_at_the_border():
    assert viewer.edge(np.ones((4, 5), bool)).sum() == 14
    assert viewer.edge(np.zeros((4, 5), bool)).sum() == 0


def test_colours_are_those_of_the_house():
    liver, tumour = viewer.label_overlays(np.array([[0, 1, 2]]))
    assert liver[0].tolist() == [[False, True, False]] and tumour[0].tolist() == [[False, False, True]]
    assert (liver[1], tumour[1]) == ("#0072B2", "#D55E00")
    assert len(set(viewer.COLOURS.values())) == len(viewer.COLOURS)


def test_box_is_framed_on_its_slices_only():
    box = ((2, 4), (1, 4), (1, 5))
    assert [viewer.box_overlay((9, 6, 6), box, z)[0].sum() for z in (1, 2, 3, 4)] == [0, 12, 12, 0]


def test_oblong_pixels_are_shown_in_their_true_shape():
    """20 rows of 2 mm by 20 columns of 1 mm: twice as tall as wide; a round lesion stays round."""
    mask = np.zeros((20, 20), bool)
    mask[5:10, 5:15] = True  # 10 × 10 mm
    hu, layers = viewer.enlarged(np.zeros((20, 20), np.int16), [(mask, "#000000", "fill")], (2.0, 1.0), longest=400)
    assert hu.shape == (400, 200)
    tall, wide = (np.flatnonzero(layers[0][0].any(axis=a)) for a in (1, 0))
    assert abs((tall[-1] - tall[0]) - (wide[-1] - wide[0])) <= 2 and abs(len(tall) - 100) <= 2


def test_richest_slice_is_that_with_most_tumour_then_most_liver():
    labels = np.zeros((6, 4, 4), np.uint8)
    assert viewer.richest(labels, lambda z: viewer.label_overlays(labels[z])) == 3
    assert viewer.richest(labels, lambda z: []) == 3
    labels[1:5] = 1
    labels[4, 0, 0] = 0
    assert viewer.richest(labels, lambda z: viewer.label_overlays(labels[z])) == 1
    labels[4, 1, 1] = 2
    assert viewer.richest(labels, lambda z: viewer.label_overlays(labels[z])) == 4


def test_each_slider_changes_the_picture():
    hu = np.arange(5, dtype=np.int16)[:, None, None] * 50 + np.zeros((5, 40, 40), np.int16)
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    widget = viewer.slice_slider(hu, lambda z: [(mask, viewer.COLOURS["liver"], "fill")], start=2, spacing_mm=(5.0, 1.0, 2.0))
    assert shown(widget).shape == (250, 500, 3)  # 40 × 1 mm by 40 × 2 mm
    seen = [shown(widget)]
    for name, value in (("slice", 4), ("centre", 100), ("width", 200), ("overlay", 0.9)):
        controls(widget)[name].value = value
        assert not np.array_equal(shown(widget), seen[-1]), name
        seen.append(shown(widget))
    assert "slice 4, from 0 at the feet to 4<br>0 to 200 HU" in controls(widget)["caption"].value
    assert "liver" in controls(widget)["caption"].value and "case" not in controls(widget)


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
