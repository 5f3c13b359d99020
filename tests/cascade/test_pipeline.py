"""The cascade's decisions, one by one, with networks whose answers are known."""

import dataclasses

import numpy as np
import pytest
import torch
from known_networks import RULES, Says, loaded

from helpers.cascade import pipeline, weights
from helpers.learning import validation
from helpers.scans.labels import read_mask
from helpers.scans.volume import Volume, volume_from_array, write_mask
from helpers.slices import recipe, store


def test_every_step_of_the_cascade(scan):
    result = pipeline.segment(scan, loaded(gate=lambda g: g > 90), RULES)
    assert result.log.outcome == "ok"
    assert result.log.gate_kept == 10 + 2 * RULES.gate_margin
    assert result.log.liver_components == 2 and result.log.liver_ml == 18.0  # 10 · 30 · 30 voxels of 2 mm³
    assert result.log.roi == [[0, 20], [0, 55], [0, 55]]  # 15 mm are 8 slices and 15 pixels
    assert result.log.lesions == 1
    assert result.log.specks == 1
    assert np.array_equal(result.labels == 2, np.pad(np.ones((3, 8, 8), bool), ((8, 9), (20, 36), (20, 36))))
    assert not result.labels[:, 45:].any()  # the second piece is no liver, so nothing in it is tumour
    assert "gate kept 14 of 20 slices; liver 18 ml (largest of 2 components)" in result.log.sentence
    assert "1 lesion, 0.4 ml, 1 removed" in result.log.sentence


def test_the_log_says_which_slices_the_gate_kept_and_by_which_rules(scan):
    """Two bright slices far from the liver are over the threshold too: nothing from there to the liver is left out."""
    scan.hu[0:2, :, 50:] = 100
    log = pipeline.segment(scan, loaded(gate=lambda g: g > 90), dataclasses.replace(RULES, gate_smooth_mm=0.5)).log
    assert log.gate_probability[0] > 0.5 and log.gate_slices == [0, 17] and log.gate_kept == 17
    assert pipeline.Rules(**log.rules).gate_smooth_mm == 0.5
    assert pipeline.segment(scan, loaded(), RULES).log.gate_slices == [0, 20]  # no gate
    assert pipeline.segment(scan, loaded(gate=lambda g: g > 999), RULES).log.gate_slices == [0, 0]


def test_mirror_images_are_asked_about_too_and_their_spread_kept(scan):
    """A network that calls the first 32 columns tumour, in a region of 55: turned over, these are its columns 23 to 54.

    So columns 23 to 31 are tumour in all four views, the others in two of them: a mean and a deviation of a half.
    """

    def forward(x):
        return ((torch.arange(x.shape[-1]) < 32) * 16.0 - 8).expand(len(x), 1, *x.shape[-2:])

    networks_ = loaded()
    networks_["tumour"].network.forward = forward
    once = pipeline.segment(scan, networks_, dataclasses.replace(RULES, flip_tta=False), keep_probability=True)
    rules = dataclasses.replace(RULES, tumour_threshold=0.6)
    four = pipeline.segment(scan, networks_, rules, keep_probability=True)
    assert once.tta_std is None and four.log.rules["flip_tta"] and four.log.roi[2] == [0, 55]
    assert once.probability["tumour"][8, 0].tolist() == [255] * 32 + [0] * 32
    assert four.probability["tumour"][8, 0].tolist() == [128] * 23 + [255] * 9 + [128] * 23 + [0] * 9
    assert four.tta_std[8, 0].tolist() == [128] * 23 + [0] * 9 + [128] * 23 + [0] * 9
    assert not (four.labels[8, :, :23] == 2).any() and (four.labels[8, 12:38, 23:32] == 2).all()  # the mean decides


