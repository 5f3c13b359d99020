"""A CT volume in one axis order, how to read one from disk, and how a mask finds its way back to the scan's grid."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CANONICAL = ("L", "P", "S")  # x to the patient's left, y to the back, z to the head
HU_RANGE = (-1100, 4000)  # outside lies no tissue; values are clipped there and counted


@dataclass
class Volume:
    """A scan with z from feet to head, y from front to back, x from the patient's right to left.

    hu          int16 (z, y, x); `imshow(hu[k])` is the radiological view.
    spacing_mm  (z, y, x) edges of a voxel.
    affine      float64 (4, 4) of the file, in the file's own axes.
    file_shape  shape of the file's array without a trailing axis of 1.
    axes        the file's own axis codes, "RAS" for example.
    clipped     how many voxels lay outside HU_RANGE.
    """

    hu: np.ndarray
    spacing_mm: tuple
    affine: np.ndarray
    file_shape: tuple
    axes: str
    path: Path = None
    clipped: int = 0

    @property
    def voxel_ml(self):
        return float(np.prod(self.spacing_mm)) / 1000.0


def _orientation(affine, back=False):
    """The nibabel orientation transform from the file's axes to CANONICAL, or back."""
    import nibabel as nib

    own, ours = nib.io_orientation(affine), nib.orientations.axcodes2ornt(CANONICAL)
    return nib.orientations.ornt_transform(ours, own) if back else nib.orientations.ornt_transform(own, ours)


def axes_of(affine):
    """Where the file's axes point: "RAS" for right, anterior, superior."""
    import nibabel as nib

    return "".join(nib.aff2axcodes(affine))


def to_canonical(array, affine):
    """Turn a file's (i, j, k) array into our (z, y, x); a view where numpy can give one."""
    import nibabel as nib

    return nib.apply_orientation(array, _orientation(affine)).transpose(2, 1, 0)


def to_file_axes(array_zyx, affine):
    """Turn our (z, y, x) array back into the file's own (i, j, k): the exact inverse of `to_canonical`."""
    import nibabel as nib

    return nib.apply_orientation(array_zyx.transpose(2, 1, 0), _orientation(affine, back=True))


def load(path):
    """Read a NIfTI file to its last byte, the checksum of a compressed one included.

    returns   (array (i, j, k) in the file's own type, float32 where the file has a slope or intercept; affine (4, 4)).
    Raises ValueError, naming the file and what is wrong, for anything that is not one whole 3-D image.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    with open(path, "rb") as handle:
        start = handle.read(512)
    if not start:
        raise ValueError(f"{path}: the file is empty (0 bytes); copy or download it again")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ValueError(f"{path}: is a web page, not a scan; the download went wrong")
    packed, named = start.startswith(b"\x1f\x8b"), path.name.lower().endswith(".gz")
    if packed and not named:
        raise ValueError(f"{path}: is compressed; name it .nii.gz")
    if named and _header_size(start) in (348, 540):
        raise ValueError(f"{path}: is not compressed; name it .nii")
    try:
        with gzip.open(path) if packed else open(path, "rb") as stream:
            array, affine, shape = _decoded(stream)
            while packed and stream.read(1 << 20):  # to the end: only there gzip compares the checksum
                pass
    except Exception as error:  # nibabel, gzip and zlib raise a dozen types for a damaged file; all mean the same here
        raise ValueError(f"{path}: is damaged, or no NIfTI file ({error})") from error
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"{path}: has shape {shape}; one 3-D scan is needed")
    return array, affine


def _header_size(start):
    """The first number of a NIfTI file, in either byte order: 348 in NIfTI-1, 540 in NIfTI-2."""
    return min(int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))


def _decoded(stream):
    """(array, affine, shape in the header) of a NIfTI-1 or NIfTI-2 stream; its image data are read here, in one go."""
    import nibabel as nib

    kind = nib.Nifti2Image if _header_size(stream.read(4)) == 540 else nib.Nifti1Image
    stream.seek(0)
    image = kind.from_stream(stream)
    scaled = (image.dataobj.slope, image.dataobj.inter) != (1.0, 0.0)
    array = np.asarray(image.dataobj, dtype=np.float32 if scaled else None)
    return array, np.asarray(image.affine, dtype=np.float64), image.shape


def usable(affine):
    """True when the affine is finite, gives every axis a direction of its own and edges of 0.05 to 50 mm."""
    if not np.isfinite(affine).all():
        return False
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if (edges < 0.05).any() or (edges > 50).any():
        return False
    return abs(np.linalg.det(affine[:3, :3] / edges)) > 0.1


def read(path):
    """Read a scan (NIfTI) into a Volume.

    Raises ValueError for a file that can't be read, has no usable affine, or holds NaN or Inf.
    """
    array, affine = load(path)
    if not usable(affine):
        raise ValueError(f"{path}: its affine is singular or absurd, so no voxel has a place; rows are {affine[:3].tolist()}")
    return from_array(array, affine, path)


def from_array(array, affine, path=None):
    """A Volume from a file's (i, j, k) array and affine; values are rounded and clipped to HU_RANGE.

    Raises ValueError for NaN, Inf, complex or structured values.
    """
    import nibabel as nib

    if array.dtype.kind not in "iufb":
        raise ValueError(f"{path}: values of type {array.dtype} are no Hounsfield units")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{path}: {int((~np.isfinite(array)).sum()):,} voxels are NaN or infinite")
    hu, clipped = _whole_hu(array, affine)
    axis_of_xyz = np.argsort(nib.io_orientation(affine)[:, 0])  # which file axis runs along x, y and z
    edges_mm = nib.affines.voxel_sizes(affine)[axis_of_xyz]
    return Volume(
        hu=hu,
        spacing_mm=tuple(float(edge) for edge in edges_mm[::-1]),
        affine=affine,
        file_shape=tuple(array.shape),
        axes=axes_of(affine),
        path=Path(path) if path else None,
        clipped=clipped,
    )


def _whole_hu(array, affine, slab=16):
    """(int16 (z, y, x), how many voxels were clipped), a slab of the file's last axis at a time, so without another copy."""
    hu = np.empty(to_canonical(np.broadcast_to(np.int16(0), array.shape), affine).shape, np.int16)
    own, clipped = to_file_axes(hu, affine), 0  # a view: what is written in the file's axes lies in ours
    for k in range(0, array.shape[2], slab):
        part = array[..., k : k + slab]
        outside = int(np.count_nonzero((part < HU_RANGE[0]) | (part > HU_RANGE[1])))
        if outside:
            part = np.clip(part.astype(np.float32), *HU_RANGE)  # an unsigned type can't hold the lower end
        own[..., k : k + slab] = np.rint(part) if part.dtype.kind == "f" else part
        clipped += outside
    return hu, clipped


