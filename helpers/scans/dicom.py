"""Reads a DICOM series into a Volume: pixels decoded, values in HU, slices put in order by their position."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.scans import nifti, series
from helpers.scans.findings import Unfit
from helpers.scans.volume import volume_from_array

AIR_HU = -1024  # for pixels that the scanner marks as outside of its circle
TISSUE_HU = (-900, 3000)  # a padding value in here may be tissue, so it is left alone
SETS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
TILT_DEGREES = 0.5
SAME_PLACE_MM = 0.01


def read(first):
    """Read the series that the file `first` belongs to, in its folder, into a Volume.

    returns   ct.Volume; `notes` says what was dropped or changed on the way, and whether the slices are evenly spaced.
    Raises Unfit, a ValueError that names the file, for slices that can't be decoded, don't fit together, contradict each
    other at one place, or were scanned with a tilted gantry.
    """
    files, broken = series.files_of(first)
    notes = [("slices-unreadable", ", ".join(p.name for p in broken[:3]) + more(broken))] if broken else []
    seen = {}
    stack = [plane for file in files for plane in read_planes(file, seen)]
    check_alike(stack)
    stack, copies = without_copies(sort(stack))
    if copies:
        pairs = [f"{copy.file.name} is {kept.file.name}" for kept, copy in copies[:3]]
        notes.append(("slices-duplicate", ", ".join(pairs) + more(copies)))
    step, uneven = step_between(stack)
    notes += ([("slices-uneven", uneven)] if uneven else []) + _value_notes(seen)
    affine = affine_of(stack[0], step)
    nifti.check_affine(affine, first)
    array = np.stack([plane.hu for plane in stack]).transpose(2, 1, 0)  # (column, row, slice), as a NIfTI file would hold it
    del stack, copies  # before the next copy is made
    volume = volume_from_array(array, affine, first)
    volume.notes = tuple(notes)
    return volume


def read_planes(file, seen):
    """The slices of one file, a Plane each; `seen` counts what happened to the values, by code."""
    import pydicom

    try:
        content = pydicom.dcmread(file, force=True)
    except Exception as error:  # pydicom raises many types for a file that is cut off
        raise Unfit("damaged", f"{file}: is damaged, or no DICOM file ({error})") from error
    if int(content.get("SamplesPerPixel", 1)) != 1:
        raise Unfit("no-numbers", f"{file}: is a colour picture, not a slice of a CT")
    pixels = _decoded(content, file)
    for k, stored in enumerate(pixels if pixels.ndim == 3 else pixels[None]):
        own = _attributes(content, k)
        missing = [tag for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing") if not own.get(tag)]
        if missing:
            raise Unfit("no-place", f"{file}: lacks {', '.join(missing)}, so its slice has no place")
        position, spacing_mm = _numbers(own, "ImagePositionPatient", 3, file), _numbers(own, "PixelSpacing", 2, file)
        row, column = _numbers(own, "ImageOrientationPatient", 6, file).reshape(2, 3)
        if np.abs([row @ row - 1, column @ column - 1, row @ column]).max() > 0.01:
            given = [*row.tolist(), *column.tolist()]
            raise Unfit("no-place", f"{file}: its ImageOrientationPatient {given} holds no two directions at a right angle")
        if min(spacing_mm) <= 0:
            raise Unfit("spacing-absurd", f"{file}: has PixelSpacing {spacing_mm.tolist()}")
        thickness_mm = own.get("SpacingBetweenSlices") or own.get("SliceThickness") or 0
        hu, acquisition = to_hu(stored, own, content, file, seen), str(content.get("AcquisitionNumber") or "")
        yield Plane(file, hu, position, row, column, tuple(spacing_mm.tolist()), float(thickness_mm), acquisition)


def _numbers(own, tag, count, file):
    """The numbers of a tag as float64; raises Unfit, naming the file, unless there are so many finite ones."""
    try:
        found = np.array([float(v) for v in own[tag].value])
    except (TypeError, ValueError):
        found = np.empty(0)
    if len(found) != count or not np.isfinite(found).all():
        raise Unfit("no-place", f"{file}: its {tag} {own.get(tag)} isn't {count} numbers")
    return found


def _decoded(content, file):
    """The stored values, (rows, columns) or (frames, rows, columns)."""
    if "PixelData" not in content:
        raise Unfit("truncated", f"{file}: holds no pixels; it is cut off, or no image")
    meta = content.file_meta
    if "TransferSyntaxUID" not in meta:  # a file without the preamble says it by its first tags only
        implicit, little = content.original_encoding
        kinds = {(True, True): "1.2.840.10008.1.2", (False, True): "1.2.840.10008.1.2.1", (False, False): "1.2.840.10008.1.2.2"}
        meta.TransferSyntaxUID = kinds[implicit, little]
    try:
        return content.pixel_array
    except Exception as error:  # by missing plugins, and by data that are cut off
        syntax = meta.TransferSyntaxUID
        if syntax.is_compressed:
            raise Unfit(
                "compressed",
                f"{file}: is compressed ({syntax.name}) and can't be decoded here; pip install python-gdcm, or decompress it "
                f"first with gdcmconv --raw ({str(error).splitlines()[0].rstrip(':')})",
            ) from error
        raise Unfit("truncated", f"{file}: its pixels can't be read, so it is damaged or cut off ({error})") from error


def _attributes(content, k):
    """What is said about frame k: of a multi-frame file its shared and own functional groups in one flat data set."""
    from pydicom import Dataset

    if SETS[1] not in content:
        return content
    flat = Dataset()
    for groups in (*content.get(SETS[0], ())[:1], content[SETS[1]][k]):
        for element in groups:
            if element.VR == "SQ" and element.value:
                flat.update(element.value[0])
    return flat


def to_hu(stored, own, content, file, seen):
    """Hounsfield units int16 of stored values; padding becomes air. Values beyond int16 stop at its ends."""
    kind = str(own.get("RescaleType") or "HU")
    if kind not in ("HU", "HU_MOD", "US"):
        raise Unfit("no-numbers", f"{file}: its values are {kind}, not Hounsfield units")
    if "RescaleIntercept" not in own:
        seen["rescale-missing"] = seen.get("rescale-missing", 0) + 1
    slope, intercept = float(own.get("RescaleSlope", 1)), float(own.get("RescaleIntercept", 0))
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise Unfit("no-numbers", f"{file}: has a rescale slope of {slope} and an intercept of {intercept}")
    exact = slope == 1 and intercept.is_integer()
    hu = stored.astype(np.int32) + int(intercept) if exact else np.rint(stored * slope + intercept)
    hu = np.clip(hu, -32768, 32767).astype(np.int16)
    if content.get("PixelPaddingValue") is not None:
        given = (content.PixelPaddingValue, content.get("PixelPaddingRangeLimit", content.PixelPaddingValue))
        ends = [_signed(value, content) for value in given]
        outside = (stored >= min(ends)) & (stored <= max(ends))
        tissue = any(TISSUE_HU[0] < end * slope + intercept < TISSUE_HU[1] for end in ends)
        code = "padding-kept" if tissue else "padding"
        seen[code] = seen.get(code, 0) + int(np.count_nonzero(outside if tissue else outside & (hu != AIR_HU)))
        if not tissue:
            hu[outside] = AIR_HU
    return hu


def _signed(value, content):
    """A padding value in the type of the pixels: some writers store -2000 as 63536."""
    value = int(value)
    return value - 65536 if content.PixelRepresentation == 1 and value > 32767 else value


def _value_notes(seen):
    said = {
        "padding": f"{{:,}} voxels became {AIR_HU} HU",
        "padding-kept": f"{{:,}} voxels between {TISSUE_HU[0]} and {TISSUE_HU[1]} HU",
        "rescale-missing": "in {} slices",
    }
    return [(code, said[code].format(count)) for code, count in seen.items() if count]


@dataclass
class Plane:
    """One slice: hu int16 (rows, columns); position, row and column directions in DICOM's millimetres (left, back, head)."""

    file: Path
    hu: np.ndarray
    position: np.ndarray
    row: np.ndarray
    column: np.ndarray
    spacing_mm: tuple  # between rows, between columns
    thickness_mm: float
    acquisition: str

    @property
    def normal(self):
        return np.cross(self.row, self.column)