def test_a_second_look_is_taken_where_the_liver_holds_a_finding_and_nowhere_else(scan):
    """The network of `scan` calls tumour what is in slices 8 to 10; outside the liver it may say what it likes."""
    networks_, seen = loaded(), []
    first = networks_["tumour"].network.forward

    def forward(x):
        seen.append(len(x))
        return first(x)

    networks_["tumour"].network.forward = forward
    once = pipeline.segment(scan, networks_, dataclasses.replace(RULES, flip_tta=False), keep_probability=True)
    rows, seen[:] = sum(seen), []
    pipeline.segment(scan, networks_, RULES)
    found = (once.probability["tumour"] >= 0.3 * 255) & (once.labels > 0)
    assert 0 < found.any((1, 2)).sum() < rows and sum(seen) == rows + 3 * found.any((1, 2)).sum()


def test_a_network_that_mirrors_leave_alone_has_no_spread(scan):
    one = pipeline.segment(scan, loaded(), dataclasses.replace(RULES, flip_tta=False), keep_probability=True)
    flipped = pipeline.segment(scan, loaded(), RULES, keep_probability=True)
    assert not flipped.tta_std.any() and np.array_equal(flipped.labels, one.labels)
    assert np.array_equal(flipped.probability["tumour"], one.probability["tumour"])


def test_mask_lands_on_the_files_own_grid(scan, tmp_path):
    import nibabel as nib

    labels = pipeline.segment(scan, loaded(), RULES).labels
    write_mask(labels, scan, tmp_path / "m.nii.gz")
    image = nib.load(tmp_path / "m.nii.gz")
    assert image.shape == (64, 64, 20) and np.array_equal(image.affine, scan.affine) and image.get_data_dtype() == np.uint8
    assert np.array_equal(read_mask(tmp_path / "m.nii.gz", scan), labels)


@pytest.mark.parametrize(
    "rules, outcome",
    [
        ({"gate": lambda g: g > 999}, "no liver found"),
        ({"liver": lambda g: g > 999}, "no liver found"),
        ({"tumour": lambda g: g > 999}, "ok"),
    ],
)
def test_empty_results_have_names(scan, rules, outcome):
    result = pipeline.segment(scan, loaded(**rules), RULES)
    assert result.log.outcome == outcome and (outcome in result.log.sentence or outcome == "ok")
    assert not (result.labels == 2).any()


def test_nan_is_an_outcome(scan):
    networks_ = loaded()
    networks_["tumour"].network.rule = None
    networks_["tumour"].network.forward = lambda x: x[:, :1] * float("nan")
    result = pipeline.segment(scan, networks_, RULES)
    assert result.log.outcome == "not a number" and not result.labels.any()
    assert "the tumour network gives NaN" in result.log.sentence


def test_small_liver_is_no_liver(scan):
    assert pipeline.segment(scan, loaded(), pipeline.Rules(min_liver_ml=100)).log.outcome == "no liver found"


def test_batch_size_changes_nothing(scan):
    one, many = (pipeline.segment(scan, loaded(), pipeline.Rules(min_liver_ml=1, batch_size=b)).labels for b in (1, 16))
    assert np.array_equal(one, many)


def test_probabilities_are_kept_when_asked_for(scan):
    assert not pipeline.segment(scan, loaded(), RULES).probability
    kept = pipeline.segment(scan, loaded(), RULES, keep_probability=True).probability
    assert np.array_equal(kept["liver"] > 127, scan.hu > 90)
    assert np.array_equal(kept["tumour"][:, :55, :55] > 127, scan.hu[:, :55, :55] > 190)  # outside the liver too


def test_long_scans_need_a_few_slices_at_a_time(scan, monkeypatch):
    """No array is made that holds as many working slices as the scan has."""
    asked = []

    class Watched(recipe.Slices):
        def __getitem__(self, rows):
            asked.append(len(rows))
            return super().__getitem__(rows)

    monkeypatch.setattr(recipe, "Slices", Watched)
    pipeline.segment(scan, loaded(gate=lambda g: g > 90), RULES)
    assert set(asked) == {3}  # a slice and its neighbours