def read_mask(path, like):
    """Read a label file onto the grid of the Volume `like`.

    The volume's affine says which way the axes run, not the mask's: some LiTS masks carry a wrong one,
    while their voxels are aligned. A mask stored in another axis order is brought over by its own affine
    when only then its shape fits.

    returns   uint8 (z, y, x) with the file's own values, rounded.
    Raises ValueError when the shapes differ, or for values that aren't 0 to 255 after rounding to within 0.01.
    """
    array, affine = load(path)
    return place_mask(array, affine, like, path)


def place_mask(array, affine, like, path=None):
    """`read_mask` for an array (i, j, k) that is in memory already."""
    if array.dtype.kind not in "iufb":
        raise ValueError(f"{path}: values of type {array.dtype} are no labels")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ValueError(f"{path}: the mask holds NaN or infinite values")
        rounded = np.rint(array)
        if np.abs(array - rounded).max() > 0.01:
            raise ValueError(f"{path}: the mask holds values between whole labels, {np.unique(array)[:6].tolist()} …")
        array = rounded
    low, high = array.min(), array.max()
    if low < 0 or high > 255:
        raise ValueError(f"{path}: the mask holds values from {low} to {high}; labels are 0 to 255")
    way = way_onto(array.shape, affine, like)
    if way is None:
        raise ValueError(f"{path}: the mask has shape {array.shape}, its scan {like.file_shape}; they don't belong together")
    return np.ascontiguousarray(to_canonical(array.astype(np.uint8), like.affine if way == "voxels" else affine))


def way_onto(shape, affine, like):
    """How a mask of this shape and affine lies on the scan `like`.

    returns   "voxels": voxel (i, j, k) of one is that of the other; "axes": the same box of the room, stored in another
              axis order; None: it doesn't fit.
    """
    if tuple(shape) == like.file_shape and not (usable(affine) and _turned(affine, like.affine, shape)):
        return "voxels"
    if usable(affine) and to_canonical(np.broadcast_to(np.uint8(0), shape), affine).shape == like.hu.shape:
        return "axes"
    return None


def _turned(affine, other, shape):
    """True when both affines place the scan in the same box of the room, but with other axes: a real re-orientation."""
    if axes_of(affine) == axes_of(other):
        return False
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    boxes = [np.sort(a[:3, :3] @ corners + a[:3, 3:], axis=1)[:, [0, -1]] for a in (affine, other)]
    return bool(np.abs(boxes[0] - boxes[1]).max() < 2.0)  # mm


def write_mask(mask, like, path):
    """Write a mask (z, y, x) as uint8 NIfTI on exactly the grid, shape, affine and axes of the Volume `like`.

    Raises ValueError for values that aren't whole numbers from 0 to 255, or a shape that isn't the scan's.
    """
    mask = np.asarray(mask)
    labels = mask if mask.dtype == np.uint8 else mask.astype(np.uint8)
    if labels is not mask and not np.array_equal(labels, mask):
        raise ValueError(f"{path}: a mask holds whole numbers from 0 to 255, not {mask.min()} to {mask.max()} of {mask.dtype}")
    write_on_grid(labels, like, path)


def write_on_grid(array, like, path):
    """Write any (z, y, x) array of the volume's shape as NIfTI on the file's own grid; the rename comes last."""
    import nibabel as nib

    from helpers.paths import written_whole

    if array.shape != like.hu.shape:
        raise ValueError(f"an array of shape {array.shape} doesn't fit the scan of shape {like.hu.shape}")
    own = to_file_axes(array, like.affine)
    header = nib.Nifti1Image(np.broadcast_to(array.dtype.type(0), own.shape), like.affine).header
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    with written_whole(path) as beside, nib.openers.Opener(beside, "wb") as out:
        header.write_to(out)
        for k in range(own.shape[2]):  # compressed while it is written, a plane at a time
            out.write(own[..., k].tobytes(order="F"))
