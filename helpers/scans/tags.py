"""Values of DICOM tags as they are written: what a writer got wrong is understood, or named."""

import functools
import re

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.tag import Tag

from helpers.scans.findings import Unfit

TEXT = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI", "UN"}
# those that give a slice its place, and of how many numbers each is
PLACE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d\d?)?", re.IGNORECASE)


def texts(tags, name):
    """The values of a tag as text, without the spaces around; an empty list where it is missing or
    empty.

    tags   a pydicom Dataset.
    name   the tag's keyword, "PixelSpacing" for example.
    Raises ValueError, naming the tag, for one of a type that can't be read.
    """
    (tag, usual), known = _known(name), tags.keys()  # `in tags` itself is slow
    if tag not in known:
        return []
    element = tags.get_item(tag)
    value = element.value
    if isinstance(value, bytes):  # not looked at by pydicom yet
        if (element.VR or usual) not in TEXT:
            try:
                value = tags[tag].value
            except Exception as error:  # pydicom raises many types for a type that isn't one
                raise ValueError(f"its {name} can't be read ({error})") from error
        else:
            value = value.decode("latin-1").split("\\")
    if value is None:
        return []
    values = [value] if isinstance(value, str) or not np.iterable(value) else value
    values = [str(v).strip(" \0\r\n\t") for v in values]
    return values if any(values) else []


@functools.cache
def _known(name):
    """(tag, the type that the standard gives it) of a keyword."""
    tag = Tag(tag_for_keyword(name))
    return tag, dictionary_VR(tag)


def text(tags, name):
    """The values of a tag in one text; "" where it is missing or empty."""
    return "\\".join(texts(tags, name))


def numbers(tags, name, odd=None):
    """The values of a tag as float64 (n,), none where it is missing or empty.

    odd   a set to which what was written in another way than the standard's is added, in words.
    Raises ValueError, naming the tag, for what isn't a number, or may be two.
    """
    written = texts(tags, name)
    values = [re.sub(r"\s*mm$", "", value) for value in written]
    if not all(NUMBER.fullmatch(value) for value in values):
        raise ValueError(f"its {name} {text(tags, name)} isn't {len(values)} numbers")
    if odd is not None and (values != written or any("," in value for value in values)):
        odd.add(f"{name} with {'a unit' if values != written else 'decimal commas'}")
    return np.array([float(value.replace(",", ".")) for value in values])


def sound_numbers(frame, tag, file, counts):
    """`numbers` of a slice's file; what was written oddly is counted in `counts`.

    Raises Unfit, naming the file, for what isn't a number, and for another count than PLACE's.
    """
    odd, count = set(), PLACE.get(tag, 1)
    try:
        values = numbers(frame, tag, odd)
    except ValueError as error:
        raise Unfit(_code_of(tag), f"{file}: {error}") from error
    if len(values) not in (0, count):
        raise Unfit(_code_of(tag), f"{file}: its {tag} {text(frame, tag)} isn't {count} numbers")
    counts.update(("tags-odd", words) for words in odd)
    return values


def sound_number(frame, tag, file, default, counts):
    """The one number of a tag, `default` where it is missing or empty."""
    values = sound_numbers(frame, tag, file, counts)
    return float(values[0]) if values.size else default


def _code_of(tag):
    return "no-numbers" if tag.startswith(("Rescale", "Pixel")) and tag != "PixelSpacing" else (
        "no-place")
