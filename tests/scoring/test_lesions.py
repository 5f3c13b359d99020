"""Which lesions count as found: by hand, against a slow way on masks, and as properties of whole summaries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import files
from helpers.runs import Run
from helpers.scoring import attribution, case_scores, lesions, matching, probabilities, summary
from helpers.scoring.lesions import Lesions

SPACING = (2.0, 1.0, 1.0)


def rows(*runs, length=24, high=6):
    """Tumour labels (1 + high + 1, …) from runs (row, first, last): plates in a liver that fills the box."""
    labels = np.ones((3, high, length), np.uint8)
    for row, first, last in runs:
        labels[1, row, first : last + 1] = 2
    return labels


def numbered(*masks):
    """(components, their number) of the lesions of each."""
    return [(side.components, side.count) for side in (Lesions.of(labels == 2) for labels in masks)]


def matched(reference, prediction):
    (a, _), (b, _) = numbered(reference, prediction)
    return matching.match(matching.overlaps(a, b))


def scored(reference, prediction, case="case", **more):
    return case_scores.score(case, reference, prediction, SPACING, **more)[0]


def test_touching_by_a_face_is_one_lesion_by_an_edge_two():
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[0, 0, 1] = True
    assert Lesions.of(mask).count == 1
    mask[0, 0, 1], mask[0, 1, 1] = False, True
    assert Lesions.of(mask).count == 2


def test_iou_must_be_above_one_half():
    half = matched(rows((1, 0, 3)), rows((1, 0, 1)))  # 2 of 4
    assert half.iou.tolist() == [0.5] and not half.reference_found.any() and half.reference_hit.all()
    over = matched(rows((1, 0, 4)), rows((1, 0, 2)))  # 3 of 5
    assert over.reference_found.all() and over.true_positive.all()


def test_two_lesions_in_one_prediction_are_both_found_and_counted_by_members():
    found = matched(rows((1, 0, 4), (1, 6, 10)), rows((1, 0, 10)))
    assert found.iou.tolist() == [10 / 11] and found.reference_found.sum() == 2 and found.true_positive.sum() == 1
    row = scored(rows((1, 0, 4), (1, 6, 10)), rows((1, 0, 10)))
    assert [lesion["kind"] for lesion in row.lesions] == ["merged", "merged", "merge"]


def test_a_lesion_predicted_in_two_pieces_is_found_once():
    found = matched(rows((1, 0, 10)), rows((1, 0, 4), (1, 6, 10)))
    assert found.reference_found.sum() == 1 and found.true_positive.sum() == 2
    assert [x["kind"] for x in scored(rows((1, 0, 10)), rows((1, 0, 4), (1, 6, 10))).lesions] == ["split", "split", "split"]


def test_a_false_and_a_missed_lesion():
    result = scored(rows((1, 0, 4), (4, 10, 14)), rows((1, 0, 4), (3, 18, 20)))
    assert [x["kind"] for x in result.lesions] == ["found", "missed", "true", "false"]
    assert result.row["false_lesions"] == 1 and result.row["false_ml"] == pytest.approx(3 * 2.0 / 1000)
    assert [x["dice"] for x in result.lesions] == [1.0, 0.0, 1.0, 0.0]


def test_a_prediction_belongs_to_the_reference_that_it_overlaps_most():
    # the second prediction owns the second reference and clips the first by one voxel
    found = matched(rows((1, 0, 7), (1, 10, 17)), rows((1, 0, 5), (1, 7, 17)))
    assert found.group[0][0] != found.group[0][1] and found.reference_found.all()
    assert found.group[1].tolist() == found.group[0].tolist()


def test_diameter_is_that_of_a_ball_and_size_has_its_edges():
    labels = np.ones((20, 20, 20), np.uint8)
    z, y, x = np.indices(labels.shape) - 9.5
    labels[4 * z**2 + y**2 + x**2 < 36] = 2  # a ball of 12 mm with edges of 2 × 1 × 1 mm
    lesion = scored(labels, labels).lesions[0]
    assert lesion["diameter_mm"] == pytest.approx(12, abs=0.6)
    assert [lesions.size_of(d) for d in (9.99, 10, 20, 20.01)] == ["small", "medium", "medium", "large"]


def test_place_and_contrast():
    labels = np.zeros((30, 40, 40), np.uint8)
    labels[2:28, 5:35, 5:35] = 1
    labels[15, 20, 20] = labels[15, 6, 20] = 2
    hu = np.where(labels == 2, 60, 100).astype(np.int16)
    deep, capsule = sorted(scored(labels, labels, hu=hu).lesions[:2], key=lambda lesion: -lesion["index_y"])
    assert (deep["place"], capsule["place"]) == ("deep", "capsule") and capsule["depth_mm"] == pytest.approx(1)
    assert deep["contrast_hu"] == capsule["contrast_hu"] == -40
    assert np.isnan(scored(labels, labels).lesions[0]["contrast_hu"])


def test_index_is_that_of_the_whole_scan():
    labels = np.zeros((12, 30, 30), np.uint8)
    labels[5:9, 10:20, 10:20] = 1
    labels[7, 12:15, 17:20] = 2
    lesion = scored(labels, labels).lesions[0]
    assert (lesion["index_z"], lesion["index_y"], lesion["index_x"]) == (7, 13, 18)
    assert (lesion["first_slice"], lesion["last_slice"]) == (7, 7)


# ------------------------------------------------------------------ against slow ways


def slow_match(reference, prediction):
    """(found, true) by the definition, on masks and one lesion after the other."""
    (a, n), (b, m) = numbered(reference, prediction)
    owner = {}
    for r in range(1, n + 1):
        sizes = [int(((a == r) & (b == p)).sum()) for p in range(1, m + 1)]
        if any(sizes):
            owner[r] = sizes.index(max(sizes)) + 1
    groups = {}
    for r in range(1, n + 1):
        groups.setdefault(owner.get(r, -r), []).append(r)
    groups = list(groups.values())
    joined = {k: [] for k in range(len(groups))}
    for p in range(1, m + 1):
        sizes = [int((np.isin(a, group) & (b == p)).sum()) for group in groups]
        if any(sizes):
            joined[sizes.index(max(sizes))].append(p)
    found, true = set(), set()
    for k, group in enumerate(groups):
        one, other = np.isin(a, group), np.isin(b, joined[k]) if joined[k] else np.zeros(a.shape, bool)
        if (one & other).sum() / (one | other).sum() > 0.5:
            found |= set(group)
            true |= set(joined[k])
    return found, true


def blobs(seed, shape=(5, 24, 24), share=0.2):
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), (0.7, 1.3, 1.3))
    return np.where(noise > np.quantile(noise, 1 - share), 2, 1).astype(np.uint8)


@pytest.mark.parametrize("seed", range(20))
def test_the_slow_way_agrees(seed):
    reference = blobs(seed)
    prediction = np.roll(reference, 1, axis=2) if seed % 2 else np.maximum(blobs(seed, share=0.12), blobs(seed + 99, share=0.05))
    found = matched(reference, prediction)
    hits, true = slow_match(reference, prediction)
    assert (set(np.flatnonzero(found.reference_found) + 1), set(np.flatnonzero(found.true_positive) + 1)) == (hits, true)


def organisers_way(reference, prediction, least):
    """True positives of the organisers' script, told on masks: groups are painted over one another, faults and all."""
    from scipy import ndimage

    (a, n), (b, m) = (ndimage.label(labels == 2) for labels in (reference, prediction))
    painted, merged = np.zeros_like(a), a.copy()
    members, taken = {}, {}
    for r in range(1, n + 1):
        shared = np.bincount(b[a == r], minlength=m + 1)[1:]
        p = int(shared.argmax()) + 1 if shared.any() else -r
        members.setdefault(p, []).append(r)
    for group in members.values():
        merged[np.isin(a, group)] = group[0]
    for p in range(1, m + 1):
        shared = np.bincount(merged[b == p], minlength=n + 1)[1:]
        if shared.any():
            name = min(np.flatnonzero(shared == shared.max()) + 1, key=lambda g: [x[0] for x in members.values()].index(g))
            painted[b == p] = name
            taken.setdefault(int(name), []).append(p)
    hits = len(taken)
    for name, group in sorted(taken.items(), key=lambda item: item[1][0]):
        both = sum(int(((b == p) & (merged == name)).sum()) for p in group)
        if both / ((painted == group[0]) | (merged == name)).sum() <= least:  # group[0]: a prediction's number
            painted[painted == name] = 0
            hits -= len(next(x for x in members.values() if x[0] == name))
    return hits


