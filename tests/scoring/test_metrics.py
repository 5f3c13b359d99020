"""What LiTS measures: answers worked out by hand, other people's implementations, and properties."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers.scoring import metrics

SPACING = (2.5, 0.8, 0.7)


def box(shape, *corners):
    """A bool mask with some boxes ((z0, z1), (y0, y1), (x0, x1)) set."""
    mask = np.zeros(shape, bool)
    for corner in corners:
        mask[tuple(slice(*edge) for edge in corner)] = True
    return mask


def blobs(seed, shape=(14, 30, 34), share=0.15):
    """A smooth random mask, in several pieces, touching the border."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), (1, 2.5, 2.5))
    return noise > np.quantile(noise, 1 - share)


def surface_distances(a, b, spacing):
    return metrics.distances_between(metrics.surface(a), metrics.surface(b), spacing)


def overlap(a, b):
    return int(a.sum()), int(b.sum()), int((a & b).sum())


def test_overlap_by_hand():
    a = box((3, 4, 4), ((0, 1), (0, 2), (0, 4)))  # 8 voxels
    b = box((3, 4, 4), ((0, 1), (1, 3), (0, 4)))  # 8 voxels, 4 shared
    assert metrics.dice(*overlap(a, b)) == 0.5
    assert metrics.jaccard(*overlap(a, b)) == pytest.approx(4 / 12)


@pytest.mark.parametrize(
    ("voxels", "dice"), [((0, 0, 0), 1.0), ((5, 0, 0), 0.0), ((0, 5, 0), 0.0), ((1, 1, 1), 1.0), ((1, 1, 0), 0.0)]
)
def test_empties_by_the_rule_of_lits(voxels, dice):
    assert metrics.dice(*voxels) == dice
    assert metrics.jaccard(*voxels) == dice


def test_both_conventions_of_volume_difference():
    assert metrics.volume_differences(100, 80) == (0.25, -0.2)  # (R − P) / P, (P − R) / R
    assert metrics.volume_differences(100, 0)[1] == -1 and np.isnan(metrics.volume_differences(100, 0)[0])
    assert np.isnan(metrics.volume_differences(0, 5)[1])


def test_confusion_counts_labels_slice_by_slice():
    reference, prediction = np.array([[[0, 1, 2]], [[2, 2, 0]]], np.uint8), np.array([[[1, 1, 2]], [[2, 1, 0]]], np.uint8)
    table = metrics.confusion_by_slice(reference, prediction)
    assert table.shape == (2, 3, 3) and table[0, 0, 1] == table[0, 1, 1] == table[0, 2, 2] == 1
    assert [n.tolist() for n in metrics.counts(table, "liver")] == [[2, 2], [3, 2], [2, 2]]
    assert [n.tolist() for n in metrics.counts(table, "tumour")] == [[1, 2], [1, 1], [1, 1]]
    assert metrics.burden(table.sum(0)) == (3 / 4, 2 / 5)


def test_burden_without_a_liver_does_not_exist():
    assert np.isnan(metrics.burden(metrics.confusion_by_slice(*np.zeros((2, 1, 2, 2), np.uint8)).sum(0))).all()


def test_surface_is_where_one_of_18_neighbours_lies_outside():
    offsets = [o for o in itertools.product((-1, 0, 1), repeat=3) if 0 < np.abs(o).sum() < 3]
    whole, plate = box((5, 6, 7), ((0, 5), (0, 6), (0, 7))), box((1, 4, 4), ((0, 1), (1, 3), (1, 3)))
    for mask in (*map(blobs, range(4)), whole, plate):
        padded = np.pad(mask, 1)
        inner = np.logical_and.reduce([np.roll(padded, offset, (0, 1, 2)) for offset in offsets])
        assert (metrics.surface(mask) == (mask & ~inner[1:-1, 1:-1, 1:-1])).all()


def test_corner_voxel_is_no_neighbour():
    mask = np.ones((3, 3, 3), bool)
    mask[0, 0, 0] = False  # a corner of the cube belongs to the 26 neighbours, not to the 18
    assert not metrics.surface(mask)[1, 1, 1]
    mask[0, 0, 1] = False  # an edge belongs to the 18
    assert metrics.surface(mask)[1, 1, 1]


def test_two_single_voxels():
    a, b = box((5, 5, 5), ((0, 1), (0, 1), (0, 1))), box((5, 5, 5), ((2, 3), (0, 1), (4, 5)))
    found = surface_distances(a, b, (3.0, 1.0, 2.0))
    expected = np.hypot(2 * 3.0, 4 * 2.0)  # 10 mm
    assert found.assd_mm() == found.rmsd_mm() == found.msd_mm() == found.hd95_mm() == expected == 10
    assert found.surface_dice(9.9) == 0 and found.surface_dice(10) == 1


