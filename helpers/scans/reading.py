"""Reads a case, whichever layout it came in: its scan, its labels, or a row of cases.csv."""

import math
from pathlib import Path

import nibabel as nib
import numpy as np

from helpers import runs
from helpers.scans import dicom, kinds, names, organs, pictures, series
from helpers.scans.findings import Unfit
from helpers.scans.folder import Case
from helpers.scans.labels import UNKNOWN, read_mask, standard_labels
from helpers.scans.volume import flipped, read_volume, turned_over

MAX_RATIO = 20  # voxels of a scan for each byte of its compressed file
ONE_PICTURE = "one picture"  # the layout of a picture that stands for itself


def case_of(file):
    """The Case of one file by itself: NIfTI, a picture, or the series of a DICOM file."""
    file = Path(file)
    kind = kinds.kind_of(file)
    name = (file.resolve().parent.name if kind == "DICOM" else names.stem(file)
            if kind in kinds.KINDS else file.stem)
    return Case(name, {"DICOM": "DICOM", "picture": ONE_PICTURE}.get(kind, "scans without labels"),
                file, None)


def files_of(path, mask=False):
    """All files that a case's image consists of, or its mask, from the one that stands for them."""
    path = Path(path)
    if mask and path.name.lower().endswith(names.NIFTI):
        return organs.masks_of(path)
    if names.is_picture(path):
        return pictures.pictures_of(path)
    return series.files_of(path)[0] if kinds.kind_of(path) == "DICOM" else [path]


def voxels_of(image):
    """About how many voxels a scan has, by its header and the size of its files; 0 where neither
    can be read.
    """
    image = Path(image)
    try:
        if not image.name.lower().endswith(names.NIFTI):
            return sum(file.stat().st_size for file in image.parent.iterdir()) // 2
        return min(math.prod(nib.load(image).shape), MAX_RATIO * image.stat().st_size)
    except Exception:  # why it can't be read is said when it is read
        return 0


def read_scan(image, window=(-40, 160), channel=1, acquisition=""):
    """The Volume of a case of any layout; window, channel are of pictures, acquisition of DICOM."""
    image = Path(image)
    if names.is_picture(image):
        return pictures.stack(pictures.pictures_of(image), window, channel)
    kind = kinds.kind_of(image)
    if kind == "DICOM":
        return dicom.read(image, acquisition)
    if kind in (*kinds.FOREIGN.values(), kinds.INDEX):
        raise ValueError(f"{image}: is {kind}")
    return read_volume(image)


def read_labels(mask, like):
    """The labels of a case as uint8 (z, y, x) on the grid of `like`, with the files' own values."""
    mask = Path(mask)
    if names.is_picture(mask):
        return turned_over(pictures.read_labels(mask, like), like.flip)
    parts = organs.masks_of(mask)
    return read_mask(mask, like) if len(parts) == 1 else _joined(parts, like)


def _joined(parts, like):
    """Labels of masks of one organ each: 1 where the liver's isn't 0, 2 where tumour's isn't."""
    labels = np.zeros(like.hu.shape, np.uint8)
    for part in parts:
        mask = read_mask(part, like)
        if len(values := np.unique(mask[mask > 0])) > 1:
            raise Unfit("labels-unexpected", f"{part}: holds the values {values[:6].tolist()}; a "
                        "mask of one organ holds 0 and another one")
        labels[mask > 0] = 2 if organs.organ_of(names.stem(part)) == "tumour" else 1
    return labels


def read_row_scan(row):
    """The Volume of one row of cases.csv, turned over where its column `flip` says so.

    row   a pandas Series, a tuple of `itertuples`, or a dict.
    """
    # by key: `.mask` of a Series is a method of pandas
    row = row._asdict() if hasattr(row, "_asdict") else row
    acquisition = row.get("acquisition", "")
    volume = read_scan(runs.absolute(row["image"]), (row["window_low"], row["window_high"]),
                       int(row["channel"]), acquisition if isinstance(acquisition, str) else "")
    return flipped(volume, row.get("flip", "") or "")


def read_row(row):
    """(Volume, labels or None) of one row of cases.csv, labels brought to 0 background, 1 liver, 2
    tumour; 3 for liver whose tumours aren't known.

    row   as in `read_row_scan`; its column `mask_flip` turns the labels over once more.
    """
    row = row._asdict() if hasattr(row, "_asdict") else row
    volume, mask = read_row_scan(row), row["mask"]
    if not isinstance(mask, str) or not mask:
        return volume, None
    labels = turned_over(read_labels(runs.absolute(mask), volume), row.get("mask_flip", "") or "")
    labels = np.ascontiguousarray(standard_labels(labels)[0])
    return volume, with_unknown(labels) if tumour_unknown(row) else labels


def tumour_unknown(row):
    """True for a row of cases.csv whose mask takes tumours for liver."""
    return "tumour-unknown" in str(row.get("findings", "")).split()


def with_unknown(labels):
    """Labels whose liver is UNKNOWN: it may be tumour."""
    return np.where(labels == 1, np.uint8(UNKNOWN), labels)
