"""Which files lie below a folder, and which of them could be scans."""

import os
from collections import defaultdict
from pathlib import Path

from helpers import names, series

KINDS = ("NIfTI", "picture", "DICOM")
# endings of scans and archives that aren't read, and what to do about it
FOREIGN = dict.fromkeys((".hdr", ".mha", ".mhd", ".nrrd", ".nhdr", ".mgz", ".minc"), "another format: save it as .nii.gz")
FOREIGN |= dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), "an archive: unpack it first")


def survey(folder):
    """Files below a folder by what they are; linked folders are followed, a circle of links ends.

    Hidden files, those of macOS (._volume-0.nii) among them, and files that have nothing to do with scans are passed over.

    returns   (dict "NIfTI", "picture" or "DICOM" -> files in natural order, dict: why files were left out -> those files).
    """
    kinds, left_out, visited = defaultdict(list), defaultdict(list), set()
    closed = left_out["closed to you: can't be opened"]
    for here, folders, files in os.walk(folder, followlinks=True, onerror=lambda error: closed.append(Path(error.filename))):
        real = os.path.realpath(here)
        folders[:] = [] if real in visited else [f for f in folders if not f.startswith(".")]
        for path in (Path(here, n) for n in files if not n.startswith(".") and real not in visited):
            try:
                kind = kind_of(path)
            except OSError:
                closed.append(path)
                continue
            if kind in KINDS:
                kinds[kind].append(path)
            elif kind:
                left_out[kind].append(path)
        visited.add(real)
    for found in (*kinds.values(), *left_out.values()):
        found.sort(key=names.natural)
    return kinds, left_out


def kind_of(path):
    """Say what a file is: NIfTI, picture or DICOM; else why it isn't read, or "" when it has nothing to do with scans."""
    name = path.name.lower()
    if name.endswith(names.NIFTI):
        return "NIfTI"
    if name.endswith(names.PICTURES):
        return "picture"
    return "DICOM" if series.is_dicom(path) else FOREIGN.get(path.suffix.lower(), "")
