"""DICOM-SEG: written, and read back by highdicom and by pydicom alone, on the slices that it is of."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from dicom_files import write_series
from test_dicom import multi_frame

from helpers.scans import dicom, dicom_seg

highdicom = pytest.importorskip("highdicom", reason="highdicom isn't installed: pip install highdicom")
AFFINE = np.array([[-0.7, 0, 0, 100], [0, -0.8, 0, 120], [0, 0, 2.5, 30], [0, 0, 0, 1]])
MADE_OF = {"weights": "0123456789abcdef", "rules": "Rules()"}


def labels_like(volume):
    """Liver in a box that touches no edge, a tumour that no turn maps onto itself; some slices hold nothing."""
    labels = np.zeros(volume.hu.shape, np.uint8)
    labels[1:-1, 2:9, 1:6] = 1
    labels[2, 3:6, 2:4] = labels[3, 3, 2] = 2
    return labels


def hu(slices):
    return np.random.default_rng(0).integers(-200, 300, (11, 12, slices)).astype(np.int16)


def reverse(folder):
    """Stored from head to feet: file names, InstanceNumbers and positions run the other way."""
    names = [f"{20 - k:03d}.dcm" for k in range(6)]
    write_series(folder, hu(6), AFFINE, names, lambda ds, k: setattr(ds, "InstanceNumber", 6 - k))


def feet_first(folder):
    write_series(folder, hu(6), AFFINE @ np.diag([1.0, 1.0, -1.0, 1.0]))


def with_gap(folder):
    write_series(folder, hu(8), AFFINE)[5].unlink()


def copied(folder):
    first = write_series(folder, hu(6), AFFINE)[2]
    shutil.copy(first, folder / "again.dcm")


def in_one_file(folder):
    multi_frame(folder, hu(5))


@pytest.mark.parametrize("series", [reverse, feet_first, with_gap, copied, in_one_file])
def test_every_voxel_lies_on_its_slice(tmp_path, series):
    """Where a voxel is in the patient is worked out from the images' own tags, not by our reader."""
    series(tmp_path / "p")
    volume = dicom.read(min((tmp_path / "p").iterdir()))
    labels = labels_like(volume)
    dicom_seg.write(labels, volume, tmp_path / "seg.dcm", MADE_OF)
    written = pydicom.dcmread(tmp_path / "seg.dcm")
    heights = sorted({float(height) for height in heights_of(tmp_path / "p")})
    found = {1: np.zeros_like(labels, bool), 2: np.zeros_like(labels, bool)}
    for plane, frame in zip(written.pixel_array, written.PerFrameFunctionalGroupsSequence, strict=True):
        z = heights.index(float(frame.PlanePositionSequence[0].ImagePositionPatient[2]))
        found[frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber][z] = plane
    assert np.array_equal(found[1], labels >= 1) and np.array_equal(found[2], labels == 2)


def heights_of(folder):
    for file in folder.iterdir():
        image = pydicom.dcmread(file)
        frames = image.get("PerFrameFunctionalGroupsSequence")
        yield from (frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in frames) if frames else [
            image.ImagePositionPatient[2]]


def test_highdicom_finds_the_mask_by_its_images(tmp_path):
    reverse(tmp_path / "p")
    volume = dicom.read(next((tmp_path / "p").iterdir()))
    labels = labels_like(volume)
    dicom_seg.write(labels, volume, tmp_path / "seg.dcm", MADE_OF)
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    images = [pydicom.dcmread(file) for file in (tmp_path / "p").iterdir()]
    images.sort(key=lambda image: image.ImagePositionPatient[2])
    pixels = seg.get_pixels_by_source_instance([image.SOPInstanceUID for image in images], assert_missing_frames_are_empty=True)
    assert np.array_equal(pixels[..., 0], labels >= 1) and np.array_equal(pixels[..., 1], labels == 2)
    assert (seg.StudyInstanceUID, seg.FrameOfReferenceUID) == (images[0].StudyInstanceUID, seg.FrameOfReferenceUID)
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == images[0].SeriesInstanceUID != seg.SeriesInstanceUID
    liver, tumour = seg.SegmentSequence
    code = lambda sequence: (sequence[0].CodeValue, sequence[0].CodingSchemeDesignator)  # noqa: E731
    assert code(liver.SegmentedPropertyTypeCodeSequence) == ("10200004", "SCT")
    assert code(tumour.SegmentedPropertyTypeCodeSequence) == ("108369006", "SCT")
    assert code(tumour.AnatomicRegionSequence) == ("10200004", "SCT")
    algorithm = tumour.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, tumour.SegmentAlgorithmType) == ("Cascade Liver CT", "AUTOMATIC")
    assert algorithm.AlgorithmVersion and "weights" in algorithm.AlgorithmParameters


def test_an_empty_mask_is_written_all_the_same(tmp_path):
    write_series(tmp_path / "p", hu(4), AFFINE)
    volume = dicom.read(tmp_path / "p" / "000.dcm")
    dicom_seg.write(np.zeros(volume.hu.shape, np.uint8), volume, tmp_path / "seg.dcm", MADE_OF)
    assert not pydicom.dcmread(tmp_path / "seg.dcm").pixel_array.any()


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) isn't installed")
def test_dciodvfy_finds_no_error(tmp_path):
    write_series(tmp_path / "p", hu(6), AFFINE)
    volume = dicom.read(tmp_path / "p" / "000.dcm")
    dicom_seg.write(labels_like(volume), volume, tmp_path / "seg.dcm", MADE_OF)
    done = subprocess.run(["dciodvfy", tmp_path / "seg.dcm"], capture_output=True, text=True)
    assert "Error" not in done.stdout + done.stderr, done.stderr
