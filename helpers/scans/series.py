"""Which DICOM files are slices of a CT, and which of them belong together."""

import functools
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.filereader import read_partial
from pydicom.uid import UID

from helpers.files import file_signature
from helpers.processes import progress
from helpers.scans import grids, names, tags

CT = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
}
# by the direction in which the slices are stacked, along x, y or z
PLANES = ("sagittal", "coronal", "axial")
ENDINGS = (".dcm", ".dicom")
OTHERS = (*names.NIFTI, *names.PICTURES)  # what is named so isn't looked into
# series, position and orientation stand before this tag; private tags after it can be long
READ_UNTIL = 0x00210000
EMPTY, NO_DICOM = "empty (0 bytes)", "no DICOM inside"
STRAY = "DICOM pictures beside a scan (scout, bolus tracking)"


@dataclass(frozen=True)
class Header:
    """What a DICOM file says about itself before its pixels; `other` says why it is no slice of a
    CT, "" when it is one.

    position     ImagePositionPatient in mm, None where the file (of several frames) keeps it
                 elsewhere; `orientation` the directions of rows and columns.
    order        InstanceNumber, None for none.
    """

    uid: str = ""
    plane: str = ""
    number: str = ""
    description: str = ""
    instance: str = ""
    other: str = ""
    patient: str = ""
    orientation: tuple = ()
    position: tuple = None
    order: float = None

    @functools.cached_property
    def height(self):
        """Where it lies along its normal, in mm."""
        return float(np.cross(self.orientation[:3], self.orientation[3:]) @ self.position)


@dataclass(frozen=True)
class Series:
    """The files of one scan in one folder, in natural order."""

    files: tuple
    header: Header
    elsewhere: tuple = ()  # folders with more slices of this series

    @property
    def folder(self):
        return self.files[0].parent


def is_dicom(path):
    """True for a file that begins like DICOM, with or without preamble, or is named .dcm.

    Raises OSError when the file can't be opened.
    """
    # an index of the files beside it; a pipe would hang
    if path.name.upper() == "DICOMDIR" or not path.is_file():
        return False
    with open(path, "rb") as handle:
        start = handle.read(132)
    return start[128:] == b"DICM" or _begins(start) or path.name.lower().endswith(ENDINGS)


def scan_key(image):
    """What a scan is known by, whatever comes beside it: its file, or of a DICOM file the folder
    and its series.
    """
    if image.name.lower().endswith(OTHERS):
        return str(image)
    try:
        header = read_header(image) if is_dicom(image) else Header()
    except OSError:
        header = Header()
    series = header.patient, header.uid, header.plane
    return f"{image.parent}: {series}" if header.uid else str(image)


def _begins(start):
    """True for bytes that begin with a tag of group 2 or 8 and its type or length."""
    for order in ("little", "big"):
        group, element = (int.from_bytes(start[k : k + 2], order) for k in (0, 2))
        if group in (2, 8) and element <= 0x60:
            short = int.from_bytes(start[4:8], order) <= 64
            return len(start) > 8 and (short or start[4:6].isalpha() and start[4:6].isupper())
    return False


def read_header(path):
    """The Header of one DICOM file, kept until it changes; never raises for what the file holds."""
    return _header(path, file_signature(path))


@functools.lru_cache(maxsize=1 << 15)
def _header(path, signature):
    try:
        with open(path, "rb") as handle:
            content = read_partial(handle, stop_when=lambda tag, *_: tag >= READ_UNTIL, force=True)
        text = functools.partial(tags.text, content)
        kind, modality, image_type = (text(tag) for tag in ("SOPClassUID", "Modality", "ImageType"))
        known = {"uid": text("SeriesInstanceUID"), "number": text("SeriesNumber"),
                 "description": text("SeriesDescription"), "instance": text("SOPInstanceUID"),
                 "patient": text("PatientID")}
    # a file that is cut off or no DICOM makes pydicom raise a dozen types
    except Exception as error:
        return Header(other=f"damaged ({error})")
    orientation, position, order = (_numbers_or_none(content, name, count) for name, count in (
        ("ImageOrientationPatient", 6), ("ImagePositionPatient", 3), ("InstanceNumber", 1)))
    normal = np.cross(*np.reshape(orientation or (0,) * 6, (2, 3)))
    if normal.any():  # a multi-frame file keeps it elsewhere
        known |= {"plane": PLANES[int(np.abs(normal).argmax())], "position": position,
                  "orientation": orientation}
    known["order"] = order and order[0]
    if not kind and not modality:
        return Header(other=NO_DICOM if path.stat().st_size else EMPTY)
    if not is_ct(kind, modality.upper()):
        known["other"] = f"DICOM, {_name_of(kind)}" if kind else f"DICOM, {modality}"
    elif "LOCALIZER" in image_type.upper():
        known["other"] = "DICOM, localisers of a CT"
    elif not known["uid"] and not known.get("plane"):
        known["other"] = "damaged (it says neither its series nor its place)"
    return Header(**known)


