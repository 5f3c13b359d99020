"""One change alone: what is switched on changes the slice, and nothing else does."""

from dataclasses import replace

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


def test_crops_lie_about_the_same_spot_and_say_what_was_painted_in(made):
    """Nothing but lesions is switched on: apart from these, a crop is what it was; all else on, it has moved."""
    batches, rows = made
    lesions = augmentation.Augmentation(synthetic_lesions=1.0, neighbour_steps=(0, 1))
    batches = replace(batches, stage="tumour", patch=56, augmentation=lesions)
    ((before, (after, labels), real),) = examples.crops(batches, 0, 4)
    assert before[0].shape == (56, 56) and np.array_equal(before[1], real) and set(np.unique(real)) <= {0, 1}
    painted = labels == 2
    assert painted.any() and (real[painted] == 1).all() and np.array_equal(labels[~painted], real[~painted])
    assert abs(after - before[0])[real == 0].max() < 30 < abs(after - before[0]).max()
    moving = replace(batches, augmentation=replace(lesions, synthetic_lesions=0.0, rotation_degrees=90))
    (((_, spot), (_, turned), real),) = examples.crops(moving, 0, 4)
    assert np.array_equal(spot, before[1]) and np.array_equal(turned, real) and (turned != spot).any()
