"""NIfTI files to their last byte: decompressed once, checksum compared, header and data brought to one array."""

import io
import zlib
from pathlib import Path

import numpy as np

from helpers.scans.findings import Unfit

EDGES_MM = (0.05, 50.0)  # shorter and longer edges of a voxel are not those of a CT
PIECE = 1 << 16  # compressed bytes at a time: what comes out of them, 64 MB at the very most, is a small part of a scan
HEADER = 540  # bytes of the longer one, NIfTI-2


def read_bytes(path):
    """The bytes of a file as they are on disk.

    Raises Unfit: "missing", "no-file" (a folder, a pipe, a device), "no-access" (permissions, a disk's fault) or "empty-file".
    """
    path = Path(path)
    if not path.exists():
        raise Unfit("missing", f"{path}: no such file")
    if not path.is_file():  # a pipe would be waited for, a device may have no end
        raise Unfit("no-file", f"{path}: is a {'folder' if path.is_dir() else 'pipe or device'}, no file")
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
    returns   (array (i, j, k) in the file's own type, float32 where the file has a slope or intercept; affine (4, 4);
              notes, a tuple of (code, text): what was odd and could be helped).
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
    shape, kind, offset = header.get_data_shape(), header.get_data_dtype(), int(header.get_data_offset())
    count = int(np.prod(shape, dtype=object))
    if len(shape) < 2 or min(shape) < 1 or any(n > 1 for n in shape[3:]):
        raise Unfit("not-3-d", f"{path}: has shape {shape}; one 3-D scan is needed")
    needed = offset + count * kind.itemsize
    content = _inflate(data, needed, path) if packed else data
    if len(content) < needed:
        seen = f"{len(content):,} of {needed:,} bytes, {100 * len(content) // needed}%"
        raise Unfit("truncated", f"{path}: is damaged, it ends after {seen}; copy or download it again")
    array = np.frombuffer(content, kind, count, offset).reshape((*shape, 1)[:3], order="F")
    return _scaled(array, header, path), *affine_of(header, path, notes)


