"""Baselines learn the same slices: what they are given, and that they learn from it."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.comparing import baselines
from helpers.slices import store


@pytest.fixture
def items(tmp_path):
    """Six slices of 32 × 32, liver in a square, as files; and the store they come from."""
    image = np.random.default_rng(0).integers(0, 90, (6, 1, 32, 32)).astype(np.uint8)
    mask = np.zeros((6, 32, 32), np.uint8)
    mask[:, 8:20, 8:24] = 1
    mask[2, 10:12, 10:12] = 2
    image[:, 0][mask > 0] += 120
    np.save(tmp_path / "c.image.npy", image)
    np.save(tmp_path / "c.mask.npy", mask)
    (tmp_path / "c.json").write_text('{"box": [[3, 9], [0, 32], [0, 32]], "spacing_mm": [3.0, 1.0, 1.0]}')
    rows = pd.DataFrame({"case": "c", "z": range(3, 9)})
    return baselines.write_slices(store.Store(tmp_path), rows, 1, tmp_path / "files"), image, mask


def test_files_hold_the_slices_of_the_store(items):
    slice_files, image, mask = items
    picture, target = np.load(slice_files[2]["image"]), np.load(slice_files[2]["mask"])
    assert np.array_equal(picture * 255, image[1:4, 0]) and np.array_equal(target[0], mask[2] >= 1)


@pytest.mark.parametrize("make", [baselines.baseline_batches, baselines.monai_batches])
def test_batches_go_on_for_ever_and_show_liver(items, make):
    batches = make(items[0], 4, 7)
    for k in range(3):
        image, target = batches(k)
        assert image.shape == (4, 3, 32, 32) and image.dtype == torch.float32
        assert target.shape == (4, 1, 32, 32) and target.dtype == torch.int64
        assert set(target.unique().tolist()) == {0, 1}
        assert image[:, 1:2][target == 1].mean() > image[:, 1:2][target == 0].mean() + 0.2  # the mask moves with the picture


@pytest.mark.parametrize("make", [baselines.baseline_batches, baselines.monai_batches])
def test_fewer_slices_than_a_batch_are_a_batch(items, make):
    assert len(make(items[0][:3], 4, 7)(0)[0]) == 3


def test_a_step_learns(items):
    step = baselines.train_step(baselines.built("unet", 4, seed=0, levels=2), averaged=True)
    learn = baselines.learning(step, baselines.baseline_batches(items[0][:4], 4, 7))
    losses = [learn(k) for k in range(30)]
    assert losses[-1] < 0.8 * losses[0]
