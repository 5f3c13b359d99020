"""Reads a DICOM series into a Volume: pixels decoded, values in HU, slices put in order by their position."""

import numpy as np

from helpers import ct, planes, series

AIR_HU = -1024  # for pixels that the scanner marks as outside of its circle
TISSUE_HU = (-900, 3000)  # a padding value in here may be tissue, so it is left alone
SETS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def read(first):
    """Read the series that the file `first` belongs to, in its folder, into a Volume.

    returns   ct.Volume; `notes` says what was dropped or changed on the way, and whether the slices are evenly spaced.
    Raises ValueError, naming the file, for slices that can't be decoded, don't fit together, contradict each other at
    one place, or were scanned with a tilted gantry.
    """
    files, broken = series.files_of(first)
    notes = [("slices-unreadable", ", ".join(p.name for p in broken[:3]) + planes.more(broken))] if broken else []
    seen = {}
    stack = [plane for file in files for plane in read_planes(file, seen)]
    planes.check_alike(stack)
    stack, copies = planes.without_copies(planes.sort(stack))
    if copies:
        pairs = [f"{copy.file.name} is {kept.file.name}" for kept, copy in copies[:3]]
        notes.append(("slices-duplicate", ", ".join(pairs) + planes.more(copies)))
    step, uneven = planes.step_between(stack)
    notes += ([("slices-uneven", uneven)] if uneven else []) + _value_notes(seen)
    affine = planes.affine_of(stack[0], step)
    if not ct.usable(affine):
        raise ValueError(f"{first}: its geometry is singular or absurd, so no voxel has a place; rows are {affine[:3].tolist()}")
    array = np.stack([plane.hu for plane in stack]).transpose(2, 1, 0)  # (column, row, slice), as a NIfTI file would hold it
    del stack, copies  # before the next copy is made
    volume = ct.from_array(array, affine, first)
    volume.notes = tuple(notes)
    return volume


def read_planes(file, seen):
    """The slices of one file, a Plane each; `seen` counts what happened to the values, by code."""
    import pydicom

    try:
        content = pydicom.dcmread(file, force=True)
    except Exception as error:  # pydicom raises many types for a file that is cut off
        raise ValueError(f"{file}: is damaged, or no DICOM file ({error})") from error
    if int(content.get("SamplesPerPixel", 1)) != 1:
        raise ValueError(f"{file}: is a colour picture, not a slice of a CT")
    pixels = _decoded(content, file)
    for k, stored in enumerate(pixels if pixels.ndim == 3 else pixels[None]):
        own = _attributes(content, k)
        missing = [tag for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing") if not own.get(tag)]
        if missing:
            raise ValueError(f"{file}: lacks {', '.join(missing)}, so its slice has no place; export the original series")
        position, spacing_mm = _numbers(own, "ImagePositionPatient", 3, file), _numbers(own, "PixelSpacing", 2, file)
        row, column = _numbers(own, "ImageOrientationPatient", 6, file).reshape(2, 3)
        if np.abs([row @ row - 1, column @ column - 1, row @ column]).max() > 0.01:
            given = [*row.tolist(), *column.tolist()]
            raise ValueError(f"{file}: its ImageOrientationPatient {given} holds no two directions at a right angle")
        if min(spacing_mm) <= 0:
            raise ValueError(f"{file}: has PixelSpacing {spacing_mm.tolist()}")
        thickness_mm = own.get("SpacingBetweenSlices") or own.get("SliceThickness") or 0
        hu, acquisition = to_hu(stored, own, content, file, seen), str(content.get("AcquisitionNumber") or "")
        yield planes.Plane(file, hu, position, row, column, tuple(spacing_mm.tolist()), float(thickness_mm), acquisition)


def _numbers(own, tag, count, file):
    """The numbers of a tag as float64; raises ValueError, naming the file, unless there are so many finite ones."""
    try:
        found = np.array([float(v) for v in own[tag].value])
    except (TypeError, ValueError):
        found = np.empty(0)
    if len(found) != count or not np.isfinite(found).all():
        raise ValueError(f"{file}: its {tag} {own.get(tag)} isn't {count} numbers")
    return found


def _decoded(content, file):
    """The stored values, (rows, columns) or (frames, rows, columns)."""
    if "PixelData" not in content:
        raise ValueError(f"{file}: holds no pixels; it is cut off, or no image")
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
            raise ValueError(
                f"{file}: is compressed ({syntax.name}) and can't be decoded here; pip install python-gdcm, or decompress it "
                f"first with gdcmconv --raw ({error})"
            ) from error
        raise ValueError(f"{file}: its pixels can't be read, so it is damaged or cut off ({error})") from error


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
        raise ValueError(f"{file}: its values are {kind}, not Hounsfield units")
    if "RescaleIntercept" not in own:
        seen["rescale-missing"] = seen.get("rescale-missing", 0) + 1
    slope, intercept = float(own.get("RescaleSlope", 1)), float(own.get("RescaleIntercept", 0))
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise ValueError(f"{file}: has a rescale slope of {slope} and an intercept of {intercept}")
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
