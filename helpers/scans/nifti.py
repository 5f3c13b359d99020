"""NIfTI files to their last byte: decompressed, checksum compared, header and data brought to one
array.
"""

import gzip
import io
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np

from helpers.scans import affines
from helpers.scans.findings import Unfit

PIECE = 1 << 18  # bytes that are decompressed at a time
HEADER = 540  # bytes of the longer one, NIfTI-2


def read_bytes(path):
    """The bytes of a file as they are on disk.

    Raises Unfit: "missing", "no-file" (a folder, a pipe, a device), "no-access" (permissions, a
    disk's fault) or "empty-file".
    """
    path = Path(path)
    if not path.exists():
        raise Unfit("missing", f"{path}: no such file")
    if not path.is_file():  # a pipe would be waited for, a device may have no end
        raise Unfit("no-file",
                    f"{path}: is a {'folder' if path.is_dir() else 'pipe or device'}, no file")
    try:
        with open(path, "rb") as handle:
            data = handle.read()
    except OSError as error:
        raise Unfit("no-access", f"{path}: {error.strerror or error}") from error
    if not data:
        raise Unfit("empty-file", f"{path}: the file is empty (0 bytes); copy or download it again")
    return data


def load(path, data=None):
    """Read a NIfTI file to its last byte, the checksum of a compressed one included.

    data      its bytes where they are in memory already.
    returns   (array (i, j, k) in the file's own type, float32 where the file has a slope or
              intercept; affine (4, 4); notes, a tuple of (code, text): what was odd and could be
              helped).
    Raises Unfit, naming the file and what is wrong, for anything that is not one whole 3-D image.
    """
    path = Path(path)
    data = read_bytes(path) if data is None else data
    if data[:512].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise Unfit("web-page", f"{path}: is a web page, not a scan; the download went wrong")
    packed, named = data.startswith(b"\x1f\x8b"), path.name.lower().endswith(".gz")
    notes = []
    if packed != named:
        how, ending = ("compressed", ".nii.gz") if packed else ("not compressed", ".nii")
        notes.append(("wrong-ending", f"{path.name} is {how}; name it {ending}"))
    start = _inflate(data, HEADER, path, whole=False) if packed else data[:HEADER]
    header = _header(start, path)
    shape, kind, offset = (header.get_data_shape(), header.get_data_dtype(),
                           int(header.get_data_offset()))
    count = int(np.prod(shape, dtype=object))
    if len(shape) < 2 or min(shape) < 1 or any(n > 1 for n in shape[3:]):
        raise Unfit("not-3-d", f"{path}: has shape {shape}; one 3-D scan is needed")
    needed = offset + count * kind.itemsize
    content = _inflate(data, needed, path) if packed else data
    if len(content) < needed:
        share = _share(len(content), needed)
        raise Unfit("truncated",
                    f"{path}: is damaged, it ends after {share}; copy or download it again")
    array = np.frombuffer(content, kind, count, offset).reshape((*shape, 1)[:3], order="F")
    return _scaled(array, header, path), *affines.in_force(header, notes)


def _header(start, path):
    """The header as nibabel reads it. Raises Unfit "not-nifti" where the bytes are none."""
    size = min(int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
    form = {348: nib.Nifti1Header, 540: nib.Nifti2Header}.get(size)
    try:
        if form is None:
            raise ValueError(f"it begins with {bytes(start[:8])!r}")
        header = form.from_fileobj(io.BytesIO(start), check=False)
        header.get_data_dtype()
        if not header["magic"].item().startswith(b"n+"):
            raise ValueError("its voxels lie in another file, a pair .hdr and .img; convert it to "
                             ".nii.gz")
        if header.get_data_offset() < size:
            raise ValueError("its voxels would begin within its header, at byte "
                             f"{header.get_data_offset()}")
        if any(n < 0 for n in header["dim"][1 : 1 + max(0, min(7, int(header["dim"][0])))]):
            raise ValueError(f"its dimensions are {header['dim'].tolist()}")
    except Exception as error:  # nibabel raises a handful of types here; all mean the same
        raise Unfit("not-nifti", f"{path}: is damaged, or no NIfTI file: {error}") from error
    return header


def _inflate(data, size, path, whole=True):
    """The first `size` bytes that a gzip file holds, in as many members as it has.

    whole   reads on to the end and its checksum. Only the bytes asked for are kept, so a file that
            would unfold to terabytes costs time, not memory. What follows the last member is
            ignored.
    Raises Unfit: "truncated" when the file ends in the middle, "damaged" when bytes or checksum are
    wrong.
    """
    # deflate packs 1032 : 1 at best
    content, filled = np.empty(min(size, 1032 * len(data)), np.uint8), 0
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            while (whole or filled < size) and (piece := stream.read1(PIECE)):
                kept = piece[: len(content) - filled]
                content[filled : filled + len(kept)] = np.frombuffer(kept, np.uint8)
                filled += len(kept)
    except EOFError as error:
        message = f"its compressed data stop after {_share(filled, size)}"
        raise Unfit("truncated",
                    f"{path}: is damaged, {message}; copy or download it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        message = str(error).replace("Error -3 while decompressing data: ", "")
        if not message.startswith("Not a gzipped file"):  # said of what follows the last member
            message = "its checksum, the CRC, is wrong" if "CRC" in message else message
            raise Unfit("damaged",
                        f"{path}: is damaged ({message}); copy or download it again") from error
    return memoryview(content[:filled])


def _share(count, needed):
    return f"{count:,} of {needed:,} bytes, {100 * count // needed}%"


def _scaled(array, header, path):
    """The values with slope and intercept applied, float32; as they are where the header has
    none.
    """
    try:
        slope, intercept = header.get_slope_inter()
    except Exception as error:
        raise Unfit("not-nifti",
                    f"{path}: its slope and intercept can't be read: {error}") from error
    if slope is None or (slope, intercept) == (1.0, 0.0) or array.dtype.kind not in "iuf":
        return array
    scaled = array.astype(np.float32)
    scaled *= np.float32(slope)
    scaled += np.float32(intercept)
    return scaled
