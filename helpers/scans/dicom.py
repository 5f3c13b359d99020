"""Reads a DICOM series into a Volume: pixels decoded, values in HU, slices in order."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom

from helpers.scans import acquisitions, affines, planes, series, tags
from helpers.scans.findings import Unfit
from helpers.scans.folder import in_words
from helpers.scans.hounsfield import to_hu, value_notes
from helpers.scans.volume import volume_from_array

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
    notes = _file_notes(stack, left_out) + value_notes(counts, len(stack))
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
    """Findings about files beside a scan that were left out, and about its first slices."""
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
    """The slices of one file, a Plane each; `counts` counts what happened to values, by code."""
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
    if tags.sound_number(content, "SamplesPerPixel", file, 1, counts) != 1:
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
    """The Plane of stored values, from its frame's tags; raises Unfit where it has no place."""
    place = {tag: tags.sound_numbers(frame, tag, file, counts) for tag in tags.PLACE}
    if missing := [tag for tag, numbers in place.items() if not numbers.size]:
        raise Unfit("no-place", f"{file}: lacks {', '.join(missing)}, so its slice has no place")
    position, directions, spacing_mm = place.values()
    row, column = directions.reshape(2, 3)
    if np.abs([row @ row - 1, column @ column - 1, row @ column]).max() > 0.01:
        message = (f"its ImageOrientationPatient {[*row.tolist(), *column.tolist()]} holds no two "
                   "directions at a right angle")
        raise Unfit("no-place", f"{file}: {message}")
    if min(spacing_mm) <= 0:
        raise Unfit("spacing-absurd", f"{file}: has PixelSpacing {spacing_mm.tolist()}")
    try:  # only a single slice needs it
        thickness_mm = (tags.sound_number(frame, "SpacingBetweenSlices", file, 0, counts)
                        or tags.sound_number(frame, "SliceThickness", file, 0, counts))
    except Unfit:
        thickness_mm = 0.0
    hu = to_hu(stored, frame, content, file, counts)
    marks = {tag: text for source in ([content] if frame is content else [content, frame])
             for tag in acquisitions.TAGS if (text := tags.text(source, tag))}
    return planes.Plane(file, hu, position, row, column, tuple(spacing_mm.tolist()), thickness_mm,
                        marks)


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
            why = str(error).splitlines()[0].rstrip(":")
            raise Unfit("compressed", f"{file}: is compressed ({syntax.name}) and can't be decoded "
                        "here; pip install python-gdcm, or decompress it first with gdcmconv --raw "
                        f"({why})") from error
        raise Unfit("truncated", f"{file}: its pixels can't be read, so it is damaged or cut off "
                    f"({error})") from error


def _attributes(content, k):
    """The tags of frame k; of a multi-frame file its shared and own ones in one data set."""
    if not content.get(SETS[1]):
        return content
    flat = pydicom.Dataset()
    for groups in (*(content.get(SETS[0]) or ())[:1], content[SETS[1]][k]):
        for element in groups:
            if element.VR == "SQ" and element.value:
                flat.update(element.value[0])
    return flat
