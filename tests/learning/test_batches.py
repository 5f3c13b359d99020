"""Batches are functions of their step, masks stay on their organs, and the balance is what was
promised.
"""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.learning import augmentation
from helpers.learning.batches import Batches, drawn_balance
from helpers.scans.labels import UNKNOWN
from helpers.slices import lists, store

WITH_ALL = dataclasses.replace(augmentation.WIDE, flips=True, liver_level=0.3)


@pytest.fixture
def made(tmp_path):
    """A store of two cases whose grey values say where they come from, and one chunk over it."""
    for case, base in (("a", 10), ("b", 110)):
        image = np.zeros((6, 1, 64, 64), np.uint8) + np.arange(base, base + 6, dtype=np.uint8)[:, None, None, None]
        mask = np.zeros((6, 64, 64), np.uint8)
        mask[1:5, 16:48, 16:48] = 1
        mask[2, 20:28, 20:28] = 2
        image[:, 0][mask == 2] = 250
        np.save(tmp_path / f"{case}.image.npy", image)
        np.save(tmp_path / f"{case}.mask.npy", mask)
        (tmp_path / f"{case}.json").write_text('{"box": [[0, 6], [0, 64], [0, 64]], "spacing_mm": [3.0, 1.0, 1.0]}')
    kinds = {0: "empty", 1: "liver", 2: "tumour", 3: "liver", 4: "liver", 5: "empty"}
    rows = [(c, z, 100 * (k != "empty"), 64 * (k == "tumour"), k) for c in "ab" for z, k in kinds.items()]
    chunk = pd.DataFrame(rows, columns=["case", "z", "liver_px", "tumour_px", "kind"])

    def make(stage="liver", how=augmentation.NONE, **more):
        options = {"seed": 1, "batch_size": 4, "patch": 0, "neighbours": 1, "augmentation": how} | more
        return Batches([chunk, chunk], store.Store(tmp_path), stage, **options)

    return make


def test_same_step_same_batch_other_step_other_batch(made):
    batches, again = made(how=WITH_ALL), made(how=WITH_ALL)
    for _ in range(3):
        batches(5)  # what was drawn before doesn't matter
    assert torch.equal(batches(4)[0], again(4)[0]) and torch.equal(batches(4)[1], again(4)[1])
    assert not torch.equal(batches(4)[0], batches(3)[0])


def test_a_batch_made_while_a_step_computes_in_another_precision_is_the_same(made):
    how = dataclasses.replace(WITH_ALL, random_convolution=1.0)
    before = torch.get_default_dtype()
    image, _ = made(how=how)(2)
    try:
        for dtype in (torch.float64, torch.bfloat16):  # as Fabric does within a step in such a precision
            torch.set_default_dtype(dtype)
            assert torch.equal(made(how=how)(2)[0], image)
    finally:
        torch.set_default_dtype(before)


def test_untouched_batch_is_what_the_store_holds(made):
    batches = made()
    image, target = batches(0)
    assert image.shape == (4, 3, 64, 64) and target.shape == (4, 1, 64, 64) and target.dtype == torch.int64
    for row, x, y in zip(batches.rows(0).itertuples(), image, target, strict=True):
        base = {"a": 10, "b": 110}[row.case]
        near = [max(row.z - 1, 0), row.z, min(row.z + 1, 5)]
        assert torch.allclose(x[:, 0, 0] * 255, torch.tensor([base + z for z in near], dtype=torch.float32))
        assert int(y.sum()) == (32 * 32 if 1 <= row.z <= 4 else 0)


def test_neighbours_of_a_dense_scan_are_those_that_the_cascade_will_take(made, tmp_path):
    meta = tmp_path / "a.json"
    meta.write_text(meta.read_text().replace("3.0", "1.4"))
    image, _ = made()(0)
    for row, x in zip(made().rows(0).itertuples(), image, strict=True):
        base, step = {"a": (10, 2), "b": (110, 1)}[row.case]
        near = np.clip([row.z - step, row.z, row.z + step], 0, 5)
        assert torch.allclose(x[:, 0, 0] * 255, torch.tensor(base + near, dtype=torch.float32))


def test_position_counts_epochs_chunks_and_batches(made):
    batches = made()
    assert batches.steps_per_epoch == 6
    assert [batches.position(s) for s in (0, 2, 3, 5, 6)] == [(0, 0, 0), (0, 0, 2), (0, 1, 0), (0, 1, 2), (1, 0, 0)]


def test_an_epoch_shows_every_slice_of_every_chunk_once(made):
    drawn = drawn_balance(made(), 3)
    assert sorted(zip(drawn.case, drawn.z, strict=True)) == sorted((c, z) for c in "ab" for z in range(6))


def test_tumour_and_other_slices_are_spread_over_the_batches(made):
    drawn = drawn_balance(made("tumour", patch=32), 4)
    assert (drawn.kind != "empty").all()
    assert drawn.groupby("step").kind.apply(lambda k: (k == "tumour").sum()).max() <= 2