def in_a_store(folder, mask, box=((3, 5), (0, 32), (0, 32)), spacing_mm=(3.0, 1.0, 1.0)):
    """A store with case c of two bright slices of 32 × 32, and a tumour network that finds all that is bright."""
    import json

    np.save(folder / "c.image.npy", np.full((2, 1, 32, 32), 200, np.uint8))
    np.save(folder / "c.mask.npy", mask)
    (folder / "c.json").write_text(json.dumps({"box": box, "shape": [32, 32], "spacing_mm": spacing_mm}))
    return weights.TrainedNetwork(Says(lambda g: g > 100), {"stage": "tumour", "neighbours": 0, "norm": (0.0, 255.0)})


def judged(net, folder, case="c", z=(3, 4), tumour_px=1024):
    import pandas as pd

    slices = pd.DataFrame({"case": case, "z": list(z), "liver_px": 1024, "tumour_px": tumour_px})
    return validation.validate(net, store.Store(folder), slices)


def test_validation_counts_tumour_that_the_region_left_out(tmp_path):
    net = in_a_store(tmp_path, np.full((2, 32, 32), 2 + store.INSIDE, np.uint8))
    assert judged(net, tmp_path)[1]["c"] == 1
    assert judged(net, tmp_path, z=(3, 4, 7))[1]["c"] == pytest.approx(2 * 2048 / (2048 + 3072))  # a slice beyond it
    assert judged(net, tmp_path, tumour_px=2048)[1]["c"] == pytest.approx(2 * 2048 / (2048 + 4096))  # half lies beside it


def test_validation_counts_a_scans_tumour_in_the_regions_pixels(tmp_path):
    """64 × 64 of the scan's pixels are 32 × 32 of the region's."""
    net = in_a_store(tmp_path, np.full((2, 32, 32), 2 + store.INSIDE, np.uint8), box=((3, 5), (0, 64), (0, 64)))
    assert judged(net, tmp_path, tumour_px=4096)[1]["c"] == 1


def test_a_case_without_a_region_is_missed_in_validation(tmp_path):
    net = in_a_store(tmp_path, np.full((2, 32, 32), 2 + store.INSIDE, np.uint8))
    scores, by_case = judged(net, tmp_path, case="no liver found")
    assert by_case == {"no liver found": 0.0} and scores == {"score": 0.0, "slices_found": 0.0}
    assert judged(net, tmp_path, case="no liver found", tumour_px=0)[1] == {"no liver found": 1.0}


def test_validation_looks_for_tumour_inside_the_predicted_liver_only(tmp_path):
    """On the second slice no liver was predicted: there the cascade finds nothing, whatever the reference says."""
    mask = np.full((2, 32, 32), 2, np.uint8)
    mask[0] += store.INSIDE
    assert judged(in_a_store(tmp_path, mask), tmp_path)[1]["c"] == pytest.approx(2 * 1024 / (1024 + 2048))


def test_a_spacing_that_cannot_be_true_is_not_gone_by():
    """3D-IRCADb's scans carry 1 × 1 × 1 mm in LiTS; a body 450 mm wide is hardly true, one of 300 mm is."""

    def spacing_of(body_px, *spacing_mm):
        hu = np.full((512, 512, 4), -1000, np.int16)
        hu[20 : 20 + body_px] = 40
        return pipeline.segment(volume_from_array(hu, np.diag([*spacing_mm, 1.0])), loaded(), RULES).log.spacing_mm

    assert spacing_of(450, 1.0, 1.0, 1.0) == [2.0, 0.75, 0.75]
    assert spacing_of(300, 1.0, 1.0, 1.0) == [1.0, 1.0, 1.0]
    assert spacing_of(450, 1.0, 1.0, 1.5) == [1.5, 1.0, 1.0]