def is_ct(kind, modality):
    """True for a CT image by its class; a class without a name is one by its Modality."""
    return kind in CT or modality == "CT" and UID(kind).name == kind


def _numbers_or_none(content, name, count):
    try:
        numbers = tags.numbers(content, name)
    except ValueError:  # whoever reads the slice names it
        return None
    return tuple(numbers.tolist()) if len(numbers) == count else None


def _name_of(kind):
    name = UID(kind).name
    return f"an unknown class, SOPClassUID {kind}" if name == kind else name


def find(files):
    """Gather DICOM files into series.

    returns   (list of Series, dict: why files are ignored -> those files).
    """
    headers, ignored = defaultdict(dict), defaultdict(list)
    folders, instances = defaultdict(set), defaultdict(list)
    for path in progress(files, "DICOM headers", "file"):
        header = read_header(path)
        if header.other:
            ignored[header.other].append(path)
            continue
        headers[path.parent][path] = header
        folders[header.uid, header.plane].add(path.parent)
        instances[header.uid, header.plane].append(header.instance)
    gathered = []
    for folder, of_folder in headers.items():
        for paths in grids.together(of_folder):
            keys = {(of_folder[path].uid, of_folder[path].plane) for path in paths}
            others = set().union(*(folders[key] for key in keys)) - {folder}
            own = [instance for key in keys for instance in instances[key]]
            # a copy of the series, not its other half
            elsewhere = () if len(set(own)) < len(own) else tuple(sorted(others))
            gathered.append(Series(tuple(paths), of_folder[paths[0]], elsewhere))
    strays = grids.strays(gathered, headers)
    ignored[STRAY] += [path for s in strays for path in s.files]
    return [s for s in gathered if s not in strays], {why: f for why, f in ignored.items() if f}


def files_of(first):
    """(files of the scan of `first`, dict: why what seems a slice of it is left out -> files).

    Raises ValueError for a file that is no slice of a CT.
    """
    first = Path(first)
    headers = _headers(first.parent, first.parent.stat().st_mtime_ns)
    wanted = headers.get(first) or read_header(first)
    if wanted.other:
        raise ValueError(f"{first}: can't be read as a slice of a CT: {wanted.other}")
    slices = {path: header for path, header in headers.items() if not header.other}
    same = next((paths for paths in grids.together(slices) if first in paths), [first])
    left_out = defaultdict(list)
    for path, header in headers.items():
        if header.other and _seems_slice(header, same, headers):
            left_out[header.other].append(path)
    return same, dict(left_out)


def _seems_slice(header, same, headers):
    """True for a file that is no slice of a CT, but was one of a scan by all that is known."""
    first = headers.get(same[0])
    if first is None or not header.other.startswith("DICOM"):
        return first is not None
    if header.uid == first.uid and header.plane in ("", first.plane):
        return True
    return bool(header.patient == first.patient and header.position and first.position
                and np.allclose(header.orientation, first.orientation, atol=0.002)
                and _continues(header, [headers[path] for path in same]))


def _continues(header, slices):
    """True where a slice lies whole steps beyond the ends of others."""
    heights = sorted(other.height for other in slices)
    if len(heights) < 2 or heights[0] == heights[-1]:
        return False
    step = (heights[-1] - heights[0]) / (len(heights) - 1)
    steps = max(heights[0] - header.height, header.height - heights[-1]) / step
    return bool(0.5 < steps < len(heights) and abs(steps - round(steps)) < 0.1)


def _pattern(name):
    return re.sub(r"\d+", "0", name.lower())


def description(first):
    """A line about the series of `first`: its description, plane and number of files."""
    header = read_header(Path(first))
    return ", ".join(filter(None,
                            (header.description, header.plane, f"{len(files_of(first)[0])} files")))


@functools.lru_cache(maxsize=4)
def _headers(folder, changed):
    """dict path -> Header of a folder's DICOM files and of what is named like them; kept."""
    files = sorted((p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file()
                    and not p.name.lower().endswith(OTHERS)), key=names.natural)
    headers = {path: read_header(path) if is_dicom(path) else None for path in files}
    patterns = {_pattern(path.name) for path in files if headers[path]}
    endings = {_pattern(path.suffix) for path in files if headers[path]} - {""}
    for path in [path for path in files if not headers[path]]:
        empty = not path.stat().st_size
        if _pattern(path.name) in patterns or empty and _pattern(path.suffix) in endings:
            headers[path] = Header(other=EMPTY if empty else NO_DICOM)
    return {path: header for path, header in headers.items() if header}
