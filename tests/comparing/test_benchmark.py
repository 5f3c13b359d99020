"""What the benchmark measures on: long scans and long lists that are what they claim to be."""

import numpy as np
import pandas as pd

from helpers.comparing import benchmark
from helpers.learning import augmentation
from helpers.learning.batches import Batches
from helpers.scans import volume
from helpers.slices import store


def small_scan():
    hu = np.zeros((4, 16, 16), np.int16)
    hu[:, 4:12, 2:8] = np.array([100, 400, 700, 1000])[:, None, None]
    return volume.Volume(hu, (6.0, 2.0, 2.0), np.diag([-2.0, -2.0, 6.0, 1.0]), (16, 16, 4), "LPS")


def test_a_long_scan_has_the_small_one_in_its_middle(tmp_path):
    benchmark.write_long_scan(small_scan(), 32, 40, tmp_path / "long.nii.gz", body_share=0.2)
    scan = volume.read_volume(tmp_path / "long.nii.gz")
    assert scan.hu.shape == (40, 32, 32) and np.allclose(scan.spacing_mm, (3.0, 1.0, 1.0))
    bright = np.rint(scan.hu[:, 10:22, 6:14].mean((1, 2)) / 300 - 1 / 3)  # 0 for the first of the four slices … 3
    assert bright.tolist() == [0] * 18 + [1, 1, 2, 2] + [3] * 18
    assert abs(scan.hu[:, :, 20:].mean()) < 2 and scan.hu[:, :, 20:].std() > 4  # air to the side, with noise


def test_lists_of_many_cases_read_the_slices_of_a_few(tmp_path):
    for case, grey in (("a", 10), ("b", 20)):
        np.save(tmp_path / f"{case}.image.npy", np.full((2, 1, 8, 8), grey, np.uint8))
        np.save(tmp_path / f"{case}.mask.npy", np.ones((2, 8, 8), np.uint8))
        (tmp_path / f"{case}.json").write_text('{"box": [[0, 2], [0, 8], [0, 8]], "spacing_mm": [3.0, 1.0, 1.0]}')
    slices = pd.DataFrame({"case": ["a", "a", "b", "b"], "z": [0, 1, 0, 1], "liver_px": 64, "tumour_px": 0, "kind": "liver"})
    benchmark.many_cases(store.Store(tmp_path), slices, tmp_path / "many", 5, cases_a_chunk=2)
    chunks = [pd.read_csv(file) for file in sorted((tmp_path / "many").glob("chunk_*.csv"))]
    assert [len(chunk) for chunk in chunks] == [4, 4, 2]
    whole = {"patch": 0, "neighbours": 0, "augmentation": augmentation.NONE}
    batches = Batches(chunks, store.Store(tmp_path / "many"), "liver", seed=1, batch_size=2, **whole)
    cases = {case for step in range(batches.steps_per_epoch) for case in batches.rows(step).case}
    assert cases == {f"case-{k:04d}" for k in range(5)}
    assert set(np.unique((batches(0)[0] * 255).round()).tolist()) <= {10.0, 20.0}
