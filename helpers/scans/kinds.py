"""What each file below a folder is: NIfTI, picture, DICOM, or why it isn't read."""

import errno
from collections import defaultdict
from pathlib import Path

from helpers.files import as_text, files_below
from helpers.scans import names, series

KINDS = ("NIfTI", "picture", "DICOM")
# endings of scans and archives that aren't read, and what to do about it
FOREIGN = dict.fromkeys((".hdr", ".img", ".mha", ".mhd", ".nrrd", ".nhdr", ".mgz", ".mgh", ".minc",
                         ".mnc", ".gipl", ".vtk", ".vti", ".raw", ".npy", ".npz", ".h5", ".hdf5",
                         ".mat", ".pt", ".pkl"), "another format: save it as .nii.gz")
FOREIGN |= dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst"),
                         "an archive: unpack it first")
FOREIGN[".gz"] = "compressed: unpack it, or name it .nii.gz where that is what it is"
FOREIGN |= dict.fromkeys((".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2"),
                         "a picture of another format: save it as .png")
INDEX = "an index of DICOM files (DICOMDIR): the files are looked for themselves"
MEANING = "read for what masks mean"
CLOSED = "closed to you: can't be opened"
OTHER = "no scan by its name, and none inside"


def files_by_kind(folder):
    """Files below a folder by what they are; linked folders are followed, a circle of links ends.

    Hidden files, those of macOS (._volume-0.nii) among them, are passed over.

    returns   (dict "NIfTI", "picture" or "DICOM" -> files in natural order, dict: why files are
              ignored -> those files).
    """
    kinds, ignored = defaultdict(list), defaultdict(list)
    closed = ignored[CLOSED]
    for path in files_below(folder, lambda error: ignored[_why(error)].append(
            Path(as_text(error.filename)))):
        try:
            kind = kind_of(path)
        except OSError:
            closed.append(path)
            continue
        (kinds if kind in KINDS else ignored)[kind].append(path)
    for group in (*kinds.values(), *ignored.values()):
        group.sort(key=names.natural)
    return kinds, ignored


def _why(error):
    """Why a file or folder below the given one isn't looked at."""
    return ("named in another encoding than UTF-8: rename it" if error.errno == errno.EILSEQ
            else CLOSED)


def kind_of(path):
    """Say what a file is: NIfTI, picture or DICOM; else why it isn't read."""
    name = path.name.lower()
    if name.endswith(names.NIFTI):
        return "NIfTI"
    if name.endswith(names.PICTURES):
        return "picture"
    if series.is_dicom(path):
        return "DICOM"
    if name == "dicomdir":
        return INDEX
    if name == "dataset.json":
        return MEANING
    empty = path.is_file() and not path.stat().st_size
    return FOREIGN.get(path.suffix.lower(), series.EMPTY if empty else OTHER)
