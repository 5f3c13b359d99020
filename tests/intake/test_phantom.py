"""The phantoms are the same every time, lie on the grid their header claims, and can't be solved by a threshold."""

import hashlib
import json

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import label as find_components
from scipy.ndimage import median_filter

from helpers.intake import phantom

SMALL = 96


def digest(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.nii.gz"))}


def measure_lesions(label, spacing_mm):
    """Diameters in mm of balls with the lesions' volumes."""
    parts, count = find_components(label == 2)
    volumes_mm3 = np.bincount(parts.ravel())[1:] * np.prod(spacing_mm)
    assert len(volumes_mm3) == count
    return (6 * volumes_mm3 / np.pi) ** (1 / 3)


@pytest.fixture(scope="module")
def drawn():
    """Ten small cases: [(hu, label, spacing_mm)]."""
    return [phantom.volume(number, size=SMALL) for number in range(10)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with eight written cases, every orientation once."""
    folder = tmp_path_factory.mktemp("phantoms")
    paths = phantom.make(folder, cases=8, size=SMALL, workers=2)
    assert paths == [folder / f"volume-{n}.nii.gz" for n in range(8)]
    return folder


def test_a_case_is_the_same_every_time_and_another_seed_is_another_patient(drawn):
    hu, label, spacing_mm = phantom.volume(3, size=SMALL)
    assert hu.dtype == np.int16 and label.dtype == np.uint8
    assert np.array_equal(hu, drawn[3][0]) and np.array_equal(label, drawn[3][1]) and spacing_mm == drawn[3][2]
    other, _, _ = phantom.volume(3, seed=8, size=SMALL)
    assert other.shape != hu.shape or not np.array_equal(other, hu)


def test_more_cases_do_not_change_the_first_ones(made, tmp_path):
    phantom.make(tmp_path, cases=1, size=SMALL)
    first = digest(tmp_path)
    phantom.make(tmp_path, cases=2, size=SMALL)
    assert digest(tmp_path).items() >= first.items()
    assert digest(made).items() >= digest(tmp_path).items()  # made in this process or by workers: the same bytes


def test_files_lie_on_the_grid_that_their_header_claims(made, drawn):
    codes = set()
    for number, (hu, label, spacing_mm) in enumerate(drawn[:8]):
        volume = nib.load(made / f"volume-{number}.nii.gz")
        segmentation = nib.load(made / f"segmentation-{number}.nii.gz")
        assert volume.get_data_dtype() == np.int16 and segmentation.get_data_dtype() == np.uint8
        assert np.array_equal(volume.affine, segmentation.affine) and (volume.affine[:3, 3] != 0).all()
        codes.add("".join(nib.aff2axcodes(volume.affine)))
        for image, array in ((volume, hu), (segmentation, label)):
            ras = nib.as_closest_canonical(image)  # i to the right, j to the front, k to the head
            assert np.allclose(ras.header.get_zooms(), spacing_mm[::-1], atol=1e-5)
            assert np.array_equal(np.asarray(ras.dataobj)[::-1, ::-1].transpose(2, 1, 0), array)
    assert codes == {"LPS", "RAS", "PSR", "LAS", "LPI", "SPL"}


def test_anatomy_is_where_a_radiologist_looks_for_it(drawn):
    for hu, label, spacing_mm in drawn:
        assert set(np.unique(label)) <= {0, 1, 2}
        liver_ml = (label > 0).sum() * np.prod(spacing_mm) / 1000
        assert 900 <= liver_ml <= 2200
        z, y, x = (np.flatnonzero((label > 0).any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
        assert (np.argwhere(label > 0)[:, 2] < SMALL / 2).mean() > 0.75  # the patient's right is left in the picture
        assert z[0] > 0 and z[-1] < len(hu) - 1  # slices without liver above and below
        assert 0.25 <= 1 - len(z) / len(hu) <= 0.48
        above, below = hu[z[-1] + 1 :], hu[: z[0]]
        assert (above < -700).mean() > (below < -700).mean()  # lungs towards the head
        spine = hu > 350
        assert spine[:, SMALL // 2 :].sum() > 2 * spine[:, : SMALL // 2].sum()  # y runs to the back
        assert 85 < np.median(hu[label == 1]) < 135
        assert 3.0 <= spacing_mm[0] <= 6.0 and 36 <= len(hu) <= 56
    assert len({spacing_mm for _, _, spacing_mm in drawn}) == 10 and len({hu.shape for hu, _, _ in drawn}) > 3


def test_lesions_have_the_sizes_asked_for_and_one_in_five_patients_has_none(drawn):
    sizes_mm = [measure_lesions(label, spacing_mm) for _, label, spacing_mm in drawn]
    assert [len(s) == 0 for s in sizes_mm] == [number % 5 == 4 for number in range(10)]
    assert max(map(len, sizes_mm)) <= 7
    pooled_mm = np.concatenate(sizes_mm)
    assert pooled_mm.max() <= 42 and (pooled_mm < 10).any() and (pooled_mm > 25).any()
    for hu, label, spacing_mm in drawn:
        parts, count = find_components(label == 2)
        clear = [
            np.median(hu[label == 1]) - np.median(hu[parts == i]) >= 30
            for i in range(1, count + 1)
            if (6 * (parts == i).sum() * np.prod(spacing_mm) / np.pi) ** (1 / 3) >= 15
        ]
        assert any(clear) == (count > 0)


def test_a_threshold_finds_no_tumours_even_when_it_is_chosen_with_the_answer(drawn):
    scores = []
    for hu, label, _ in drawn[:4]:
        smooth, tumour = median_filter(hu, (1, 3, 3)), label == 2
        inside = np.bincount(np.clip(smooth.ravel(), 0, 200), tumour.ravel(), 201)  # tumour voxels by HU
        voxels = np.bincount(np.clip(smooth.ravel(), 0, 200), minlength=201)
        hits, picked = (np.concatenate([[0], c[1:200].cumsum()]) for c in (inside, voxels))
        low, high = np.triu_indices(200, 1)
        scores.append((2 * (hits[high] - hits[low]) / (picked[high] - picked[low] + tumour.sum())).max())
    assert all(score > 0 for score in scores)  # the oracle did look
    assert np.mean(scores) < 0.3  # though every case had the best of all 19,900 bands of HU for itself


def test_an_interrupted_folder_is_completed_and_whole_pairs_are_kept(tmp_path):
    phantom.make(tmp_path, cases=3, size=48, workers=1)
    before = digest(tmp_path)
    times = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    (tmp_path / "segmentation-1.nii.gz").unlink()
    broken = tmp_path / "volume-2.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-1000])
    phantom.make(tmp_path, cases=3, size=48, workers=1)
    assert digest(tmp_path) == before
    kept = {name for name, time in times.items() if (tmp_path / name).stat().st_mtime_ns == time}
    assert kept == {"volume-0.nii.gz", "segmentation-0.nii.gz", phantom.SETTINGS}
    assert not list(tmp_path.glob(".*"))  # nothing half-written is left


def test_another_seed_or_size_is_refused_and_changes_nothing(tmp_path):
    phantom.make(tmp_path, cases=1, size=48)
    before = digest(tmp_path)
    with pytest.raises(ValueError, match="seed was 7, is 8; size was 48, is 64"):
        phantom.make(tmp_path, cases=2, seed=8, size=64)
    assert digest(tmp_path) == before
    assert json.loads((tmp_path / phantom.SETTINGS).read_text())["seed"] == 7


def test_a_folder_of_other_volumes_is_left_alone(tmp_path):
    (tmp_path / "volume-0.nii.gz").write_bytes(b"a real patient")
    with pytest.raises(ValueError, match="aren't ours"):
        phantom.make(tmp_path, cases=1, size=48)
    assert [p.name for p in tmp_path.iterdir()] == ["volume-0.nii.gz"]


def test_absurd_sizes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cases=0"):
        phantom.make(tmp_path / "none", cases=0)
    assert not (tmp_path / "none").exists()


def test_a_phantom_says_that_it_is_one_wherever_it_is_copied_to(tmp_path):
    path = phantom.make(tmp_path / "drawn", cases=1, size=48, workers=1)[0]
    copy = tmp_path / "elsewhere.nii.gz"
    copy.write_bytes(path.read_bytes())
    other = tmp_path / "patient.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), other)
    assert [phantom.is_synthetic(file) for file in (path, copy, other)] == [True, True, False]
    other.write_bytes(b"no NIfTI file")
    assert not phantom.is_synthetic(other)
