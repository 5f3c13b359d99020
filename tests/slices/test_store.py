"""Windows, grids and stores: what goes into a slice store comes out of it again."""

import dataclasses
import os

import nibabel as nib
import numpy as np
import pytest

from helpers import processes, runs
from helpers.intake import case_table, phantom, quality_control
from helpers.scans.folder import cases_in
from helpers.scans.labels import UNKNOWN
from helpers.scans.volume import Volume
from helpers.slices import recipe, store
from helpers.slices.pixels import fitted, stacked, windowed
from helpers.slices.recipe import Recipe, check, grid_of, liver_box, pixels, whole_grid


def volume_of(hu, spacing=(3.0, 0.8, 0.8)):
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    return Volume(hu, spacing, affine, hu.shape[::-1], "LPS")


def test_window_ends_and_middle():
    assert windowed(np.array([-500, -40, 60, 160, 900]), (-40, 160)).tolist() == [0, 0, 128, 255, 255]


def test_whole_slice_way_back_is_exact_at_the_scans_own_size():
    grid = whole_grid((4, 64, 64), (3, 1, 1), 64)
    plane = np.random.default_rng(0).integers(0, 3, (64, 64)).astype(np.uint8)
    assert np.array_equal(grid.back(grid.cut(plane, labels=True), np.zeros_like(plane), labels=True), plane)


def test_whole_grid_keep_their_proportions():
    grid = whole_grid((4, 100, 120), (5, 3.0, 3.0), 256)
    assert grid.shape == (213, 256) and grid.canvas == (256, 256)
    assert whole_grid((4, 512, 512), (5, 0.7, 0.7), 256).shape == (256, 256)
    assert whole_grid((4, 512, 512), (5, 0.7, 0.7), 256, working_spacing_mm=2.0).shape == (179, 179)


@pytest.mark.parametrize("have, want", [((5, 8), (9, 4)), ((6, 6), (6, 6)), ((7, 4), (4, 7))])
def test_fitting_and_its_inverse_keep_what_the_smaller_one_holds(have, want):
    plane = np.arange(np.prod(have), dtype=np.int16).reshape(have) + 1
    there = fitted(plane, want)
    back = fitted(there, have)
    assert there.shape == want and np.array_equal(back[back > 0], plane[back > 0])
    assert np.count_nonzero(back) == min(have[0], want[0]) * min(have[1], want[1])


def test_liver_box_margin_is_in_millimetres_and_stays_in_the_scan():
    liver = np.zeros((20, 50, 50), bool)
    liver[2:5, 20:30, 25:26] = True
    box = liver_box(liver, (5.0, 1.0, 2.0), margin_mm=10).box
    assert box == ((0, 7), (10, 40), (20, 31))
    assert liver_box(np.zeros((2, 3, 4), bool), (1, 1, 1)) is None


def test_region_check_counts_lost_and_changed_voxels():
    labels = np.zeros((6, 40, 40), np.uint8)
    labels[2:4, 10:20, 10:20] = 1
    labels[3, 12:14, 12:14] = 2
    grid = liver_box(labels >= 1, (1, 1, 1), margin_mm=2)
    assert check(grid, labels) == (0, 0)
    labels[0, 0, 0] = 2
    assert check(grid, labels) == (1, 0)


def test_store_gives_back_the_windows_and_labels(tmp_path):
    hu, labels, spacing = phantom.volume(0, size=64)
    volume, recipe = volume_of(hu, spacing), Recipe(windows=((-40, 160), (-150, 250)), size=64)
    grid = grid_of(volume, "liver", recipe)
    store.write_case(tmp_path, "volume-0", volume, labels, grid, recipe, "abc")
    read = store.Store(tmp_path)
    assert np.array_equal(read.mask("volume-0"), labels)
    assert np.array_equal(read.image("volume-0")[7, 1], windowed(hu[7], (-150, 250)))
    assert store.is_current(tmp_path, "volume-0", recipe, "abc")
    assert not store.is_current(tmp_path, "volume-0", recipe, "other bytes")
    assert not store.is_current(tmp_path, "volume-0", Recipe(size=96), "abc")


def test_missing_case_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="run 02_filtering again"):
        store.Store(tmp_path).image("volume-9")


def test_equalising_spreads_the_grey_values():
    hu = np.random.default_rng(0).normal(100, 8, (64, 64)).astype(np.int16)
    grid = whole_grid((1, 64, 64), (1, 1, 1), 64)
    plain, spread = (pixels(hu, grid, Recipe(size=64, equalise=e))[0].std() for e in (False, True))
    assert spread > 1.5 * plain