def test_the_gate_can_go_unsmoothed(scan):
    assert pipeline.segment(scan, loaded(gate=lambda g: g > 90), dataclasses.replace(RULES, gate_smooth_mm=0.0)).labels.any()


def test_neighbours_of_a_dense_scan_are_taken_from_further_away():
    def step(spacing_z_mm, **how):
        volume = volume_from_array(np.zeros((4, 4, 4), np.int16), np.diag([1, 1, spacing_z_mm, 1.0]))
        return recipe.whole_slices(volume, recipe.Recipe(), **how).step

    assert [step(z) for z in (0.7, 1.0, 1.5, 2.5, 5.0)] == [4, 3, 2, 1, 1]
    assert step(0.7, neighbour_mm=0.0) == 1


def test_smoothing_along_z_drops_what_no_other_slice_shows(scan):
    """A deviation of two slices: three slices leave .56, .51 and, beside them, .37 and .22; a single one leaves .20."""

    def slices_with_tumour(smooth_mm):
        rules = dataclasses.replace(RULES, smooth_mm=smooth_mm, tumour_threshold=0.3)
        return np.flatnonzero((pipeline.segment(scan, loaded(), rules).labels == 2).any((1, 2))).tolist()

    assert slices_with_tumour(0.0) == [8, 9, 10] and slices_with_tumour(4.0) == [7, 8, 9, 10, 11]
    scan.hu[8:11:2, 20:28, 20:28] = 100
    assert slices_with_tumour(0.0) == [9] and slices_with_tumour(4.0) == []


def test_an_organ_that_hangs_on_the_liver_by_a_neck_is_cut_off_and_told():
    """A ball of 24 mm radius and 160 HU that a bridge 8 mm wide joins to a liver of 100 HU; with the liver's HU it stays."""
    z, y, x = np.indices((32, 140, 90))
    ball, bridge = (2 * z - 32) ** 2 + (y - 100) ** 2 + (x - 40) ** 2 <= 24**2, abs(x - 40) <= 4
    hu = np.zeros((32, 140, 90), np.int16)
    hu[4:28, 10:60, 10:70] = 100
    hu[12:20, 55:80][:, bridge[0, 55:80]] = 100
    for level, kept in ((160, False), (105, True)):
        hu[ball] = level
        scan = Volume(hu.copy(), (2.0, 1.0, 1.0), np.diag([1.0, 1.0, 2.0, 1.0]), (90, 140, 32), "RAS")
        found = pipeline.segment(scan, loaded(tumour=lambda g: g > 999), RULES)
        assert (found.labels[16, 100, 40] == 1) == kept and found.labels[5:27, 13:52, 13:67].all()
        assert bool(found.log.adjacent_organs) != kept and ("ml of other organs cut off" in found.log.sentence) != kept
    part = pipeline.segment(scan, loaded(tumour=lambda g: g > 999), dataclasses.replace(RULES, max_hu_difference=1.0)).log.adjacent_organs
    assert len(part) == 1 and part[0]["hu"] == 5 and part[0]["volume_ml"] == pytest.approx(ball.sum() * 0.002, rel=0.1)


def test_slices_without_neighbours_are_each_looked_at_alone(scan):
    """A thing on a slice of its own isn't part of the liver of a volume; of single slices it is what that slice has."""
    scan.hu[17, 50:56, 50:56] = 100
    together = pipeline.segment(scan, loaded(gate=lambda g: g > 90), RULES)
    scattered = dataclasses.replace(scan, breaks=tuple(range(1, 20)))
    apart = pipeline.segment(scattered, loaded(gate=lambda g: g > 90), RULES)
    assert not together.labels[17].any() and (apart.labels[17] == 1).sum() == 36
    assert np.array_equal(apart.labels[:16], together.labels[:16])  # on each slice the larger of two
    assert apart.log.rules["min_liver_ml"] == 0 and apart.log.gate_slices == [0, 20]