def check_alike(planes):
    """Raise Unfit when slices differ in shape, orientation or pixel spacing; it names the first that does."""
    first = planes[0]
    for plane in planes:
        for what, own, wanted, tolerance in (
            ("shape", plane.hu.shape, first.hu.shape, 0),
            ("orientation", (*plane.row, *plane.column), (*first.row, *first.column), 0.002),
            ("pixel spacing", plane.spacing_mm, first.spacing_mm, 0.001),
        ):
            if not np.allclose(own, wanted, rtol=0, atol=tolerance):
                own, wanted = (tuple(np.round(values, 4).tolist()) for values in (own, wanted))
                text = f"{plane.file}: has {what} {own}, {first.file.name} has {wanted}; a scan needs one"
                raise Unfit("slices-differ", text)


def sort(planes):
    """The slices in the order in which they lie along their normal."""
    return sorted(planes, key=lambda plane: float(plane.position @ planes[0].normal))


def without_copies(planes):
    """(sorted planes without those that repeat another one at the same place, list of (kept, dropped)).

    Raises Unfit when two slices at one place differ.
    """
    kept, copies = planes[:1], []
    for plane in planes[1:]:
        before = kept[-1]
        if np.abs(plane.position - before.position).max() > SAME_PLACE_MM:
            kept.append(plane)
        elif np.array_equal(plane.hu, before.hu):
            copies.append((before, plane))
        else:
            numbers = f"acquisitions {before.acquisition} and {plane.acquisition}"
            also = "" if plane.acquisition == before.acquisition else f"; they are of {numbers}: put each in its own folder"
            raise Unfit("slices-differ", f"{plane.file}: lies where {before.file.name} lies and shows something else{also}")
    return kept, copies