def test_z_score_of_a_store_is_that_of_its_grey_values(tmp_path):
    np.save(tmp_path / "c.image.npy", np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2))
    np.save(tmp_path / "c.mask.npy", np.zeros((2, 2, 2), np.uint8))
    (tmp_path / "c.json").write_text('{"box": [[0, 2], [0, 2], [0, 2]]}')
    mean, deviation = store.mean_and_deviation(store.Store(tmp_path), ["c"])  # slice 0 only: 0, 1, 2, 3
    assert mean == 1.5 and deviation == pytest.approx(np.sqrt(1.25))


@pytest.mark.parametrize("wrong", [{"windows": ((5, 5),)}, {"windows": ((0, 1),) * 4}, {"size": 100}, {"normalise": "rank"}])
def test_recipes_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError):
        Recipe(**wrong)


def test_neighbours_repeat_the_end_slices():
    image = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 2), np.uint8)
    assert [stacked(image, k, 1)[:, 0, 0].tolist() for k in range(3)] == [[0, 0, 1], [0, 1, 2], [1, 2, 2]]


AFFINE = np.diag([-1.0, -1.0, 3.0, 1.0])


def write_scan(folder, number, seed=0):
    """A scan of 64 × 64 × 8 noisy voxels with liver on five slices and tumour on one."""
    hu = np.random.default_rng(seed).integers(0, 120, (64, 64, 8)).astype(np.int16)
    hu[:8] = -1000
    labels = np.zeros(hu.shape, np.uint8)
    labels[20:40, 20:40, 2:7] = 1
    labels[25:30, 25:30, 4] = 2
    nib.save(nib.Nifti1Image(hu, AFFINE), folder / f"volume-{number}.nii.gz")
    nib.save(nib.Nifti1Image(labels, AFFINE), folder / f"segmentation-{number}.nii.gz")


def rows_of(folder):
    return case_table.table([quality_control.examine(case)[0] for case in cases_in(folder)])


@pytest.fixture
def scans(own_root):
    folder = own_root / "scans"
    folder.mkdir()
    for number in range(3):
        write_scan(folder, number, seed=number)
    return folder


RECIPE = Recipe(size=64, roi_margin_mm=2.0)
RUN = runs.Run("r")


def times(folder):
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_filling_again_writes_nothing_and_says_the_same(scans):
    first = store.fill(RUN, rows_of(scans), RECIPE, 1)
    before = times(RUN.stores)
    assert first.equals(store.fill(RUN, rows_of(scans), RECIPE, 1)) and times(RUN.stores) == before
    assert len(before) == 3 * (3 + 3 + 1)
    one = first[first.case == "volume-1"]
    assert one.kind.tolist() == ["empty"] * 2 + ["liver"] * 2 + ["tumour"] + ["liver"] * 2 + ["empty"]
    assert one.in_roi.tolist() == [False] + [True] * 7 and one.tumour_px[4 + one.index[0]] == 25  # 2 mm are one slice


def test_a_scan_replaced_under_its_name_is_written_again_and_no_other(scans):
    store.fill(RUN, rows_of(scans), RECIPE, 1)
    before = times(RUN.stores)
    write_scan(scans, 1, seed=9)
    store.fill(RUN, rows_of(scans), RECIPE, 1)
    changed = {name for name, when in times(RUN.stores).items() if before[name] != when}
    assert changed == {name for name in before if "volume-1." in name}
    fresh = runs.Run("fresh")
    store.fill(fresh, rows_of(scans), RECIPE, 1)
    assert contents(fresh.stores) == contents(RUN.stores)


@pytest.mark.parametrize("lost", [
    "liver/volume-1.json", "liver/volume-1.mask.npy", "tumour/volume-1.json", "tumour/volume-1.image.npy", "slices/volume-1.csv",
])  # fmt: skip
def test_what_is_missing_or_cut_short_is_written_again(scans, lost):
    store.fill(RUN, rows_of(scans), RECIPE, 1)
    whole = contents(RUN.stores)
    (RUN.stores / lost).unlink()
    store.fill(RUN, rows_of(scans), RECIPE, 1)
    assert contents(RUN.stores) == whole
    if lost.endswith("npy"):
        (RUN.stores / lost).write_bytes(whole[lost][:-1])
        store.fill(RUN, rows_of(scans), RECIPE, 1)
        assert contents(RUN.stores) == whole