def test_augmentation_moves_image_and_mask_together(made):
    batches = made("tumour", augmentation.Augmentation(rotation_degrees=30, scale=0.3, shift=0.1, flips=True), patch=48, batch_size=8)
    with_tumour = 0
    for step in range(6):
        image, target = batches(step)
        bright = image[:, 1:2] > 200 / 255  # the tumour is painted bright in the slice itself
        # interpolation blurs the rim only
        assert float((bright != (target == 1)).float().mean()) < 0.02
        with_tumour += int((target == 1).any())
    assert with_tumour >= 4


def test_intensity_augmentation_stays_in_range_and_does_something(made):
    how = augmentation.Augmentation(brightness=0.12, contrast=0.2, gamma=0.2, noise=0.04, blur=0.2)
    image, target = made(how=how)(0)
    plain, same_target = made()(0)
    assert torch.equal(target, same_target)
    assert float(image.min()) >= 0 and float(image.max()) <= 1 and not torch.equal(image, plain)


def test_half_of_the_livers_are_brighter_or_darker_and_what_surrounds_them_is_not(made):
    plain, relit = made(), made(how=augmentation.Augmentation(liver_level=0.2))
    before, after = ([batches(step)[0] for step in range(12)] for batches in (plain, relit))
    change = (255 * (torch.cat(after) - torch.cat(before))[:, 1]).round()  # of the middle slice
    assert not change[:, :8].any() and not change[:, -8:].any()
    inside = change[:, 30, 30]
    # two slices of six show no liver
    assert 0.2 < (inside != 0).float().mean() < 0.6 and inside.abs().max() <= 51.5
    assert inside.min() < -10 and inside.max() > 10


def test_gate_target_is_whether_liver_shows(made):
    batches = made("gate")
    _, target = batches(1)
    assert target[:, 0].tolist() == [int(px > 0) for px in batches.rows(1).liver_px]


def test_three_classes_keep_their_labels(made):
    values = torch.cat([made(classes=3)(s)[1].unique() for s in range(3)]).unique()
    assert values.tolist() == [0, 1, 2]


def test_missing_lists_say_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run 02_filtering first"):
        lists.read_lists(tmp_path)


@pytest.fixture
def unknown(made, tmp_path):
    """The same, but nobody said where tumour is in the liver of case b."""
    for case in "ab":
        meta = json.loads((tmp_path / f"{case}.json").read_text())
        meta |= {"shape": [64, 64], "recipe": {"windows": [[-40, 160]]}}
        (tmp_path / f"{case}.json").write_text(json.dumps(meta))
    mask = np.load(tmp_path / "b.mask.npy")
    np.save(tmp_path / "b.mask.npy", np.where(mask == 1, np.uint8(UNKNOWN), mask))
    return made


def test_liver_whose_tumours_are_unknown_is_liver_and_no_healthy_one(unknown):
    for row, target in zip(unknown().rows(0).itertuples(), unknown()(0)[1], strict=True):
        assert int(target.sum()) == (32 * 32 if 1 <= row.z <= 4 else 0) and target.max() <= 1
    tumour = unknown("tumour")
    for step in range(3):
        for row, target in zip(tumour.rows(step).itertuples(), tumour(step)[1], strict=True):
            lesion = 64 if row.kind == "tumour" else 0
            assert int((target == 1).sum()) == lesion
            assert int((target == UNKNOWN).sum()) == (32 * 32 - lesion if row.case == "b" else 0)


def test_what_is_painted_into_an_unknown_liver_is_known(unknown):
    how = augmentation.Augmentation(synthetic_lesions=1.0)
    batches, painted = unknown("tumour", how), 0
    for step in range(6):
        for row, target in zip(batches.rows(step).itertuples(), batches(step)[1], strict=True):
            if row.case == "b" and row.kind == "liver":
                painted += int((target == 1).sum())
                assert int((target == 1).sum() + (target == UNKNOWN).sum()) == 32 * 32
            elif row.case == "a":
                assert not (target == UNKNOWN).any()
    assert painted > 100


def test_slices_without_neighbours_stand_for_themselves(made, tmp_path):
    meta = tmp_path / "a.json"
    meta.write_text(meta.read_text().replace("{", '{"breaks": [1, 2, 3, 4, 5], ', 1))
    image, _ = made()(0)
    for row, x in zip(made().rows(0).itertuples(), image, strict=True):
        base, reach = {"a": (10, 0), "b": (110, 1)}[row.case]
        near = np.clip([row.z - reach, row.z, row.z + reach], 0, 5)
        assert torch.allclose(x[:, 0, 0] * 255, torch.tensor(base + near, dtype=torch.float32))


def test_random_convolutions_change_grey_values_and_keep_level_and_contrast():
    image = torch.from_numpy(np.random.default_rng(0).random((4, 3, 32, 32)).astype(np.float32)) * 0.4 + 0.3
    share = np.array([0.0, 0.5, 0.0, 0.5])
    out = augmentation.random_convolved(image, share, np.random.default_rng(1))
    again = augmentation.random_convolved(image, share, np.random.default_rng(1))
    assert torch.equal(out, again) and torch.equal(out[[0, 2]], image[[0, 2]])
    for k in (1, 3):
        assert float((out[k] - image[k]).abs().mean()) > 0.02
        assert float(out[k].std()) == pytest.approx(float(image[k].std()), rel=0.05)
        assert float(out[k].mean()) == pytest.approx(float(image[k].mean()), abs=0.05)