def step_between(planes):
    """(vector from a slice to the next in mm, what is uneven about the steps or "").

    Raises Unfit for a tilted gantry, with its angle, and for a slice that lies beside the others.
    """
    first, normal = planes[0], planes[0].normal
    if len(planes) == 1:
        if not first.thickness_mm > 0:
            raise Unfit("no-place", f"{first.file}: is a single slice without SliceThickness, so its height isn't known")
        return normal * first.thickness_mm, ""
    away = np.array([plane.position - first.position for plane in planes])
    height = away @ normal  # mm along the normal, rising
    beside = away - height[:, None] * normal
    lean = beside[-1] / height[-1] if height[-1] > SAME_PLACE_MM else np.zeros(3)
    angle, half_pixel = float(np.degrees(np.arctan(np.linalg.norm(lean)))), min(first.spacing_mm) / 2
    stray = np.linalg.norm(beside - height[:, None] * lean, axis=1)
    if stray.max() > half_pixel:
        text = f"{planes[int(stray.argmax())].file}: lies {stray.max():.1f} mm beside the line of the other slices"
        raise Unfit("slices-differ", text)
    if angle > TILT_DEGREES and np.linalg.norm(beside[-1]) > half_pixel:
        raise Unfit(
            "sheared",
            f"{first.file.parent}: was scanned with the gantry tilted by {angle:.1f} degrees, so its slices don't stand upright "
            "on each other",
        )
    steps = np.diff(height)
    usual = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - usual) > max(0.1 * usual, 0.1))
    if not odd.size:
        return away[-1] / (len(planes) - 1), ""
    said = [f"{steps[k]:.4g} mm after {planes[k].file.name}" for k in odd[:3]]
    return normal * usual, f"{', '.join(said)}{more(odd)}, {usual:.4g} mm elsewhere"


def affine_of(plane, step):
    """The affine (4, 4) of (column, row, slice) in NIfTI's millimetres: right, front, head. DICOM counts left, back, head."""
    between_rows, between_columns = plane.spacing_mm
    affine = np.eye(4)
    affine[:3] = np.column_stack([plane.row * between_columns, plane.column * between_rows, step, plane.position])
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def more(items):
    """How a message that names three items ends: " and 4 more", or "" when there are no more."""
    return f" and {len(items) - 3} more" if len(items) > 3 else ""
