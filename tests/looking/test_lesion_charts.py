"""Bars of the lesion figures, against a table small enough to count."""

import pandas as pd
import pytest

from helpers.looking import lesion_charts, plots


@pytest.fixture
def table():
    """Four reference lesions: found, poor and two missed, and a false one that takes no part."""
    return pd.DataFrame({
        "side": ["reference"] * 4 + ["prediction"], "size": ["large", "large", "small", "small", "small"],
        "contrast_hu": [-40.0, -40.1, 0.0, float("nan"), 90.0], "depth_mm": [20.0, 9.9, 10.0, 3.0, 30.0],
        "found_iou50": [True, False, False, False, False], "found_any": [True, True, False, False, False],
    })  # fmt: skip


def test_every_missed_lesion_stands_in_its_bin(table):
    drawn = lesion_charts.missed_by_kind(table)
    labels = [[tick.get_text() for tick in axis.get_xticklabels()] for axis in drawn.axes]
    assert labels[:2] == [["small", "large"], ["under −40", "−40 to −15", "−15 to 15", "unknown"]]
    assert labels[2] == ["under 10", "10 to 20", "over 20"]
    counts = [[text.get_text() for text in axis.texts] for axis in drawn.axes]
    assert counts == [["2 of 2", "0 of 2"], ["0 of 1", "0 of 1", "1 of 1", "1 of 1"], ["1 of 2", "1 of 1", "0 of 1"]]
    assert drawn.axes[0].get_title(loc="left") == "2 of 4 lesions missed (above each bar)"
    plots.save_figure(drawn)


def test_no_lesion_at_all_still_draws(table):
    drawn = lesion_charts.missed_by_kind(table.iloc[4:])
    assert drawn.axes[0].get_title(loc="left").startswith("0 of 0 lesions missed")
    plots.save_figure(drawn)
