"""A predicted mask as a DICOM segmentation (DICOM-SEG) that refers to the series it is of."""

import numpy as np
import pydicom
from pydicom.uid import generate_uid

import helpers
from helpers.files import written_whole
from helpers.scans.volume import to_file_axes

MAKER = "Cascade Liver CT"
# (label, SNOMED category, type and place, from which label on) of the two segments
SEGMENTS = (
    ("Liver with its tumours", "AnatomicalStructure", "Liver", None, 1),
    ("Liver tumours", "MorphologicallyAbnormalStructure", "Neoplasm", "Liver", 2),
)
# what every CT has, empty where it isn't known; files that were made anonymous may lack it
EXPECTED = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber",
            "StudyID", "StudyDate", "StudyTime")


def check(volume, path):
    """Raise ValueError where a Volume's mask can't be written as DICOM-SEG to `path`: it is of no
    DICOM series, highdicom isn't there, or the file is somebody else's.
    """
    if not volume.sources:
        raise ValueError(f"{volume.path}: is no DICOM series, and a DICOM-SEG refers to one; leave "
                         "--dicom-seg out")
    files = {file for file, _ in volume.sources}
    if len(files) > 1 and len(files) < len(volume.sources):
        raise ValueError(f"{volume.path}: its slices lie in {len(files)} files of several frames, "
                         "and a DICOM-SEG refers to one; leave --dicom-seg out")
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        message = f"--dicom-seg needs highdicom: pip install highdicom ({error})"
        raise ValueError(message) from error
    if path.exists() and not is_own(path):
        raise ValueError(f"{path}: is there already and not ours; choose another folder")


def is_own(path):
    """True for a file that `write` has written."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True).get("Manufacturer") == MAKER
    except Exception:  # by whatever is no DICOM
        return False


def write(labels, volume, path, made_of):
    """Write labels uint8 (z, y, x), 1 liver, 2 tumour, of a Volume that was read from a DICOM
    series.

    made_of  dict of texts: the `weights`, and what else the mask depends on.
    Raises ValueError, naming the first file, for a series that says too little about itself.
    """
    from highdicom.seg import Segmentation

    # (slice, row, column), as the files hold them
    planes = to_file_axes(labels, volume.affine, volume.flip).transpose(2, 1, 0)
    try:
        images, planes = of_images(planes, volume.sources)
        pixels = np.stack([planes >= first for *_, first in SEGMENTS], axis=-1)
        segmentation = Segmentation(
            images, pixels.view(np.uint8), "BINARY", described(made_of),
            series_instance_uid=generate_uid(), sop_instance_uid=generate_uid(), instance_number=1,
            series_number=1000 + int(images[0].get("SeriesNumber") or 0),
            series_description=f"Liver and its tumours, {MAKER}", manufacturer=MAKER,
            manufacturer_model_name=MAKER, software_versions=helpers.__version__,
            device_serial_number=made_of["weights"], content_label="LIVER",
            content_description="predicted; research only, no medical device",
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{volume.path}: no DICOM-SEG can refer to it ({error})") from error
    with written_whole(path) as beside:
        segmentation.save_as(beside)


def of_images(planes, sources):
    """(data sets of the images, planes in the order of their frames): an image for each plane that
    shows something, or all frames of one image, of which some may have no plane.

    Of a long scan most planes show nothing, and highdicom takes fifteen bytes a pixel.
    """
    files = list(dict.fromkeys(file for file, _ in sources))
    if len(files) == len(planes):
        shown = np.flatnonzero(planes.any((1, 2))) if planes.any() else [0]
        files, planes = [files[k] for k in shown], planes[shown]
    images = [with_expected(pydicom.dcmread(file, stop_before_pixels=True, force=True))
              for file in files]
    if not any(image.get("FrameOfReferenceUID") for image in images):
        frame_of_reference = generate_uid()
        for image in images:
            image.FrameOfReferenceUID = frame_of_reference
    if len(images) == len(planes):
        return images, planes
    frames = np.zeros((int(images[0].NumberOfFrames), *planes.shape[1:]), planes.dtype)
    frames[[frame for _, frame in sources]] = planes
    return images, frames


def with_expected(image):
    """A data set with the tags that every CT has."""
    for tag in EXPECTED:
        if tag not in image:
            setattr(image, tag, "")
    return image


def described(made_of):
    """The segments, by their SNOMED codes and the algorithm that drew them."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    algorithm = AlgorithmIdentificationSequence(
        MAKER, codes.DCM.ArtificialIntelligence, helpers.__version__, parameters=made_of)
    return [
        SegmentDescription(number, label, getattr(codes.SCT, category), getattr(codes.SCT, kind),
                           "AUTOMATIC", algorithm,
                           anatomic_regions=[getattr(codes.SCT, place)] if place else None)
        for number, (label, category, kind, place, _) in enumerate(SEGMENTS, start=1)
    ]