@pytest.mark.parametrize("seed", range(30))
def test_organisers_counts_agree_with_their_way_on_masks(seed):
    reference = blobs(seed, (5, 16, 16), 0.3)
    prediction = np.roll(blobs(seed, (5, 16, 16), 0.25), seed % 3, axis=1)
    prediction[blobs(seed + 50, (5, 16, 16), 0.04) == 2] = 2
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    (a, n), (b, m), sides = *numbered(reference, prediction), [Lesions.of(labels == 2) for labels in (reference, prediction)]
    order = [np.r_[0, matching.in_file_order(side.index_zyx, side.number, a.shape, affine)] for side in sides]
    table = matching.overlaps(a, b)[np.ix_(*order)]
    for least in (0.0, 0.5):
        # a file's array is (x, y, z): the organisers number lesions along it
        hits = organisers_way(*(labels.transpose(2, 1, 0) for labels in (reference, prediction)), least)
        assert matching.lits_official_detections(table, least) == (hits, m - hits, n - hits)


def test_organisers_faults_stay_under_their_name():
    reference = rows((0, 0, 1), (2, 0, 1), (4, 0, 1))
    poor = rows((0, 1, 23), (1, 23, 23), (2, 1, 23), (3, 23, 23), (4, 1, 23))  # one snake through all three
    row = scored(reference, poor).row
    assert row["lits_official_tp_50"] == -2 and row["lesions_found_iou50"] == 0  # a merged group missed takes off all members
    none = scored(rows(), rows((1, 0, 3))).row
    assert (none["lits_official_tp_50"], none["lits_official_fp_50"], none["lits_official_fn_50"]) == (0, 1, 0)  # their script stops here


