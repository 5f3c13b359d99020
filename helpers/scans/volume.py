"""A CT volume in one axis order: read from disk, and a mask's way back to the scan's grid."""

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from helpers.files import written_whole
from helpers.scans import affines, nifti
from helpers.scans.findings import Unfit

CANONICAL = ("L", "P", "S")  # x to the patient's left, y to the back, z to the head
HU_RANGE = (-1100, 4000)  # outside lies no tissue; values are clipped there and counted
WIDEST_MM = 400.0  # of a body: few are wider, and pixels of 0.8 mm taken for 1 mm make most so
LIKELY_MM = (2.0, 0.75, 0.75)  # (z, y, x) of a voxel, common in abdominal scans
# in the header of masks: they may be written anew, those of others may not
MADE_BY = b"Cascade Liver CT"


@dataclass
class Volume:
    """A scan with z from feet to head, y from front to back, x from the patient's right to left.

    hu          int16 (z, y, x); `imshow(hu[k])` is the radiological view.
    spacing_mm  (z, y, x) edges of a voxel.
    affine      float64 (4, 4) of the file, in the file's own axes.
    file_shape  shape of the file's array without a trailing axis of 1.
    axes        the file's own axis codes, "RAS" for example.
    clipped     how many voxels lay outside HU_RANGE.
    flip        axes ("x", "xy" …) along which `hu` was turned over on request, because the file's
                header is wrong about them.
    notes       what the reader noticed and mended: (code of findings.FINDINGS, text) each.
    breaks      slices whose lower neighbour is missing: there a new stretch begins.
    sources     of a DICOM series: (file, number of the frame in it, from 0) of each slice, in the
                order of the file's axes.
    """

    hu: np.ndarray
    spacing_mm: tuple
    affine: np.ndarray
    file_shape: tuple
    axes: str
    path: Path = None
    clipped: int = 0
    flip: str = ""
    notes: tuple = ()
    breaks: tuple = ()
    sources: tuple = ()

    @property
    def voxel_ml(self):
        return float(np.prod(self.spacing_mm)) / 1000.0

    @property
    def is_scattered(self):
        """True for single slices, most of which have no neighbour: they are no liver's volume."""
        return 2 * (len(self.breaks) + 1) > len(self.hu)


def in_our_axes(hu, spacing_mm, path=None, breaks=()):
    """The Volume of an array int16 (z, y, x) whose file has our own axes."""
    z, y, x = spacing_mm
    affine = np.diag([-x, -y, z, 1.0])
    return Volume(hu, (z, y, x), affine, hu.shape[::-1], "LPS", path, breaks=tuple(breaks))


def with_likely_spacing(volume):
    """The Volume with the edges that networks and rules go by: its own, or LIKELY_MM where 1 × 1 ×
    1 mm can't be true.

    It hardly can where the body would be wider than WIDEST_MM: LiTS carries it in its 3D-IRCADb
    scans, whose true edges were lost. What is measured in mm of finished masks keeps to the header,
    as others do.
    """
    stand_in = is_stand_in(volume.spacing_mm, volume.hu)
    return replace(volume, spacing_mm=LIKELY_MM) if stand_in else volume


def is_stand_in(spacing_mm, hu=None):
    """True for 1 × 1 × 1 mm that stands in for edges that were lost: where the body would be wider
    than WIDEST_MM, or, without hu, always, because most often it does.

    hu   int16 (z, y, x) or None.
    """
    return bool(np.allclose(spacing_mm, 1, atol=1e-6)
                and (hu is None or body_width_mm(hu, spacing_mm) > WIDEST_MM))


def body_floor(low):
    """The HU above which a voxel is body; windowed values end at the window, at `low`."""
    return -300 if low < -300 else low + 5