def _header(start, path):
    """The header as nibabel reads it. Raises Unfit "not-nifti" where the bytes are none."""
    import nibabel as nib

    size = min(int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
    form = {348: nib.Nifti1Header, 540: nib.Nifti2Header}.get(size)
    try:
        if form is None:
            raise ValueError(f"it begins with {bytes(start[:8])!r}")
        header = form.from_fileobj(io.BytesIO(start), check=False)
        header.get_data_dtype()
        if not header["magic"].item().startswith(b"n+"):
            raise ValueError("its voxels lie in another file, a pair .hdr and .img; convert it to .nii.gz")
        if header.get_data_offset() < size:
            raise ValueError(f"its voxels would begin within its header, at byte {header.get_data_offset()}")
        if any(n < 0 for n in header["dim"][1 : 1 + max(0, min(7, int(header["dim"][0])))]):
            raise ValueError(f"its dimensions are {header['dim'].tolist()}")
    except Exception as error:  # nibabel raises a handful of types here; all mean the same
        raise Unfit("not-nifti", f"{path}: is damaged, or no NIfTI file: {error}") from error
    return header


def _inflate(data, size, path, whole=True):
    """The first `size` bytes of a gzip file, in as many members as it has; `whole` reads on to its end and its checksum.

    Only the bytes asked for are kept, so a file that would unfold to terabytes costs time, not memory.
    Raises Unfit: "truncated" when the file ends in the middle, "damaged" when bytes or checksum are wrong.
    """
    packed, out = memoryview(data), memoryview(np.empty(min(size, 1032 * len(data)), np.uint8))  # deflate's best is 1032 : 1
    stream, at, filled = zlib.decompressobj(31), 0, 0
    try:
        while at < len(data) and (whole or filled < size):
            piece = stream.decompress(packed[at : at + PIECE])
            at += PIECE
            kept = piece[: len(out) - filled]
            out[filled : filled + len(kept)] = kept
            filled += len(kept)
            if stream.eof:
                at = min(at, len(data)) - len(stream.unused_data)
                if packed[at : at + 2] != b"\x1f\x8b":  # nothing, or padding, follows
                    break
                stream = zlib.decompressobj(31)
    except zlib.error as error:
        raise Unfit("damaged", f"{path}: is damaged ({_plain(error)}); copy or download it again") from error
    if not stream.eof and (whole or filled < size):
        seen = f"{filled:,} of {size:,} bytes, {100 * filled // size}%"
        raise Unfit("truncated", f"{path}: is damaged, its compressed data stop after {seen}; copy or download it again")
    return out[:filled]


def _plain(error):
    said = str(error)
    return "its checksum, the CRC, is wrong" if "data check" in said else said.replace("Error -3 while decompressing data: ", "")


def _scaled(array, header, path):
    """The values with slope and intercept applied, float32; as they are where the header has none."""
    try:
        slope, intercept = header.get_slope_inter()
    except Exception as error:
        raise Unfit("not-nifti", f"{path}: its slope and intercept can't be read: {error}") from error
    if slope is None or (slope, intercept) == (1.0, 0.0) or array.dtype.kind not in "iuf":
        return array
    scaled = array.astype(np.float32)
    scaled *= np.float32(slope)
    scaled += np.float32(intercept)
    return scaled


def affine_of(header, path, notes=()):
    """The affine in force and what is odd about it: sform before qform before the bare spacing, as nibabel takes them.

    returns   (affine float64 (4, 4), notes).
    Raises nothing for a bad affine: `check_affine` does, because a mask may do without.
    """
    edges = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    with np.errstate(all="ignore"):
        forms = {"sform": header.get_sform(coded=True), "qform": _qform(header)}
    used = [(name, form) for name, (form, code) in forms.items() if code > 0]
    notes = list(notes)
    if not (edges > 0).all() and (not used or used[0][0] == "qform"):  # nibabel would take the amount, or raise
        return np.diag([*np.maximum(edges, 0), 1.0]), tuple(notes)
    if not used:
        affine = header.get_base_affine()
        seen = "sform_code and qform_code are 0, pixdim is {:g} × {:g} × {:g}".format(*edges)
        return np.asarray(affine, dtype=np.float64), (*notes, ("no-affine", seen))
    name, affine = used[0]
    for other, form in used[1:]:
        if usable(affine) and (apart := differ(affine, form, header.get_data_shape())):
            notes.append(("forms-differ", f"{name} and {other} differ, {apart}; {name} is used"))
    if usable(affine) and not np.allclose(own := np.linalg.norm(affine[:3, :3], axis=0), np.abs(edges), rtol=0.01, atol=1e-3):
        said = " × ".join(f"{v:g}" for v in edges), " × ".join(f"{v:.4g}" for v in own)
        if len(used) < 2:
            notes.append(("forms-differ", f"pixdim says {said[0]} mm, {name} {said[1]} mm; {name} is used"))
    return np.asarray(affine, dtype=np.float64), tuple(notes)


def _qform(header):
    """(affine, code) of the qform; an affine of NaN where its quaternion is none."""
    code = int(header["qform_code"])
    try:
        return (header.get_qform(), code) if code > 0 else (None, 0)
    except Exception:  # nibabel's HeaderDataError, or an error of linear algebra
        return np.full((4, 4), np.nan), code


def corners_mm(affine, shape):
    """Where an affine places the eight corner voxels of an array of that shape, by their centres: mm (3, 8)."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in (*shape, 1, 1)[:3]])).reshape(3, -1)
    return affine[:3, :3] @ corners + affine[:3, 3:]


def differ(one, other, shape):
    """In words, how far two affines place the corners of a scan apart; "" where that is less than half a voxel."""
    if not np.isfinite(other).all():
        return "the other is not finite"
    apart_mm = float(np.linalg.norm(corners_mm(one, shape) - corners_mm(other, shape), axis=0).max())
    return f"corners by up to {apart_mm:.3g} mm" if apart_mm > 0.5 * np.linalg.norm(one[:3, :3], axis=0).min() else ""


def check_affine(affine, path):
    """Raise Unfit, naming the file and the rows, for an affine that gives no voxel a place."""
    rows = f"rows are {np.round(affine[:3], 4).tolist()}"
    if not np.isfinite(affine).all():
        raise Unfit("affine-nan", f"{path}: its affine holds NaN or infinite values; {rows}")
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if (edges < EDGES_MM[0]).any() or (edges > EDGES_MM[1]).any():
        said = " × ".join(f"{edge:.4g}" for edge in edges)
        raise Unfit("spacing-absurd", f"{path}: its affine is absurd, edges of {said} mm; {rows}")
    if abs(np.linalg.det(affine[:3, :3] / edges)) <= 0.1:
        raise Unfit("affine-singular", f"{path}: its affine is singular; {rows}")
    tilt = tilt_degrees(affine)
    if tilt > 1:
        raise Unfit("sheared", f"{path}: two axes are {90 - tilt:.1f}° apart, a tilt of {tilt:.1f}°")


def usable(affine):
    """True when the affine is finite, gives every axis a direction of its own and edges of 0.05 to 50 mm."""
    if not np.isfinite(affine).all():
        return False
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if (edges < EDGES_MM[0]).any() or (edges > EDGES_MM[1]).any():
        return False
    return abs(np.linalg.det(affine[:3, :3] / edges)) > 0.1


def tilt_degrees(affine):
    """By how many degrees the two file axes that are least at right angles miss them."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(directions.T @ directions - np.eye(3))
    return float(np.degrees(np.arcsin(np.clip(cosines.max(), 0, 1))))