def test_an_unrelated_lesion_can_change_the_organisers_counts_but_not_ours():
    reference = np.ones((1, 8, 30), np.uint8)
    reference[0, 2, 10:14] = 2
    prediction = reference.copy()
    prediction[0, 2, 4:10] = 2  # 10 voxels against 4: IoU 0.4
    alone = scored(reference, prediction, affine=np.diag([-1.0, -1, 1, 1])).row
    prediction[0, 6, 0:2] = 2  # far away, and before the other in the file: the other's number becomes 2
    more = scored(reference, prediction, affine=np.diag([-1.0, -1, 1, 1])).row
    assert (alone["lits_official_tp_50"], more["lits_official_tp_50"]) == (0, 1)
    assert alone["lesions_found_iou50"] == more["lesions_found_iou50"] == 0


# ------------------------------------------------------------------ properties

LABELS = st.integers(0, 10**6).map(lambda seed: blobs(seed, (4, 12, 12), 0.25))


@settings(max_examples=25, deadline=None)
@given(LABELS, LABELS, st.permutations(range(3)), st.lists(st.sampled_from((1, -1)), min_size=3, max_size=3))
def test_flips_and_permuted_axes_change_no_count(reference, prediction, order, steps):
    turned = [labels[tuple(slice(None, None, s) for s in steps)].transpose(order) for labels in (reference, prediction)]
    one, other = matched(reference, prediction), matched(*(np.ascontiguousarray(labels) for labels in turned))
    for name in ("reference_found", "true_positive", "reference_hit", "false_positive"):
        assert getattr(one, name).sum() == getattr(other, name).sum()


def tables_of(pairs):
    return case_scores.tables([scored(r, p, f"case-{k}") for k, (r, p) in enumerate(pairs)])


def summed(pairs):
    return summary.summarise(tables_of(pairs))


