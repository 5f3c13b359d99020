"""What the viewer hands to the browser: planes to the last bit, layers, lesions, and words where a case can't be read."""

import base64
import zlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from helpers.looking import viewer, views
from helpers.scans.volume import in_our_axes


def of_labels():
    """4 slices of 6 × 5: two reference lesions, of which one is met, and a predicted one that meets nothing."""
    hu = np.arange(-60, 60, dtype=np.int16).reshape(4, 6, 5)[:, ::-1] * 30  # -1,800 to 1,770
    reference, prediction = np.zeros((2, 4, 6, 5), np.uint8)
    reference[1:4, 1:5, 1:5] = prediction[1:4, 1:5, 1:5] = 1
    reference[1, 1, 1] = reference[3, 4, 4] = prediction[3, 4, 4] = prediction[1, 4, 4] = prediction[2, 4, 4] = 2
    prediction[2, 4, 4] = 1
    return views.View(hu, (5.0, 1.0, 2.0), reference, prediction, {"tumour probability": np.full(hu.shape, 9, np.uint8)})


def layers_of(view):
    return views.layers_of(view, views.pairs_by_slice(view))


def lesions_of(view):
    return views.lesions_of(view, views.pairs_by_slice(view))


def unpacked(view, axis, index):
    rows, columns = (view.hu.shape[k] for k in range(3) if k != axis)
    planes = np.frombuffer(zlib.decompress(views.packed(view, axis, index)), np.uint8).reshape(-1, rows, columns)
    return (planes[0] + 256 * planes[1].astype(np.uint16)).view(np.int16), planes[2:]


@pytest.mark.parametrize(("axis", "plane"), [(0, lambda a: a[2]), (1, lambda a: a[::-1, 2]), (2, lambda a: a[::-1, :, 2])])
def test_planes_travel_to_the_last_bit_with_the_head_above(axis, plane):
    view = of_labels()
    hu, (pairs, probability) = unpacked(view, axis, 2)
    assert np.array_equal(hu, plane(view.hu))
    assert np.array_equal(pairs, 4 * plane(view.reference) + plane(view.prediction)) and (probability == 9).all()


def test_layers_cover_the_pairs_they_are_named_for():
    """Pairs of (reference, prediction); a liver whose tumours nobody told, 3, is neither missed nor falsely predicted."""
    covered = {layer["name"]: {divmod(bit, 4) for bit in range(16) if layer["pairs"] >> bit & 1}
               for layer in layers_of(of_labels()) if "pairs" in layer}  # fmt: skip
    assert covered["missed"] == {(2, 0), (2, 1), (2, 3)} and covered["false"] == {(0, 2), (1, 2)}
    assert covered["reference tumour"] == {(2, p) for p in range(4)} and covered["predicted liver"] == {(r, 1) for r in range(4)}
    assert covered["false liver"] == {(0, 1), (0, 2), (0, 3)}


def test_layers_are_those_that_the_masks_allow():
    view = of_labels()
    names = [layer["name"] for layer in layers_of(views.View(view.hu, reference=view.reference, region=((0, 1),) * 3))]
    assert names == ["reference liver", "reference tumour", "region"]
    only_liver = [np.minimum(mask, 1) for mask in (view.reference, view.prediction)]
    shown = {layer["name"]: layer["on"] for layer in layers_of(views.View(view.hu, None, *only_liver))}
    assert shown["missed liver"] and not layers_of(view)[4]["on"] and layers_of(view)[4]["name"] == "missed liver"
    assert layers_of(views.View(view.hu)) == []
    samples = views.View(view.hu, None, only_liver[0], names=["sample"] * len(view.hu))  # of the liver's network
    assert [layer["name"] for layer in layers_of(samples)] == ["reference liver"]


