"""One change alone: what is switched on changes the slice, and nothing else does."""

import numpy as np
import pandas as pd
import pytest

from helpers.learning import augmentation, examples
from helpers.learning.batches import Batches
from helpers.slices.store import Store


@pytest.fixture
def made(tmp_path):
    """One case: a flat liver of grey 150, a square of 40 pixels in its middle, on 60; and the slice
    in its middle.
    """
    mask = np.zeros((3, 64, 64), np.uint8)
    mask[:, 12:52, 12:52] = 1
    np.save(tmp_path / "a.image.npy", np.where(mask == 1, 150, 60).astype(np.uint8)[:, None])
    np.save(tmp_path / "a.mask.npy", mask)
    (tmp_path / "a.json").write_text('{"box": [[0, 3], [0, 64], [0, 64]], "spacing_mm": [3.0, 1.0, 1.0], "shape": [64, 64],'
                                     ' "recipe": {"windows": [[-100, 155]]}}')  # fmt: skip
    rows = pd.DataFrame([("a", 1, 1600, 0, "liver")], columns=["case", "z", "liver_px", "tumour_px", "kind"])
    how = augmentation.Augmentation(rotation_degrees=30, noise=0.1, brightness=0.2)
    batches = Batches([rows], Store(tmp_path), "liver", seed=1, batch_size=1, patch=0, neighbours=1, augmentation=how)
    return batches, rows


def test_a_field_alone_leaves_the_others_off(made):
    (before, labels), (after, moved) = examples.augmented_alone(*made, ["rotation_degrees"])
    assert set(np.unique(before)) == {60, 150} and labels.sum() == 1600
    # no brighter, no noise
    assert (moved != labels).any() and np.median(after[moved == 1]) == pytest.approx(150)
    (before, labels), (after, kept) = examples.augmented_alone(*made, ["brightness"])
    assert np.array_equal(labels, kept) and np.ptp(after - before) < 1e-3 and abs(after - before).min() > 1


def test_a_synthetic_change_is_on_a_copy(made):
    def darker(planes, labels, rng):
        planes -= rng.integers(1, 50)
        labels[0, 0] = 2

    (before, labels), (after, changed) = examples.synthesised_alone(*made, darker)
    assert labels[0, 0] == 0 and changed[0, 0] == 2 and 1 <= (before - after).max() < 50 and np.ptp(before - after) == 0
    (before, _), (after, _) = examples.synthesised_alone(*made, lambda planes, labels, rng: None)
    assert np.array_equal(before, after)