def test_pooled_mean_and_root_mean_square_by_hand():
    a = box((1, 1, 9), ((0, 1), (0, 1), (0, 3)))  # x = 0, 1, 2: all on the surface
    b = box((1, 1, 9), ((0, 1), (0, 1), (2, 4)))  # x = 2, 3
    found = surface_distances(a, b, (1.0, 1.0, 2.0))
    # from a: 4, 2, 0 mm; from b: 0, 2 mm
    assert found.assd_mm() == pytest.approx(8 / 5)
    assert found.rmsd_mm() == pytest.approx(np.sqrt((16 + 4 + 4) / 5))
    assert found.msd_mm() == 4 and found.surface_dice(2) == pytest.approx(4 / 5)
    assert found.hd95_mm() == pytest.approx(np.percentile([4, 2, 0], 95))


def test_plates_that_lie_apart_by_anisotropic_spacing():
    a, b = (box((6, 8, 8), ((z, z + 1), (0, 8), (0, 8))) for z in (1, 4))
    assert surface_distances(a, b, SPACING).assd_mm() == pytest.approx(3 * 2.5)


def test_distance_to_nothing_does_not_exist():
    something, nothing = box((3, 3, 3), ((0, 2), (0, 2), (0, 2))), np.zeros((3, 3, 3), bool)
    for pair in ((something, nothing), (nothing, something), (nothing, nothing)):
        found = surface_distances(*pair, SPACING)
        assert np.isnan([found.assd_mm(), found.rmsd_mm(), found.msd_mm(), found.hd95_mm(), found.surface_dice(2)]).all()


def test_equal_masks_are_no_distance_apart():
    mask = blobs(5)
    found = surface_distances(mask, mask, SPACING)
    assert found.assd_mm() == found.msd_mm() == 0 and found.surface_dice(0.1) == 1


# ------------------------------------------------------------------ other people's implementations


