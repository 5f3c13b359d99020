"""Stored values of a DICOM slice as Hounsfield units."""

import re

import numpy as np
from pydicom.uid import RLELossless

from helpers.scans import planes, tags
from helpers.scans.findings import Unfit

AIR_HU = -1024  # for pixels that the scanner marks as outside of its circle
TISSUE_HU = (-900, 3000)  # a padding value in here may be tissue, so it is left alone


def to_hu(stored, frame, content, file, counts):
    """HU int16 of stored values; padding becomes air, values beyond int16 stop at its ends."""
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
    slope = tags.sound_number(frame, "RescaleSlope", file, 1.0, counts)
    intercept = tags.sound_number(frame, "RescaleIntercept", file, 0.0, counts)
    if slope == 0:
        raise Unfit("no-numbers", f"{file}: has a rescale slope of {slope} (RescaleSlope)")
    exact, used = slope == 1 and intercept.is_integer(), _used_bits(stored, content)
    hu = used.astype(np.int32) + int(intercept) if exact else np.rint(used * slope + intercept)
    hu = np.clip(hu, -32768, 32767).astype(np.int16)
    if tags.texts(content, "PixelPaddingValue"):
        value = tags.sound_number(content, "PixelPaddingValue", file, 0, counts)
        limits = value, tags.sound_number(content, "PixelPaddingRangeLimit", file, value, counts)
        low, high = sorted(_as_stored(limit, stored.dtype) for limit in limits)
        outside = (stored >= low) & (stored <= high)
        if any(TISSUE_HU[0] < limit * slope + intercept < TISSUE_HU[1] for limit in (low, high)):
            counts["padding-kept"] += int(np.count_nonzero(outside))
        else:
            counts["padding"] += int(np.count_nonzero(outside & (hu != AIR_HU)))
            hu[outside] = AIR_HU
    return hu


def _used_bits(stored, content):
    """Stored values without the bits above BitsStored; compressed ones have none."""
    syntax, unused = content.file_meta.TransferSyntaxUID, 8 * stored.itemsize - content.BitsStored
    plain = not syntax.is_compressed or syntax == RLELossless
    return stored << unused >> unused if plain and unused > 0 else stored


def _as_stored(value, dtype):
    """A padding value in the type of the pixels: -2000 and 63536 are the same 16 bits."""
    limits, value = np.iinfo(dtype), int(value)
    if limits.min <= value <= limits.max:
        return value
    return value + (2**limits.bits if value < 0 else -(2**limits.bits))


def value_notes(counts, slices):
    """Findings by counts in so many slices; Unfit where only some have a rescale intercept."""
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
