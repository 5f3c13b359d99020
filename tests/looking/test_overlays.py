"""One colour scheme: what a mask means decides how it is drawn, in every figure alike."""

import itertools

import cv2
import numpy as np
import pytest

from helpers.looking import overlays

# what eyes without red, green or blue cones see of linear RGB (Machado et al. 2009)
EYES = {
    "all cones": np.eye(3),
    "no red": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no green": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no blue": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def test_window_ends_are_black_and_white():
    hu = np.array([[-500, -160, 40, 240, 900]])
    assert overlays.grey(hu, (-160, 240)).tolist() == [[0, 0, 128, 255, 255]]
    with pytest.raises(ValueError, match="window"):
        overlays.grey(np.zeros((2, 2)), (10, 10))


def test_references_are_lines_predictions_are_fills_and_an_organ_has_one_hue():
    for name, look in overlays.SCHEME.items():
        side, _, organ = name.partition(" ")
        if organ:
            assert look.style == {"reference": "line", "predicted": "fill"}[side]
            assert look.colour == overlays.COLOURS[organ]


@pytest.mark.parametrize("eye", EYES)
def test_no_two_fills_look_alike_to_colour_blind_eyes(eye):
    """On grey tissue, any two fills and the bare tissue lie over 10 apart in CIELAB (2 is seen)."""
    mask, tissue = np.ones((1, 1), bool), np.full((1, 1), 44)  # soft tissue: grey 130
    fills = [name for name, look in overlays.SCHEME.items() if look.style == "fill"]
    seen = [overlays.paint(tissue, [])] + [overlays.paint(tissue, [(mask, f)]) for f in fills]
    rgb = np.concatenate(seen).astype(np.float32) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(EYES[eye]).T, 0, 1)
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    lab = cv2.cvtColor(srgb.astype(np.float32), cv2.COLOR_RGB2LAB)[:, 0]
    apart = {
        (a, b): float(np.linalg.norm(lab[i] - lab[j]))
        for (i, a), (j, b) in itertools.combinations(enumerate(["tissue", *fills]), 2)
    }
    assert min(apart.values()) > 10, sorted((v, k) for k, v in apart.items())[:3]


def test_fill_is_mixed_and_line_is_the_rim_only():
    hu = np.full((5, 5), 240)
    mask = np.zeros((5, 5), bool)
    mask[1:4, 1:4] = True
    filled = overlays.paint(hu, [(mask, "predicted liver")])
    # 255 · 0.7 + (0, 114, 178) · 0.3 = (178.5, 212.7, 231.9)
    assert filled[2, 2].tolist() == [178, 212, 231] and filled[0, 0].tolist() == [255, 255, 255]
    assert overlays.paint(hu, [(mask, "predicted liver")], strength=9)[2, 2].tolist() == [0, 114, 178]
    lined = overlays.paint(hu, [(mask, "reference liver")], strength=0.1)
    assert (lined != 255).any(axis=2).sum() == 8 and lined[1, 1].tolist() == [0, 114, 178]
    assert lined[2, 2].tolist() == [255] * 3
    with pytest.raises(KeyError, match="guessed"):
        overlays.paint(hu, [(mask, "guessed")])


def test_mask_that_fills_the_plane_has_its_rim_at_the_border():
    assert overlays.edge(np.ones((4, 5), bool)).sum() == 14
    assert overlays.edge(np.zeros((4, 5), bool)).sum() == 0


def test_labels_become_organs_and_errors():
    reference, prediction = np.array([[0, 1, 2, 2, 1]]), np.array([[1, 1, 2, 1, 2]])
    masks = {name: mask[0].astype(int).tolist()
             for mask, name in overlays.of_both(reference, prediction)}
    assert masks == {
        "predicted liver": [1, 1, 0, 1, 0],
        "predicted tumour": [0, 0, 1, 0, 1],
        "reference liver": [0, 1, 1, 1, 1],  # tumour lies in it
        "reference tumour": [0, 0, 1, 1, 0],
    }
    masks = {name: mask[0].astype(int).tolist()
             for mask, name in overlays.of_differences(reference, prediction)}
    assert masks["missed"] == [0, 0, 0, 1, 0] and masks["false"] == [0, 0, 0, 0, 1]
    assert masks["predicted tumour"] == [0, 0, 1, 0, 0]


def test_box_is_framed_on_its_slices_only():
    box = ((2, 4), (1, 4), (1, 5))
    boxes = [overlays.paint(np.zeros((6, 6)), [overlays.of_box((9, 6, 6), box, z)]) for z in range(1, 5)]
    # 3 × 4 pixels have a rim of 10
    assert [(picture == 255).all(axis=2).sum() for picture in boxes] == [0, 10, 10, 0]


def test_oblong_pixels_are_shown_in_their_true_shape():
    """20 rows of 2 mm by 20 columns of 1 mm: twice as tall as wide; a round lesion stays round."""
    mask = np.zeros((20, 20), bool)
    mask[5:10, 5:15] = True  # 10 × 10 mm
    plane, of = np.zeros((20, 20), np.int16), [(mask, "missed")]
    hu, ((resized, name),) = overlays.enlarged(plane, of, (2.0, 1.0), longest=400)
    assert hu.shape == (400, 200) and name == "missed"
    tall, wide = (np.flatnonzero(resized.any(axis=a)) for a in (1, 0))
    assert abs((tall[-1] - tall[0]) - (wide[-1] - wide[0])) <= 2 and abs(len(tall) - 100) <= 2


def test_richest_slice_is_that_with_most_tumour_then_most_liver():
    labels = np.zeros((6, 4, 4), np.uint8)
    box = ((0, 6), (0, 4), (0, 4))

    def richest():
        return overlays.richest(
            6, lambda z: [*overlays.of_reference(labels[z]), overlays.of_box(labels.shape, box, z)]
        )

    assert richest() == 3 == overlays.richest(6, lambda z: [])  # a frame is no finding
    labels[1:5] = 1
    labels[4, 0, 0] = 0
    assert richest() == 1
    labels[4, 1, 1] = 2
    assert richest() == 4
