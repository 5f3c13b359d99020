"""Which DICOM files are slices of a CT, and which of them belong together."""

import functools
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.filereader import read_partial
from pydicom.uid import UID
from tqdm import tqdm

from helpers.scans import names

CT = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
}
# by the direction in which the slices are stacked, along x, y or z
PLANES = ("sagittal", "coronal", "axial")
ENDINGS = (".dcm", ".dicom")
# series, position and orientation stand before this tag; private tags after it can be long
READ_UNTIL = 0x00210000


@dataclass(frozen=True)
class Header:
    """What a DICOM file says about itself before its pixels; `other` says why it is no slice of a
    CT, "" when it is one.
    """

    uid: str = ""
    plane: str = ""
    number: str = ""
    description: str = ""
    instance: str = ""
    other: str = ""


@dataclass(frozen=True)
class Series:
    """The files of one series in one folder, in natural order; slices of another plane (a
    localiser) are another series.
    """

    files: tuple
    header: Header
    elsewhere: tuple = ()  # folders with more slices of this series

    @property
    def folder(self):
        return self.files[0].parent


def is_dicom(path):
    """True for a file with the DICOM preamble, or one without it that is named .dcm; a look at 132
    bytes.

    Raises OSError when the file can't be opened.
    """
    # an index of the files beside it; a pipe would hang
    if path.name.upper() == "DICOMDIR" or not path.is_file():
        return False
    with open(path, "rb") as handle:
        return handle.read(132)[128:] == b"DICM" or path.name.lower().endswith(ENDINGS)


def read_header(path):
    """The Header of one DICOM file; never raises for what the file holds."""
    try:
        with open(path, "rb") as handle:
            tags = read_partial(handle, stop_when=lambda tag, *_: tag >= READ_UNTIL, force=True)
        kind, modality = str(tags.get("SOPClassUID", "")), str(tags.get("Modality", ""))
        uid, image_type = str(tags.get("SeriesInstanceUID", "")), tags.get("ImageType") or ()
        row, column = np.reshape([float(v) for v in tags.get("ImageOrientationPatient") or (0,
                                  ) * 6], (2, 3))
    # a file that is cut off or no DICOM makes pydicom raise a dozen types
    except Exception as error:
        return Header(other=f"damaged ({error})")
    if not kind and not modality:
        return Header(other="empty (0 bytes)" if not path.stat().st_size else "no DICOM inside")
    if kind not in CT if kind else modality != "CT":
        return Header(other=f"DICOM, {_name_of(kind)}" if kind else f"DICOM, {modality}")
    if "LOCALIZER" in image_type:
        return Header(other="DICOM, localisers of a CT")
    normal = np.cross(row, column)
    # a multi-frame file keeps it elsewhere
    plane = PLANES[int(np.abs(normal).argmax())] if normal.any() else ""
    number, description = (str(tags.get(tag) or "")
                           for tag in ("SeriesNumber", "SeriesDescription"))
    return Header(uid, plane, number, description, str(tags.get("SOPInstanceUID", "")))


def _name_of(kind):
    return UID(kind).name


def find(files):
    """Gather DICOM files into series.

    returns   (list of Series, dict: why files are ignored -> those files).
    """
    together, ignored, folders, instances = (
        defaultdict(list),
        defaultdict(list),
        defaultdict(set),
        defaultdict(list),
    )
    for path in tqdm(files, desc="DICOM headers", unit="file", disable=len(files) < 5000):
        header = read_header(path)
        if header.other:
            ignored[header.other].append(path)
            continue
        together[path.parent, header.uid, header.plane].append((path, header))
        folders[header.uid, header.plane].add(path.parent)
        instances[header.uid, header.plane].append(header.instance)
    gathered = []
    for (folder, uid, plane), members in together.items():
        others = folders[uid, plane] - {folder}
        # a copy of the series, not its other half
        whole = len(set(instances[uid, plane])) < len(instances[uid, plane])
        elsewhere = () if whole else tuple(sorted(others))
        gathered.append(Series(tuple(path for path, _ in members), members[0][1], elsewhere))
    return gathered, dict(ignored)


def files_of(first):
    """(files of the series that `first` belongs to, files beside it that can't be read as DICOM),
    in natural order.
    """
    first = Path(first)
    headers = _headers(first.parent, first.parent.stat().st_mtime_ns)
    wanted = headers.get(first) or read_header(first)
    if wanted.other:
        raise ValueError(f"{first}: can't be read as a slice of a CT: {wanted.other}")
    same = [
        path
        for path, header in headers.items()
        if (header.uid, header.plane) == (wanted.uid, wanted.plane)
    ]
    broken = [
        path
        for path, header in headers.items()
        if header.other and not header.other.startswith("DICOM")
    ]
    return same, broken


def description(first):
    """A line about the series that `first` belongs to: its description, plane and number of
    files.
    """
    header = read_header(Path(first))
    return ", ".join(filter(None,
                            (header.description, header.plane, f"{len(files_of(first)[0])} files")))


@functools.lru_cache(maxsize=4)
def _headers(folder, changed):
    """dict path -> Header of the DICOM files in a folder; kept, because each of its series asks."""
    files = sorted((p for p in folder.iterdir() if not p.name.startswith(".") and is_dicom(p)),
                   key=names.natural)
    return {path: read_header(path) for path in files}