def test_lesions_have_boxes_and_know_whether_they_are_met():
    boxes = {(lesion["side"], *map(tuple, lesion["box"])): lesion["alone"] for lesion in lesions_of(of_labels())}
    assert boxes == {
        ("reference", (1, 2), (1, 2), (1, 2)): True, ("reference", (3, 4), (4, 5), (4, 5)): False,
        ("prediction", (1, 2), (4, 5), (4, 5)): True, ("prediction", (3, 4), (4, 5), (4, 5)): False,
    }  # fmt: skip
    assert [lesion["alone"] for lesion in lesions_of(views.View(of_labels().hu, reference=of_labels().reference))] == [False] * 2


def test_pairs_are_counted_and_the_richest_slice_opens():
    pairs = views.pairs_by_slice(of_labels())
    assert pairs[1, [9, 6, 5]].tolist() == [1, 1, 14] and pairs[3, 10] == 1 and pairs[0].sum() == 0
    assert views.richest(pairs) == 1  # a voxel on either side; slice 3 has one that both have
    assert views.richest(np.minimum(pairs, 0)) == 2


class Sent(viewer.Viewer):
    """A viewer whose messages stay here."""

    def send(self, content, buffers=None):
        self.__dict__.setdefault("messages", []).append((content, buffers))


def test_planes_come_when_they_are_asked_for_and_never_of_the_case_before():
    cases = {"a": of_labels(), "b": views.View(np.zeros((3, 4, 4), np.int16))}
    shown = Sent(["a", "b"], cases.get)
    shown._answer(None, {"want": "planes", "number": 1, "axis": 1, "indices": [2, 3]}, None)
    planes = [views.packed(cases["a"], 1, k) for k in (2, 3)]
    assert shown.messages == [({"number": 1, "axis": 1, "indices": [2, 3]}, planes)]
    shown._answer(None, {"want": "case", "name": "b"}, None)
    assert shown.opened["number"] == 2 and tuple(shown.opened["shape"]) == (3, 4, 4) and shown.opened["start"] == 1
    shown._answer(None, {"want": "planes", "number": 1, "axis": 0, "indices": [0]}, None)
    assert len(shown.messages) == 1


def test_a_case_that_cannot_be_read_says_why():
    def read(name):
        raise ValueError("gone.nii: <no such file>")

    shown = Sent(["gone"], read)
    assert shown.opened["error"] == "gone.nii: <no such file>" and shown.still == b""
    shown._answer(None, {"want": "planes", "number": 1, "axis": 0, "indices": [0]}, None)
    assert "messages" not in shown.__dict__


def test_the_lowest_score_comes_first_and_unknown_ones_last():
    shown = viewer.Viewer(["a", "b", "c", "d"], lambda _: of_labels(), scores=pd.Series({"a": 0.5, "c": 0.256, "d": float("nan")}))
    assert shown.cases == [["c", "0.26"], ["a", "0.50"], ["b", ""], ["d", ""]] and shown.opened["name"] == "c"


def test_where_no_widget_lives_a_still_picture_is_shown():
    """4 slices of 6 × 1 mm by 5 × 2 mm: the picture is 500 wide, 300 tall."""
    data, _ = viewer.Viewer(["a"], lambda _: of_labels())._repr_mimebundle_()
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data["image/jpeg"]), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (300, 500, 3) and "application/vnd.jupyter.widget-view+json" in data


def test_slices_without_neighbours_have_axial_planes_only():
    hu = np.zeros((4, 6, 5), np.int16)
    assert views.of_volume(in_our_axes(hu, (2.0, 1.0, 1.0))).flat == ""
    scattered = views.of_volume(in_our_axes(hu, (2.0, 1.0, 1.0), breaks=[1, 2, 3]))
    pictures = views.of_volume(in_our_axes(hu, (2.0, 1.0, 1.0), Path("scan_slice_1.png")))
    assert "without a neighbour" in scattered.flat and "no spacing" in pictures.flat and pictures.spacing_mm is None
    with pytest.raises(ValueError, match="prediction of shape"):
        views.View(hu, prediction=hu[1:])