def body_width_mm(hu, spacing_mm):
    """How far the body reaches from left to right, but for 2 % of its voxels; 0 without any.

    hu   int16 (z, y, x); of a window's values those above its lower end are body.
    """
    thin = hu[:: max(1, len(hu) // 32), ::4]
    low = int(thin.min())
    columns = np.cumsum((thin > body_floor(low)).sum((0, 1)))
    if not columns[-1]:
        return 0.0
    first, last = np.searchsorted(columns, (0.01 * columns[-1], 0.99 * columns[-1]))
    return float((last - first + 1) * spacing_mm[2])


def _orientation(affine, back=False):
    """The nibabel orientation transform from the file's axes to CANONICAL, or back."""
    axes = [nib.io_orientation(affine), nib.orientations.axcodes2ornt(CANONICAL)]
    return nib.orientations.ornt_transform(*(axes[::-1] if back else axes))


def to_canonical(array, affine, flip=""):
    """Turn a file's (i, j, k) array into our (z, y, x), then over along `flip`; a view."""
    return turned_over(nib.apply_orientation(array, _orientation(affine)).transpose(2, 1, 0), flip)


def to_file_axes(array_zyx, affine, flip=""):
    """Turn our (z, y, x) array back into the file's (i, j, k): `to_canonical`'s inverse."""
    return nib.apply_orientation(turned_over(array_zyx, flip).transpose(2, 1, 0),
                                 _orientation(affine, back=True))


def turned_over(array_zyx, flip):
    """The array (z, y, x) mirrored along `flip`; a view. Raises ValueError for other letters."""
    if set(flip) - set("xyz") or len(set(flip)) < len(flip):
        raise ValueError(f"flip {flip!r}: use x (left and right), y (front and back), z (head and "
                         "feet), each once")
    return np.flip(array_zyx, ["zyx".index(axis) for axis in flip]) if flip else array_zyx


def both_flips(one, other):
    """The axes along which a scan is turned that is turned by `one` and then `other`, as "xy"."""
    return "".join(axis for axis in "xyz" if (axis in one) != (axis in other))


def flipped(volume, flip):
    """The Volume turned over along `flip`; its mask lands on the file's own grid all the same."""
    if not flip:
        return volume
    breaks = tuple(len(volume.hu) - k for k in reversed(volume.breaks))
    return replace(volume, hu=np.ascontiguousarray(turned_over(volume.hu, flip)),
                   flip=both_flips(volume.flip, flip),
                   breaks=breaks if "z" in flip else volume.breaks)


def read_volume(path, data=None):
    """Read a scan (NIfTI) into a Volume; `data` are its bytes where they are in memory already.

    Raises Unfit for a file that can't be read, has no usable affine, or holds NaN or Inf.
    """
    array, affine, notes = nifti.load(path, data)
    affines.check_affine(affine, path)
    return volume_from_array(array, affine, path, notes)


def volume_from_array(array, affine, path=None, notes=()):
    """A Volume from a file's (i, j, k) array and affine; values are rounded, cut to HU_RANGE.

    Raises Unfit for NaN, Inf, complex or structured values.
    """
    if array.dtype.kind not in "iufb":
        raise Unfit("no-numbers", f"{path}: values of type {array.dtype} are no Hounsfield units")
    low, high = array.min(), array.max()  # NaN where there is one
    if not np.isfinite([low, high]).all():
        count = int((~np.isfinite(array)).sum())
        raise Unfit("not-finite", f"{path}: {count:,} of {array.size:,} voxels are NaN or infinite")
    hu, clipped = _rounded(array, affine, low < HU_RANGE[0] or high > HU_RANGE[1])
    # which file axis runs along x, y and z
    axis_of_xyz = np.argsort(nib.io_orientation(affine)[:, 0])
    edges_mm = nib.affines.voxel_sizes(affine)[axis_of_xyz]
    return Volume(
        hu=hu,
        spacing_mm=tuple(float(edge) for edge in edges_mm[::-1]),
        affine=affine,
        file_shape=tuple(array.shape),
        axes=affines.axes_of(affine),
        path=Path(path) if path else None,
        clipped=clipped,
        notes=tuple(notes),
    )


def _rounded(array, affine, clips, slab=16):
    """(int16 (z, y, x), how many voxels were clipped), a slab at a time: without another copy.

    clips  True when some voxels lie outside HU_RANGE.
    """
    hu = np.empty(to_canonical(np.broadcast_to(np.int16(0), array.shape), affine).shape, np.int16)
    # a view: what is written in the file's axes lies in ours
    in_file_axes, clipped = to_file_axes(hu, affine), 0
    for k in range(0, array.shape[2], slab):
        values = array[..., k : k + slab]
        if clips:
            clipped += int(np.count_nonzero((values < HU_RANGE[0]) | (values > HU_RANGE[1])))
            # an unsigned type can't hold the lower end
            with np.errstate(over="ignore"):  # what is infinite then, is clipped, too
                values = np.clip(values.astype(np.float32), *HU_RANGE)
        in_file_axes[..., k : k + slab] = np.rint(values) if values.dtype.kind == "f" else values
    return hu, clipped


def write_mask(mask, like, path):
    """Write a mask (z, y, x) as uint8 NIfTI on exactly the grid and axes of the Volume `like`.

    Raises ValueError for values that aren't whole numbers from 0 to 255, or another shape.
    """
    mask = np.asarray(mask)
    labels = mask if mask.dtype == np.uint8 else mask.astype(np.uint8)
    if labels is not mask and not np.array_equal(labels, mask):
        raise ValueError(f"{path}: a mask holds whole numbers from 0 to 255, not {mask.min()} to "
                         f"{mask.max()} of {mask.dtype}")
    write_on_grid(labels, like, path, MADE_BY)


def is_own_mask(path):
    """True for a NIfTI file that `write_mask` has written, by what its header says."""
    try:
        return nifti.read_header(path)[0]["descrip"].item() == MADE_BY
    except Unfit:
        return False


def write_on_grid(array, like, path, made_by=b""):
    """Write an array (z, y, x) of the volume's shape as NIfTI, whole, on the file's own grid.

    made_by  bytes for the header's description.
    Raises ValueError for an array of another shape.
    """
    if array.shape != like.hu.shape:
        raise ValueError(f"an array of shape {array.shape} doesn't fit the scan of shape "
                         f"{like.hu.shape}")
    in_file_axes = to_file_axes(array, like.affine, like.flip)
    header = nib.Nifti1Image(np.broadcast_to(array.dtype.type(0), in_file_axes.shape),
                             like.affine).header
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    header["descrip"] = made_by
    with written_whole(path) as beside, nib.openers.Opener(beside, "wb") as out:
        header.write_to(out)
        for k in range(in_file_axes.shape[2]):  # compressed while it is written, a plane at a time
            out.write(in_file_axes[..., k].tobytes(order="F"))


def diameter_mm(volume_ml):
    """Diameter of the ball with this volume."""
    return float((6000.0 * volume_ml / np.pi) ** (1 / 3))