def test_killed_at_any_file_and_resumed_equals_an_undisturbed_one(scans, monkeypatch):
    """The n-th rename never happens, as in a process that is killed; afterwards another scan lies there, and then the first."""
    whole, rows, replace = runs.Run("whole"), rows_of(scans)[:1], os.replace
    store.fill(whole, rows, RECIPE, 1)
    write_scan(scans, 0, seed=5)
    other = rows_of(scans)[:1]
    for n in range(7):
        left = [n]

        def falling(source, target, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            replace(source, target)

        store.fill(RUN, rows, RECIPE, 1) if n else None
        write_scan(scans, 0, seed=5)
        monkeypatch.setattr(os, "replace", falling)
        with pytest.raises(KeyboardInterrupt):
            store.fill(RUN, other, RECIPE, 1)
        monkeypatch.setattr(os, "replace", replace)
        write_scan(scans, 0, seed=0)
        store.fill(RUN, rows, RECIPE, 1)
        assert contents(RUN.stores) == contents(whole.stores), n


def test_a_scan_that_is_gone_costs_no_other(scans):
    rows = rows_of(scans)
    (scans / "volume-0.nii.gz").unlink()
    with pytest.raises(RuntimeError, match=r"1 of 3 cases .* others are written: volume-0: .*no such file.*run 01 again"):
        store.fill(RUN, rows, RECIPE, 1)
    assert all(store.is_current(RUN.stores / "liver", f"volume-{k}", RECIPE, rows.bytes[k]) for k in (1, 2))


def test_a_worker_that_dies_is_told_by_the_name_of_its_case(scans, monkeypatch):
    died = processes.WorkerDied("SIGKILL")

    def one_dies(work, items, workers):
        return [(k, died if k == 1 else work(item)) for k, item in enumerate(items)]

    monkeypatch.setattr(processes, "parallel_map", one_dies)
    with pytest.raises(RuntimeError, match="1 of 3 cases .* volume-1: ended its process .SIGKILL."):
        store.fill(RUN, rows_of(scans), RECIPE)


def test_a_full_disk_leaves_no_half_file_and_is_said(scans):
    resource = pytest.importorskip("resource")
    rows = rows_of(scans)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # a mask of whole slices has 8 · 64 · 64 = 32,768 bytes
    try:
        with pytest.raises(OSError, match=r"volume-0: its slices can't be written to .*liver .*MB are free.*make room"):
            store.fill(RUN, rows, RECIPE, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [p for p in RUN.stores.rglob("*") if ".part." in p.name or p.parent.name == "liver" and p.is_file()]
    store.fill(RUN, rows, RECIPE, 1)


def test_names_that_look_like_numbers_stay_text(scans):
    rows = rows_of(scans)[:1].assign(case="007")
    assert [set(store.fill(RUN, rows, RECIPE, 1).case) for _ in range(2)] == [{"007"}, {"007"}]


def test_beyond_a_break_lies_no_neighbour():
    """Rows 0 1 | 2 | 3 4: each stretch repeats its own end slices, a single slice itself."""
    image = np.arange(5, dtype=np.uint8)[:, None, None, None]
    near = [stacked(image, k, 1, 1, (2, 3))[:, 0, 0].tolist() for k in range(5)]
    assert near == [[0, 0, 1], [0, 1, 1], [2, 2, 2], [3, 3, 4], [3, 4, 4]]
    assert stacked(image, 3, 1, 2, (2, 3))[:, 0, 0].tolist() == [3, 3, 4]


def test_breaks_are_those_of_the_box(tmp_path):
    volume = dataclasses.replace(volume_of(np.zeros((8, 64, 64), np.int16), (3, 1, 1)), breaks=(1, 4, 7))
    labels = np.zeros((8, 64, 64), np.uint8)
    labels[3:6, 20:40, 20:40] = 1
    grid = liver_box(labels >= 1, (3, 1, 1), margin_mm=3)  # slices 2 to 6
    store.write_case(tmp_path, "v", volume, labels, grid, Recipe(size=64), "abc", labels >= 1)
    read = store.Store(tmp_path)
    assert list(read.breaks("v")) == [2] and read.first_z("v") == 2
    region = recipe.liver_region(volume, labels >= 1, Recipe(size=64, roi_margin_mm=3))
    assert list(region.breaks) == [2]


def test_slices_of_a_mask_that_takes_tumours_for_liver_are_unknown():
    labels = np.zeros((3, 4, 4), np.uint8)
    labels[1], labels[2, 0] = UNKNOWN, 1
    assert store.describe("v", labels).kind.tolist() == ["empty", "unknown", "liver"]
    assert store.describe("v", labels).liver_px.tolist() == [0, 16, 4]
