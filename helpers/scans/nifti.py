"""NIfTI files to their last byte: decompressed, checksum compared, brought to one array."""

import gzip
import io
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.batteryrunners import BatteryRunner

from helpers.scans import affines
from helpers.scans.findings import Unfit

PIECE = 1 << 18  # bytes that are decompressed at a time
HEADER = 540  # bytes of the longer one, NIfTI-2


def read_bytes(path, size=-1):
    """The bytes of a file as they are on disk; the first `size` of them, all for -1.

    Raises Unfit: "missing", "no-file" (a folder, a pipe, a device), "no-access" or "empty-file".
    """
    path = Path(path)
    if not path.exists():
        raise Unfit("missing", f"{path}: no such file")
    if not path.is_file():  # a pipe would be waited for, a device may have no end
        raise Unfit("no-file",
                    f"{path}: is a {'folder' if path.is_dir() else 'pipe or device'}, no file")
    try:
        with open(path, "rb") as handle:
            data = handle.read(size)
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
    header, mended = _header(bytes(start), path)
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
    return _scaled(array, header), *affines.in_force(header, notes + mended)


def read_header(path):
    """(header, notes) of a NIfTI file by its first bytes, as `load` reads it.

    Raises Unfit, naming the file, where there is none that can be read.
    """
    path = Path(path)
    data = read_bytes(path, 1 << 16)
    if data.startswith(b"\x1f\x8b"):
        data = bytes(_inflate(data, HEADER, path, whole=False))
    return _header(data[:HEADER], path)


def _header(start, path):
    """The header with nibabel's repairs, and notes of them; raises Unfit "not-nifti"."""
    form = nib.Nifti2Header if start[4:7] in (b"n+2", b"ni2") else nib.Nifti1Header
    try:
        if form is nib.Nifti1Header and start[344:347] not in (b"n+1", b"ni1"):
            raise ValueError(f"it begins with {start[:8]!r}")
        raw = form.from_fileobj(io.BytesIO(start), check=False)
        if raw["magic"].item().startswith(b"ni"):
            raise ValueError("its voxels lie in another file, a pair .hdr and .img; convert it to "
                             ".nii.gz")
        if raw.get_data_offset() < form.single_vox_offset:
            raise ValueError("its voxels would begin within its header, at byte "
                             f"{raw.get_data_offset()}")
        header, reports = BatteryRunner(form._get_checks()).check_fix(raw.copy())
        if fatal := [report.problem_msg for report in reports if report.problem_level >= 40]:
            raise ValueError("; ".join(fatal))
        header.get_data_dtype()
        if any(n < 0 for n in header["dim"][1 : 1 + max(0, min(7, int(header["dim"][0])))]):
            raise ValueError(f"its dimensions are {header['dim'].tolist()}")
    except Exception as error:  # nibabel raises a handful of types here; all mean the same
        raise Unfit("not-nifti", f"{path}: is damaged, or no NIfTI file: {error}") from error
    # nibabel would take 1 mm for them
    header["pixdim"][1:4][raw["pixdim"][1:4] == 0] = 0
    repairs = [f"{report.problem_msg}; {report.fix_msg}" for report in reports
               if report.problem_level >= 20 and not report.problem_msg.startswith("vox offset")]
    slope, intercept = header["scl_slope"].item(), header["scl_inter"].item()
    if slope and np.isfinite(slope) and not np.isfinite(intercept):
        header["scl_inter"] = 0  # nibabel would raise
        repairs.append(f"its intercept is {intercept:g}; taken as 0")
    return header, [("header-mended", text) for text in repairs]


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


def _scaled(array, header):
    """The values with slope and intercept, float32; as they are where there are none."""
    slope, intercept = header.get_slope_inter()
    if slope is None or (slope, intercept) == (1.0, 0.0) or array.dtype.kind not in "iuf":
        return array
    scaled = array.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # who reads it refuses what isn't finite
        scaled *= np.float32(slope)
        scaled += np.float32(intercept)
    return scaled