HIGHER = (
    "dice_per_case.mean", "dice_per_case.low", "dice_global", "jaccard_per_case.mean", "dice_per_case_with_tumour.mean",
    "surface_dice_2mm.mean", "lesion_recall_iou50", "lesion_recall_any", "lesion_precision_iou50", "lesion_precision_any",
    "lesion_f1_iou50", "lesion_f1_any", "slice_sensitivity", "slice_detection_rate",
)  # fmt: skip
LOWER = ("voe.mean", "assd_mm.mean", "rmsd_mm.mean", "msd_mm.mean", "hd95_mm.mean", "assd_mm.median")
UP, DOWN = ([f"tumour.{key}" for key in keys] for keys in (HIGHER, LOWER))
UP += ["liver.dice_per_case.mean", "macro.dice_per_case.mean", "liver.dice_global", "macro.dice_global"]
DOWN += ["liver.assd_mm.mean", "tumour_burden.rmse", "tumour_burden.max_error", "liver.voe.mean"]


def no_better(before, after, keys=(UP, DOWN)):
    for key in keys[0]:
        if before[key] is not None and after[key] is not None:
            assert after[key] <= before[key] + 1e-6, key
    for key in keys[1]:
        if before[key] is not None and after[key] is not None:
            assert after[key] >= before[key] - 1e-6, key


def far_lesion(labels):
    """The labels with empty liver added in front, and the same with a lesion there."""
    padded = np.pad(labels, ((0, 0), (6, 0), (0, 0)), constant_values=1)
    more = padded.copy()
    more[1, 1:3, 2:5] = 2
    return padded, more


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=3))
def test_a_false_lesion_never_improves_a_summary(pairs):
    clean = [(far_lesion(r)[0], far_lesion(p)[0]) for r, p in pairs]
    false = [(clean[0][0], far_lesion(pairs[0][1])[1]), *clean[1:]]
    keys = [k for k in UP if "dice" in k or "precision" in k or "f1" in k], ["tumour.voe.mean"]
    before, after = summed(clean), summed(false)
    no_better(before, after, keys)
    assert after["tumour.false_lesions_per_case.mean"] > before["tumour.false_lesions_per_case.mean"]
    assert after["tumour.lesion_recall_iou50"] == before["tumour.lesion_recall_iou50"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=3))
def test_a_missed_lesion_never_improves_a_summary(pairs):
    clean = [(far_lesion(r)[0], far_lesion(p)[0]) for r, p in pairs]
    missed = [(far_lesion(pairs[0][0])[1], clean[0][1]), *clean[1:]]
    # volumes and distances may come nearer by chance, where something false lies about: they take no part here
    keys = [k for k in UP if "surface" not in k], ["tumour.voe.mean"]
    no_better(summed(clean), summed(missed), keys)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_a_missed_case_never_improves_a_summary(pairs, with_liver, was_right):
    reference, prediction = pairs[0]
    prediction = reference if was_right else prediction
    emptied = np.where(prediction == 2, 1, prediction) * np.uint8(with_liver)
    up, down = UP, [key for key in DOWN if "burden" not in key or not with_liver]
    if not was_right:  # its false lesions vanish too, and what pools voxels or lesions over cases honours that
        up = [key for key in UP if "global" not in key and "precision" not in key and "f1" not in key]
        down = [key for key in down if "burden" not in key]
    no_better(summed([(reference, prediction), *pairs[1:]]), summed([(reference, emptied), *pairs[1:]]), (up, down))


def test_a_failed_case_is_never_better_than_an_empty_prediction():
    reference, other = rows(), rows((1, 0, 4))
    empty = case_scores.tables([scored(reference, reference * 0, "a"), scored(other, other, "b")])
    failed = case_scores.tables([scored(reference, None, "a", failed="there is no prediction"), scored(other, other, "b")])
    one, two = (summary.summarise(tables) for tables in (empty, failed))
    keys = [[key for key in side if "lesion" not in key and "slice" not in key and "false" not in key]
            for side in (UP, DOWN)]
    no_better(one, two, keys)  # but for rates of lesions and slices: these stand apart
    assert two["not_predicted.slices"] == len(reference) and one["not_predicted.slices"] == 0
    assert one["tumour.dice_per_case.mean"] == 1 and two["tumour.dice_per_case.mean"] == 0.5
    assert two["cases.failed_names"] == ["a"] and two["tumour_free.clean"] == 0 and one["tumour_free.clean"] == 1


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(LABELS, LABELS), min_size=2, max_size=4), st.randoms())
def test_order_of_cases_changes_nothing(pairs, random):
    tables = tables_of(pairs)
    order = list(range(len(pairs)))
    random.shuffle(order)
    shuffled = tables["cases"].iloc[order].reset_index(drop=True)
    turned = {name: table.iloc[::-1] for name, table in tables.items()} | {"cases": shuffled}
    assert summary.summarise(turned) == summary.summarise(tables)


