"""Reads a DICOM series into a Volume: pixels decoded, values in HU, slices put in order by their
position.
"""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import RLELossless

from helpers.scans import acquisitions, affines, planes, series, tags
from helpers.scans.findings import Unfit
from helpers.scans.folder import in_words
from helpers.scans.volume import volume_from_array

AIR_HU = -1024  # for pixels that the scanner marks as outside of its circle
TISSUE_HU = (-900, 3000)  # a padding value in here may be tissue, so it is left alone
PLACE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}  # numbers
SETS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
SYNTAXES = {  # (implicit, little endian) of a file without a preamble -> its transfer syntax
    (True, True): "1.2.840.10008.1.2", (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}


def read(first, acquisition=""):
    """Read the scan that the file `first` belongs to, in its folder, into a Volume.

    acquisition  name of the one that is read where a series holds several.
    returns   Volume; `notes` says what was left out or changed on the way, and whether the slices
              are evenly spaced.
    Raises Unfit, a ValueError that names the file, for slices that can't be decoded, don't fit
    together, contradict each other at one place, are several acquisitions, or were scanned with a
    tilted gantry.
    """
    files, left_out = series.files_of(first := Path(first))
    counts = Counter()
    stack = [plane for file in files for plane in read_planes(file, counts)]
    notes = _file_notes(stack, left_out) + _value_notes(counts, len(stack))
    stack, copies = planes.without_copies(planes.in_order(stack))
    stack = acquisitions.chosen(stack, acquisition)
    planes.check_alike(stack)
    planes.check_apart(stack)
    if copies:
        pairs = [f"{copy.file.name} is {kept.file.name}" for kept, copy in copies[:3]]
        notes.insert(0, ("slices-duplicate", ", ".join(pairs) + planes.more(copies)))
    step, uneven = planes.step_between(stack)
    affine = planes.affine_of(stack[0], step)
    affines.check_affine(affine, first)
    # (column, row, slice), as a NIfTI file would hold it
    array = np.stack([plane.hu for plane in stack]).transpose(2, 1, 0)
    sources = tuple((plane.file, plane.frame) for plane in stack)
    del stack, copies  # before the next copy is made
    return replace(volume_from_array(array, affine, first, [*uneven, *notes]), sources=sources)


def _file_notes(stack, left_out):
    """Findings about the files beside a scan that were left out, and whether its first slices are
    there.
    """
    notes = []
    for code, is_dicom in (("slices-unreadable", False), ("slices-left-out", True)):
        groups = {why: f for why, f in left_out.items() if why.startswith("DICOM") == is_dicom}
        if groups:
            notes.append((code, in_words(groups)))
    orders = sorted(int(order) for plane in stack
                    if (order := plane.marks.get("InstanceNumber", "")).isdecimal())
    numbered = len(orders) == len(stack) > 2 and np.all(np.diff(orders) == 1)
    if numbered and orders[0] > 1 and not left_out:
        notes.append(("begins-late", f"InstanceNumber runs from {orders[0]} to {orders[-1]}"))
    return notes


def read_planes(file, counts):
    """The slices of one file, a Plane each; `counts` counts what happened to the values, by
    code.
    """
    try:
        content = pydicom.dcmread(file, force=True)
    except Exception as error:  # pydicom raises many types for a file that is cut off
        raise Unfit("damaged", f"{file}: is damaged, or no DICOM file ({error})") from error
    try:
        return _planes(content, file, counts)
    except Unfit:
        raise
    except Exception as error:  # a tag of a type that isn't one, a sequence that holds none
        raise Unfit("damaged", f"{file}: {error}") from error


def _planes(content, file, counts):
    """The slices of one file's content."""
    if _number(content, "SamplesPerPixel", file, 1, counts) != 1:
        raise Unfit("no-numbers", f"{file}: is a colour picture, not a slice of a CT")
    if (kind := tags.text(content, "SOPClassUID")) not in ("", *series.CT):
        counts["tags-odd", f"SOPClassUID {kind} as CT Image Storage"] += 1
    pixels = _decoded(content, file)
    pixels = pixels if pixels.ndim == 3 else pixels[None]
    if len(pixels) > 1 and len(content.get(SETS[1]) or ()) != len(pixels):
        raise Unfit("no-place", f"{file}: its {len(pixels)} frames don't say where they lie, it "
                    f"lacks {SETS[1]}")
    frames = [_plane(stored, _attributes(content, k), content, file, counts)
              for k, stored in enumerate(pixels)]
    for k, frame in enumerate(frames):
        frame.frame = k
    if len(frames) > 1 and all(planes.in_one_place(frames[0], frame) for frame in frames):
        raise Unfit("no-place", f"{file}: its {len(frames)} frames all say that they lie in one "
                    "place (ImagePositionPatient)")
    return frames


def _plane(stored, frame, content, file, counts):
    """The Plane of stored values, from the tags of its frame. Raises Unfit where they give it no
    place.
    """
    position, directions, spacing_mm = (_numbers(frame, tag, file, counts) for tag in PLACE)
    if missing := [tag for tag, numbers in zip(PLACE, (position, directions, spacing_mm))
                   if not numbers.size]:
        raise Unfit("no-place", f"{file}: lacks {', '.join(missing)}, so its slice has no place")
    row, column = directions.reshape(2, 3)
    if np.abs([row @ row - 1, column @ column - 1, row @ column]).max() > 0.01:
        message = (f"its ImageOrientationPatient {[*row.tolist(), *column.tolist()]} holds no two "
                   "directions at a right angle")
        raise Unfit("no-place", f"{file}: {message}")
    if min(spacing_mm) <= 0:
        raise Unfit("spacing-absurd", f"{file}: has PixelSpacing {spacing_mm.tolist()}")
    try:  # only a single slice needs it
        thickness_mm = (_number(frame, "SpacingBetweenSlices", file, 0, counts)
                        or _number(frame, "SliceThickness", file, 0, counts))
    except Unfit:
        thickness_mm = 0.0
    hu = to_hu(stored, frame, content, file, counts)
    marks = {tag: text for source in ([content] if frame is content else [content, frame])
             for tag in acquisitions.TAGS if (text := tags.text(source, tag))}
    return planes.Plane(file, hu, position, row, column, tuple(spacing_mm.tolist()), thickness_mm,
                        marks)


def _numbers(frame, tag, file, counts):
    """The numbers of a tag as float64, none where it is missing or empty; raises Unfit, naming the
    file, for others than finite ones, or another count than PLACE's.
    """
    odd, count = set(), PLACE.get(tag, 1)
    try:
        numbers = tags.numbers(frame, tag, odd)
    except ValueError as error:
        raise Unfit(_code_of(tag), f"{file}: {error}") from error
    if len(numbers) not in (0, count):
        raise Unfit(_code_of(tag), f"{file}: its {tag} {tags.text(frame, tag)} isn't {count} "
                    "numbers")
    counts.update(("tags-odd", text) for text in odd)
    return numbers


def _number(frame, tag, file, default, counts):
    """The one number of a tag, `default` where it is missing or empty."""
    numbers = _numbers(frame, tag, file, counts)
    return float(numbers[0]) if numbers.size else default


def _code_of(tag):
    return "no-numbers" if tag.startswith(("Rescale", "Pixel")) and tag != "PixelSpacing" else (
        "no-place")


def _decoded(content, file):
    """The stored values, (rows, columns) or (frames, rows, columns)."""
    if "PixelData" not in content:
        raise Unfit("truncated", f"{file}: holds no pixels; it is cut off, or no image")
    meta = content.file_meta
    if "TransferSyntaxUID" not in meta:
        meta.TransferSyntaxUID = SYNTAXES[content.original_encoding]
    content.pixel_array_options(correct_unused_bits=False)  # `_used_bits` does, after the padding
    try:
        return content.pixel_array
    except Exception as error:  # by missing plugins, and by data that are cut off
        syntax = meta.TransferSyntaxUID
        if not syntax.is_transfer_syntax:
            raise Unfit("unreadable", f"{file}: its TransferSyntaxUID {syntax} is none that is "
                        "known, so how its pixels are packed isn't") from error
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
    if not content.get(SETS[1]):
        return content
    flat = pydicom.Dataset()
    for groups in (*(content.get(SETS[0]) or ())[:1], content[SETS[1]][k]):
        for element in groups:
            if element.VR == "SQ" and element.value:
                flat.update(element.value[0])
    return flat


def to_hu(stored, frame, content, file, counts):
    """Hounsfield units int16 of stored values; padding becomes air. Values beyond int16 stop at its
    ends.
    """
    kind = tags.text(frame, "RescaleType")
    if not re.fullmatch(r"(hu|hu_mod|us|hounsfield.*)?", kind.strip("[]() "), re.IGNORECASE):
        raise Unfit("no-numbers",
                    f"{file}: its values are {kind}, not Hounsfield units (RescaleType)")
    if kind not in ("", "HU", "HU_MOD", "US"):
        counts["tags-odd", f"RescaleType {kind!r} as HU"] += 1
    if "ModalityLUTSequence" in content:
        raise Unfit("no-numbers", f"{file}: its values go through a table (ModalityLUTSequence), "
                    "which isn't read")
    if not tags.texts(frame, "RescaleIntercept"):
        counts.update(["rescale-missing", ("lacks intercept", file)])
    if "RescaleSlope" in frame and not tags.texts(frame, "RescaleSlope"):
        counts["tags-odd", "an empty RescaleSlope as 1"] += 1
    slope = _number(frame, "RescaleSlope", file, 1.0, counts)
    intercept = _number(frame, "RescaleIntercept", file, 0.0, counts)
    if slope == 0:
        raise Unfit("no-numbers", f"{file}: has a rescale slope of {slope} (RescaleSlope)")
    exact, used = slope == 1 and intercept.is_integer(), _used_bits(stored, content)
    hu = used.astype(np.int32) + int(intercept) if exact else np.rint(used * slope + intercept)
    hu = np.clip(hu, -32768, 32767).astype(np.int16)
    if tags.texts(content, "PixelPaddingValue"):
        value = _number(content, "PixelPaddingValue", file, 0, counts)
        limits = value, _number(content, "PixelPaddingRangeLimit", file, value, counts)
        low, high = sorted(_as_stored(limit, stored.dtype) for limit in limits)
        outside = (stored >= low) & (stored <= high)
        if any(TISSUE_HU[0] < limit * slope + intercept < TISSUE_HU[1] for limit in (low, high)):
            counts["padding-kept"] += int(np.count_nonzero(outside))
        else:
            counts["padding"] += int(np.count_nonzero(outside & (hu != AIR_HU)))
            hu[outside] = AIR_HU
    return hu


def _used_bits(stored, content):
    """Stored values without the bits above BitsStored, which may hold anything; compressed ones
    have none.
    """
    syntax, unused = content.file_meta.TransferSyntaxUID, 8 * stored.itemsize - content.BitsStored
    plain = not syntax.is_compressed or syntax == RLELossless
    return stored << unused >> unused if plain and unused > 0 else stored


def _as_stored(value, dtype):
    """A padding value in the type of the pixels: -2000 and 63536 are the same 16 bits."""
    limits, value = np.iinfo(dtype), int(value)
    if limits.min <= value <= limits.max:
        return value
    return value + (2**limits.bits if value < 0 else -(2**limits.bits))


def _value_notes(counts, slices):
    """Findings about values, from their counts in so many slices. Raises Unfit where only some of
    them have a rescale intercept.
    """
    missing = [code[1] for code in counts if code[0] == "lacks intercept"]
    if 0 < counts["rescale-missing"] < slices:
        raise Unfit("slices-differ", f"{missing[0]}: lacks RescaleIntercept, which other slices of "
                    "it have, so its values mean something else")
    texts = {
        "padding": f"{{:,}} voxels became {AIR_HU} HU",
        "padding-kept": f"{{:,}} voxels between {TISSUE_HU[0]} and {TISSUE_HU[1]} HU",
        "rescale-missing": "in {} slices",
    }
    notes = [(code, texts[code].format(count)) for code, count in counts.items()
             if code in texts and count]
    odd = [f"{code[1]} in {count} slices" for code, count in counts.items()
           if code[0] == "tags-odd"]
    return notes + ([("tags-odd", ", ".join(odd[:3]) + planes.more(odd))] if odd else [])
