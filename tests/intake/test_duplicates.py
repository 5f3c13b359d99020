"""Scans that are there twice are found, whatever was done to the copy; different patients are not taken for one."""

import itertools

import cv2
import numpy as np
import pandas as pd
import pytest

from helpers import origins
from helpers.intake import duplicates, phantom, quality_control


@pytest.fixture(scope="module")
def scans():
    return {f"p{k}": phantom.volume(k, size=96)[0] for k in range(4)}


def pictures(hu, quality):
    """A scan that went through JPEG pictures of the window −40 to 160 HU."""
    grey = ((np.clip(hu, -40, 160) + 40) * 255 / 200).astype(np.uint8)
    packed = [cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for plane in grey]
    return (np.stack([cv2.imdecode(plane, 0) for plane in packed]).astype(np.int32) * 200 // 255 - 40).astype(np.int16)


COPIES = {
    "cropped below": lambda hu: hu[len(hu) // 5 :],
    "cropped at both ends": lambda hu: hu[len(hu) // 10 : -len(hu) // 10],
    "10 HU brighter": lambda hu: hu + 10,
    "compressed again": lambda hu: pictures(hu, 50),
    "every other slice": lambda hu: hu[::2],
    "half the pixels": lambda hu: np.stack([cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for p in hu]),
    "noisy": lambda hu: (hu + np.random.default_rng(0).normal(0, 10, hu.shape)).astype(np.int16),
    "mirrored by a wrong header": lambda hu: hu[:, ::-1, ::-1],
    "upside down": lambda hu: hu[::-1],
    "padded with air": lambda hu: np.pad(hu, ((0, 0), (8, 8), (0, 16)), constant_values=-1000),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_is_a_near_duplicate(scans, copy):
    changed = copy(scans["p0"])
    assert origins.voxel_hash(changed) != origins.voxel_hash(scans["p0"])
    pairs = duplicates.duplicate_pairs(table_of(scans | {"copy": changed}))
    assert pairs[["case", "other", "kind"]].to_numpy().tolist() == [["p0", "copy", "near-duplicate"]]
    assert 0.95 <= pairs.similarity[0] <= 1


def table_of(scans):
    rows = [(name, origins.voxel_hash(hu), duplicates.thumbnail(hu)) for name, hu in scans.items()]
    return pd.DataFrame(rows, columns=["case", "voxels", "thumbnail"])


def test_different_patients_are_told_apart(scans):
    similarity = duplicates.similarities(table_of(scans).thumbnail)
    assert np.allclose(np.diag(similarity), 1, atol=1e-5) and np.array_equal(similarity, similarity.T)
    assert max(similarity[a, b] for a, b in itertools.combinations(range(4), 2)) < 0.93
    assert duplicates.duplicate_pairs(table_of(scans)).empty


def test_the_same_voxels_are_a_duplicate_and_other_shapes_are_not(scans):
    hu = scans["p1"]
    pairs = duplicates.duplicate_pairs(table_of(scans | {"again": hu.copy(order="F")}))
    assert pairs.iloc[0].tolist() == ["p1", "again", "duplicate-image", 1.0] and len(pairs) == 1
    assert origins.voxel_hash(hu) != origins.voxel_hash(hu.reshape(len(hu), -1, 48))
    assert origins.voxel_hash(np.zeros((2, 3, 4), np.int16)) != origins.voxel_hash(np.zeros((2, 4, 3), np.int16))


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 3, 3), (2, 300, 5), (200, 8, 8)])
def test_a_thumbnail_of_any_shape(shape):
    noise = np.random.default_rng(0).integers(-200, 300, shape).astype(np.int16)
    assert duplicates.similarities([duplicates.thumbnail(noise)])[0, 0] == pytest.approx(1)
    flat = duplicates.thumbnail(np.full(shape, -1000, np.int16))
    assert duplicates.similarities([flat, flat]).max() == 0  # empty scans are like nothing, not like each other


def test_means_between_edges():
    line = np.array([10.0, 20, 30])[:, None] - 40
    assert duplicates.averaged(line, 0, np.array([0, 1.5, 3]))[:, 0] == pytest.approx([-40 + 20 / 1.5, -40 + 40 / 1.5])
    assert duplicates.averaged(line, 0, np.array([-2.0, 0, 2]))[:, 0] == pytest.approx([-40, -25])  # outside lies −40


def test_cases_without_a_thumbnail_are_left_out():
    table = pd.DataFrame({"case": ["a", "b"], "voxels": ["", ""], "thumbnail": ["", ""]})
    assert duplicates.duplicate_pairs(table).empty and duplicates.findings(table) == {}


def test_the_doctor_names_the_other_case_in_both_rows(scans):
    def row(name, hu):
        empty = {"case": name, "verdict": "repaired", "findings": "clipped", "reason": "why", "to_do": ""}
        return empty | {"voxels": origins.voxel_hash(hu), "thumbnail": duplicates.thumbnail(hu)}

    rows = [row("p0", scans["p0"]), row("p1", scans["p1"]), row("twin", scans["p0"]), row("like", scans["p0"] + 10)]
    by_name = {r["case"]: r for r in quality_control.compared(rows)}
    assert by_name["p1"] == rows[1]
    first, like = by_name["p0"], by_name["like"]
    assert first["findings"] == "clipped duplicate-image near-duplicate" and first["verdict"] == "repaired"
    assert "the same voxels as another case: twin; as good as" in first["reason"] and "like (0.9" in first["reason"]
    assert like["findings"] == "clipped near-duplicate" and all(name in like["reason"] for name in ("p0", "twin"))