@pytest.mark.parametrize("seed", range(4))
def test_medpy_agrees(seed):
    binary = pytest.importorskip("medpy.metric.binary", reason="MedPy is the oracle of this test")
    a, b = blobs(seed), np.roll(blobs(seed, share=0.13), 1, axis=2)
    found = surface_distances(a, b, SPACING)
    how = {"voxelspacing": SPACING, "connectivity": 2}
    assert found.assd_mm() == pytest.approx(binary.assd(a, b, **how), abs=1e-9)
    assert found.msd_mm() == pytest.approx(binary.hd(a, b, **how), abs=1e-9)
    assert np.percentile(found.both, 95) == pytest.approx(binary.hd95(a, b, **how), abs=1e-9)  # MedPy pools before the percentile
    assert metrics.dice(*overlap(a, b)) == pytest.approx(binary.dc(a, b))
    assert metrics.jaccard(*overlap(a, b)) == pytest.approx(binary.jc(a, b))
    assert metrics.volume_differences(a.sum(), b.sum())[0] == pytest.approx(binary.ravd(a, b))  # as the organisers call it


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("seed", range(3))
def test_monai_agrees(seed):
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics", reason="MONAI is the oracle of this test")
    a, b = blobs(seed), np.roll(blobs(seed), 1, axis=1)
    both = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (b, a)]  # MONAI wants the prediction first
    dice = monai.compute_dice(*both, include_background=True)
    assert metrics.dice(*overlap(a, b)) == pytest.approx(float(dice), abs=1e-6)
    # MONAI takes the surface by the 6 neighbours: compare its distances on surfaces of that kind
    from scipy import ndimage

    thin = [mask & ~ndimage.binary_erosion(mask) for mask in (a, b)]
    found = metrics.distances_between(*thin, SPACING)
    hd95 = monai.compute_hausdorff_distance(*both, include_background=True, percentile=95, spacing=SPACING)
    assert found.hd95_mm() == pytest.approx(float(hd95), abs=1e-4)
    msd = monai.compute_hausdorff_distance(*both, include_background=True, spacing=SPACING)
    assert found.msd_mm() == pytest.approx(float(msd), abs=1e-4)
    # the 18-neighbour surface is the thicker one; on these masks it moves the numbers by less than this
    ours = surface_distances(a, b, SPACING)
    assert abs(ours.hd95_mm() - float(hd95)) < 0.8 and ours.msd_mm() == pytest.approx(float(msd), abs=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("tolerance_mm", [1.0, 2.0, 5.0])
def test_deepmind_is_near(tolerance_mm):
    oracle = pytest.importorskip("surface_distance", reason="google-deepmind/surface-distance is the oracle of this test")
    grid = np.indices((24, 40, 40))
    a, b = (
        ((grid[0] - 12) / 7) ** 2 + ((grid[1] - 20) / r) ** 2 + ((grid[2] - c) / r) ** 2 < 1 for r, c in ((14, 20), (15, 21.5))
    )
    spacing = (1.5, 0.8, 0.8)
    theirs = oracle.compute_surface_distances(a, b, spacing)
    found = surface_distances(a, b, spacing)
    # they weigh surface elements between voxels by area; we count voxel centres, as LiTS does: within these bounds the same
    assert found.surface_dice(tolerance_mm) == pytest.approx(
        oracle.compute_surface_dice_at_tolerance(theirs, tolerance_mm), abs=0.06
    )
    assert found.hd95_mm() == pytest.approx(oracle.compute_robust_hausdorff(theirs, 95), abs=0.5)
    assert found.assd_mm() == pytest.approx(np.mean(oracle.compute_average_surface_distance(theirs)), abs=0.35)


@pytest.mark.parametrize("seed", range(2))
def test_the_straightforward_way_agrees(seed):
    from scipy import ndimage

    a, b = blobs(seed), blobs(seed + 10)
    element = ndimage.generate_binary_structure(3, 2)
    surfaces = [mask & ~ndimage.binary_erosion(mask, element) for mask in (a, b)]
    distances = [ndimage.distance_transform_edt(~edge, sampling=SPACING) for edge in surfaces]
    pooled = np.concatenate([distances[1][surfaces[0]], distances[0][surfaces[1]]])
    found = surface_distances(a, b, SPACING)
    assert np.sort(found.both) == pytest.approx(np.sort(pooled), abs=1e-9)


@pytest.mark.parametrize("spacing", [(2.5, 0.7, 0.7), (0.7, 0.7, 2.5), (1, 1, 1), SPACING])
def test_far_surfaces_are_measured_by_a_distance_map(spacing, monkeypatch):
    """Against scipy's map in float64; the tree, which measures them too while they are few, is exact."""
    from scipy import ndimage

    monkeypatch.setattr(metrics, "NEAR_MM", 1.5)
    start, goal = blobs(1, (20, 30, 34), 0.03), blobs(2, (20, 30, 34), 0.02)
    goal[:, :, :20] = False  # whole planes without a voxel, and distances of many voxels
    expected = ndimage.distance_transform_edt(~goal, sampling=spacing)[start]
    assert expected.max() > 10
    assert metrics.nearest_distances_mm(start, goal, spacing) == pytest.approx(expected, abs=1e-9)
    monkeypatch.setattr(metrics, "MANY_FAR", 0)
    by_map = metrics.nearest_distances_mm(start, goal, spacing)
    assert by_map == pytest.approx(expected, rel=1e-6) and (by_map != expected).any()


# ------------------------------------------------------------------ properties

MASKS = hnp.arrays(bool, st.tuples(*[st.integers(1, 6)] * 3), elements=st.booleans())
PAIRS = MASKS.flatmap(lambda a: st.tuples(st.just(a), hnp.arrays(bool, a.shape)))


def numbers(a, b, spacing):
    found = surface_distances(a, b, spacing)
    return [found.assd_mm(), found.rmsd_mm(), found.msd_mm(), found.hd95_mm(), found.surface_dice(1.5)]


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_symmetric_measures_are_symmetric(pair):
    a, b = pair
    assert numbers(a, b, SPACING) == pytest.approx(numbers(b, a, SPACING), nan_ok=True)
    assert metrics.dice(*overlap(a, b)) == metrics.dice(*overlap(b, a))


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.permutations(range(3)), st.lists(st.sampled_from((1, -1)), min_size=3, max_size=3))
def test_flips_and_permuted_axes_change_nothing(pair, order, steps):
    turned = [np.ascontiguousarray(mask[tuple(slice(None, None, s) for s in steps)].transpose(order)) for mask in pair]
    spacing = [SPACING[axis] for axis in order]
    assert numbers(*turned, spacing) == pytest.approx(numbers(*pair, SPACING), nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.integers(1, 4))
def test_empty_space_around_changes_nothing(pair, width):
    padded = [np.pad(mask, width) for mask in pair]
    assert numbers(*padded, SPACING) == pytest.approx(numbers(*pair, SPACING), nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_more_of_the_reference_never_lowers_dice(pair):
    reference, prediction = pair
    better = prediction | (reference & (np.arange(reference.size).reshape(reference.shape) % 2 == 0))
    assert metrics.dice(*overlap(reference, better)) >= metrics.dice(*overlap(reference, prediction)) - 1e-12