# ------------------------------------------------------------------ which stage lost it


def evidence(slices, likely, kept):
    log = {"slices": slices, "gate_slices": kept, "rules": {"tumour_threshold": 0.5}}
    return attribution.Evidence(log, None, likely)


def test_every_stage_is_blamed_for_its_own():
    reference = np.ones((8, 12, 40), np.uint8)
    reference[0, 2:4, 2:4] = 2  # on a slice that the gate drops
    reference[4, 2:4, 2:4] = 2  # outside the predicted liver
    reference[4, 2:4, 12:14] = 2  # the network is blind to it
    reference[4, 2:4, 22:24] = 2  # seen, and removed
    reference[4, 2:6, 30:34] = 2  # met, badly outlined
    reference[6, 2:4, 2:4] = 2  # found
    prediction = np.ones_like(reference)
    prediction[:2] = 0
    prediction[4, :, :8] = 0
    prediction[4, 2:4, 30:32] = 2
    prediction[6, 2:4, 2:4] = 2
    likely = np.where(prediction == 2, 200, 10).astype(np.uint8)
    likely[4, 2:4, 22:24] = 180
    result, both_sides = case_scores.score("case", reference, prediction, SPACING)
    seen = evidence(8, likely, kept=[2, 8])
    lost = attribution.attribute_misses(both_sides, seen)
    at = {(row["index_z"], row["index_x"]): lost[row["component"]] for row in result.lesions if row["side"] == "reference"}
    assert {z_x: at[z_x] for z_x in sorted(at)} == {
        (0, 2): "gate", (4, 2): "liver", (4, 12): "tumour", (4, 22): "clean-up", (4, 32): "outline", (6, 2): "",
    }  # fmt: skip


def test_slices_that_the_gate_kept_are_those_that_the_cascade_wrote():
    assert attribution.slices_kept({"slices": 6, "gate_slices": [1, 4]}).astype(int).tolist() == [0, 1, 1, 1, 0, 0]
    assert not attribution.slices_kept({"slices": 6, "gate_slices": [0, 0]}).any()


def test_a_log_of_an_older_version_is_refused_by_name(own_root):
    run = Run("old")
    files.write_json(run.log("volume-1"), {"slices": 6, "gate_kept": 3, "gate_probability": [0.1, 0.9, 0.9, 0.9, 0.1, 0.1]})
    with pytest.raises(ValueError, match=r"volume-1.json: was written by an older notebook 05; run it again"):
        attribution.read(run, "volume-1", None)


def test_roc_area_by_hand_and_with_ties():
    assert probabilities.roc([0, 2], [2, 0])[2] == 1 and probabilities.roc([2, 0], [0, 2])[2] == 0
    assert probabilities.roc([1, 1], [1, 1])[2] == 0.5
    # pairs (positive, negative): 0.8 > 0.5, 0.8 > 0.2, 0.5 = 0.5 (one half), 0.5 > 0.2
    assert probabilities.roc_of_scores([True, True, False, False], [0.8, 0.5, 0.5, 0.2])[2] == pytest.approx(3.5 / 4)
    assert np.isnan(probabilities.roc([1, 1], [0, 0])[2])


def test_roc_area_agrees_with_mann_and_whitney():
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(3)
    truth = rng.random(5000) < 0.2
    level = np.clip(rng.normal(90 + 60 * truth, 40), 0, 255).astype(np.uint8)
    counts = [np.bincount(level[which], minlength=256) for which in (truth, ~truth)]
    share = mannwhitneyu(level[truth], level[~truth]).statistic / (truth.sum() * (~truth).sum())
    assert probabilities.roc(*counts)[2] == pytest.approx(share, abs=1e-12)
