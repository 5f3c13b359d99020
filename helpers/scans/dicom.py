"""Reads a DICOM series into a Volume: pixels decoded, values in HU, slices put in order by their
position.
"""

from collections import Counter

import numpy as np
import pydicom

from helpers.scans import affines, planes, series
from helpers.scans.findings import Unfit
from helpers.scans.volume import volume_from_array

AIR_HU = -1024  # for pixels that the scanner marks as outside of its circle
TISSUE_HU = (-900, 3000)  # a padding value in here may be tissue, so it is left alone
SETS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
SYNTAXES = {  # (implicit, little endian) of a file without a preamble -> its transfer syntax
    (True, True): "1.2.840.10008.1.2", (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}


def read(first):
    """Read the series that the file `first` belongs to, in its folder, into a Volume.

    returns   Volume; `notes` says what was dropped or changed on the way, and whether the slices
              are evenly spaced.
    Raises Unfit, a ValueError that names the file, for slices that can't be decoded, don't fit
    together, contradict each other at one place, or were scanned with a tilted gantry.
    """
    files, broken = series.files_of(first)
    names = ", ".join(path.name for path in broken[:3]) + planes.more(broken)
    notes, counts = [("slices-unreadable", names)] if broken else [], Counter()
    stack = [plane for file in files for plane in read_planes(file, counts)]
    planes.check_alike(stack)
    stack, copies = planes.without_copies(planes.in_order(stack))
    if copies:
        pairs = [f"{copy.file.name} is {kept.file.name}" for kept, copy in copies[:3]]
        notes.append(("slices-duplicate", ", ".join(pairs) + planes.more(copies)))
    step, uneven = planes.step_between(stack)
    notes += ([("slices-uneven", uneven)] if uneven else []) + _value_notes(counts)
    affine = planes.affine_of(stack[0], step)
    affines.check_affine(affine, first)
    # (column, row, slice), as a NIfTI file would hold it
    array = np.stack([plane.hu for plane in stack]).transpose(2, 1, 0)
    del stack, copies  # before the next copy is made
    return volume_from_array(array, affine, first, notes)


def read_planes(file, counts):
    """The slices of one file, a Plane each; `counts` counts what happened to the values, by
    code.
    """
    try:
        content = pydicom.dcmread(file, force=True)
    except Exception as error:  # pydicom raises many types for a file that is cut off
        raise Unfit("damaged", f"{file}: is damaged, or no DICOM file ({error})") from error
    if int(content.get("SamplesPerPixel", 1)) != 1:
        raise Unfit("no-numbers", f"{file}: is a colour picture, not a slice of a CT")
    pixels = _decoded(content, file)
    for k, stored in enumerate(pixels if pixels.ndim == 3 else pixels[None]):
        yield _plane(stored, _attributes(content, k), content, file, counts)


def _plane(stored, tags, content, file, counts):
    """The Plane of stored values, from the tags of its frame. Raises Unfit where they give it no
    place.
    """
    missing = [tag for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
               if not tags.get(tag)]
    if missing:
        raise Unfit("no-place", f"{file}: lacks {', '.join(missing)}, so its slice has no place")
    position, spacing_mm = _numbers(tags, "ImagePositionPatient", 3,
                                    file), _numbers(tags, "PixelSpacing", 2, file)
    row, column = _numbers(tags, "ImageOrientationPatient", 6, file).reshape(2, 3)
    if np.abs([row @ row - 1, column @ column - 1, row @ column]).max() > 0.01:
        message = (f"its ImageOrientationPatient {[*row.tolist(), *column.tolist()]} holds no two "
                   "directions at a right angle")
        raise Unfit("no-place", f"{file}: {message}")
    if min(spacing_mm) <= 0:
        raise Unfit("spacing-absurd", f"{file}: has PixelSpacing {spacing_mm.tolist()}")
    thickness_mm = float(tags.get("SpacingBetweenSlices") or tags.get("SliceThickness") or 0)
    hu, acquisition = to_hu(stored, tags, content, file,
                            counts), str(content.get("AcquisitionNumber") or "")
    return planes.Plane(file, hu, position, row, column, tuple(spacing_mm.tolist()), thickness_mm,
                        acquisition)


def _numbers(tags, tag, count, file):
    """The numbers of a tag as float64; raises Unfit, naming the file, unless there are so many
    finite ones.
    """
    try:
        numbers = np.array([float(v) for v in tags[tag].value])
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise Unfit("no-place", f"{file}: its {tag} {tags.get(tag)} isn't {count} numbers")
    return numbers


def _decoded(content, file):
    """The stored values, (rows, columns) or (frames, rows, columns)."""
    if "PixelData" not in content:
        raise Unfit("truncated", f"{file}: holds no pixels; it is cut off, or no image")
    meta = content.file_meta
    if "TransferSyntaxUID" not in meta:
        meta.TransferSyntaxUID = SYNTAXES[content.original_encoding]
    try:
        return content.pixel_array
    except Exception as error:  # by missing plugins, and by data that are cut off
        syntax = meta.TransferSyntaxUID
        if syntax.is_compressed:
            raise Unfit(
                "compressed",
                f"{file}: is compressed ({syntax.name}) and can't be decoded here; pip install "
                "python-gdcm, or decompress it "
                f"first with gdcmconv --raw ({str(error).splitlines()[0].rstrip(':')})",
            ) from error
        raise Unfit(
            "truncated", f"{file}: its pixels can't be read, so it is damaged or cut off ({error})"
        ) from error


def _attributes(content, k):
    """The tags of frame k: of a multi-frame file its shared and its frame's functional groups in
    one flat data set.
    """
    if SETS[1] not in content:
        return content
    flat = pydicom.Dataset()
    for groups in (*content.get(SETS[0], ())[:1], content[SETS[1]][k]):
        for element in groups:
            if element.VR == "SQ" and element.value:
                flat.update(element.value[0])
    return flat


def to_hu(stored, tags, content, file, counts):
    """Hounsfield units int16 of stored values; padding becomes air. Values beyond int16 stop at its
    ends.
    """
    kind = str(tags.get("RescaleType") or "HU")
    if kind not in ("HU", "HU_MOD", "US"):
        raise Unfit("no-numbers", f"{file}: its values are {kind}, not Hounsfield units")
    counts["rescale-missing"] += "RescaleIntercept" not in tags
    slope, intercept = float(tags.get("RescaleSlope", 1)), float(tags.get("RescaleIntercept", 0))
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise Unfit("no-numbers",
                    f"{file}: has a rescale slope of {slope} and an intercept of {intercept}")
    exact = slope == 1 and intercept.is_integer()
    hu = stored.astype(np.int32) + int(intercept) if exact else np.rint(stored * slope + intercept)
    hu = np.clip(hu, -32768, 32767).astype(np.int16)
    if content.get("PixelPaddingValue") is not None:
        limits = (content.PixelPaddingValue,
                  content.get("PixelPaddingRangeLimit", content.PixelPaddingValue))
        low, high = sorted(_signed(value, content) for value in limits)
        outside = (stored >= low) & (stored <= high)
        if any(TISSUE_HU[0] < limit * slope + intercept < TISSUE_HU[1] for limit in (low, high)):
            counts["padding-kept"] += int(np.count_nonzero(outside))
        else:
            counts["padding"] += int(np.count_nonzero(outside & (hu != AIR_HU)))
            hu[outside] = AIR_HU
    return hu


def _signed(value, content):
    """A padding value in the type of the pixels: some writers store -2000 as 63536."""
    value = int(value)
    return value - 65536 if content.PixelRepresentation == 1 and value > 32767 else value


def _value_notes(counts):
    texts = {
        "padding": f"{{:,}} voxels became {AIR_HU} HU",
        "padding-kept": f"{{:,}} voxels between {TISSUE_HU[0]} and {TISSUE_HU[1]} HU",
        "rescale-missing": "in {} slices",
    }
    return [(code, texts[code].format(count)) for code, count in counts.items() if count]
