"""What names of files and folders say: order, scan or mask, which mask is whose."""

import difflib
import fnmatch
import functools
import os
import re
import zlib
from collections import defaultdict
from pathlib import Path

from helpers.files import NO_TEXT

NIFTI = (".nii", ".nii.gz")
PICTURES = (".jpg", ".jpeg", ".png")
SCAN = {"volume", "volumes", "vol", "image", "images", "imaging", "img", "imgs", "ct", "cts",
        "scan", "scans"}
MASK = {"mask", "masks", "label", "labels", "labelled", "labeled", "seg", "segs", "segmentation",
        "segmentations"}
MASK |= {"annotation", "annotations", "gt"}


def is_picture(path):
    """True when the ending is that of a 2-D picture."""
    return path.name.lower().endswith(PICTURES)


def stem(path):
    """The name without its ending: "scan" for scan.nii.gz."""
    return re.sub(r"\.(nii\.gz|nii|jpe?g|png)$", "", path.name, flags=re.IGNORECASE)


def shortened(name, most=120):
    """A name of at most so many bytes, "_" for what is no text; a longer one ends in a checksum.

    File systems allow 255, and the files of a case carry more than its name.
    """
    name = NO_TEXT.sub("_", name)
    if len(name.encode()) <= most:
        return name
    kept = name.encode()[: most - 9].decode(errors="ignore")
    return f"{kept}-{zlib.crc32(name.encode()):08x}"


def natural(path):
    """A key that sorts volume-2 before volume-10."""
    return [int(t) if t.isdecimal() else t for t in re.split(r"(\d+)", path.as_posix())]


def words(text):
    """The words of a name in small letters: "train_imagesTr" gives train, images, tr."""
    apart = re.sub(r"(images|labels)(tr|ts)$", r"\1-\2", text.lower())
    return [w for word in re.split(r"[\s._-]+", apart) for w in _numbered(word) if w]


def _numbered(word):
    """A word, or two where a number follows one for scan or mask without a sign between."""
    match = re.fullmatch(r"([a-z]+)(\d+)", word)
    return match.groups() if match and match[1] in SCAN | MASK else (word,)


def says_mask(text):
    """True when a name holds a word for masks, or one that ends in mask ("livermask")."""
    return any(word in MASK or word.endswith(("mask", "masks")) for word in words(text))


def says_scan(text):
    """True when a name holds a word for scans."""
    return not SCAN.isdisjoint(words(text))


def holds_mask(path, root):
    """True when the file's name says mask, or the nearest folder below `root` that says either."""
    if says_mask(stem(path)):
        return True
    for folder in reversed(path.relative_to(root).parts[:-1]):
        scan, mask = says_scan(folder), says_mask(folder)
        if scan != mask:
            return mask
    return False


def place(*parts):
    """Where something lies without the words for scan and mask: both of a pair in one place.

    place("images", "a", "ct_7") and place("masks", "a", "7-seg") are both ("a", "7").
    """
    kept = ("-".join(word for word in words(text) if word not in SCAN | MASK) for text in parts)
    return tuple(text for text in kept if text)


def lits_number(text):
    """What follows "volume-" or "segmentation-" in a name; None for other names."""
    match = re.match(r"(?:volume|segmentation)[-_](.+)", text, flags=re.IGNORECASE)
    return match and match[1].lower()


def keys(path, root):
    """What a scan and its mask share: the place below `root`, the number of a LiTS name."""
    # nnU-Net numbers the channels
    shared = {place(*path.relative_to(root).parts[:-1], re.sub(r"_0000$", "", stem(path)))}
    return shared | {("LiTS", number)} if (number := lits_number(stem(path))) else shared


def match(scans, masks):
    """Which mask is whose: those that share a key, nearest folders first, each mask once.

    scans, masks   dict path -> set of keys.
    returns        dict scan -> mask.
    """
    having = defaultdict(list)
    for mask, its_keys in masks.items():
        for key in its_keys:
            having[key].append(mask)
    pairs = ((scan, mask) for scan, its_keys in scans.items() for key in its_keys
             for mask in having[key])
    partner, taken = {}, set()
    # a stable sort: ties keep their order
    for scan, mask in sorted(pairs, key=lambda pair: _steps_between(*pair)):
        if scan not in partner and mask not in taken:
            partner[scan] = mask
            taken.add(mask)
    return partner


def _steps_between(one, other):
    """How many folders lie between two files: 0 in one folder, 2 in neighbours."""
    common = Path(os.path.commonpath([one.parent, other.parent])).parts
    return len(one.parent.parts) + len(other.parent.parts) - 2 * len(common)


def likeliest(name, cases):
    """The case of a list that a name means: 007 for 7, liver_3 for livre_3.nii; None for none."""
    def numbers(text):
        return [word for word in _plain(text) if isinstance(word, int)]

    same = [case for case in cases if _plain(case) == _plain(name)]
    alike = [case for case in cases if numbers(case) == numbers(name)]
    return next(iter(same or difflib.get_close_matches(name, alike, 1, cutoff=0.75)), None)


@functools.cache
def _plain(name):
    """Words and numbers of a name, without ending, folders, capitals, words for scan or mask."""
    file = re.split(r"[/\\]", name.casefold())[-1]
    text = re.sub(r"(\.(nii(\.gz)?|dcm|png|jpe?g|0))+$", "", file)
    parts = re.findall(r"\d+|[^\W\d_]+", text)
    return [int(word) if word.isdecimal() else word for word in parts if word not in SCAN | MASK]


def chosen(patterns, cases):
    """The set of those cases that a list asks for by name or pattern, in capitals or not.

    Raises ValueError for what fits no case, with the case that it is likely to mean.
    """
    fitting = {pattern: fnmatch.filter(map(str.casefold, cases), pattern.casefold())
               for pattern in patterns}
    if strange := [pattern for pattern, fits in fitting.items() if not fits]:
        meant = {pattern: likeliest(pattern, cases) for pattern in strange}
        shown = ", ".join(f"{pattern!r} (perhaps {case!r})" if case else repr(pattern)
                          for pattern, case in meant.items())
        there = ", ".join(sorted(cases)[:8]) + (" …" if len(cases) > 8 else "")
        raise ValueError(f"cases: none is called {shown}; there are {there}")
    wanted = set().union(*fitting.values())
    return {case for case in cases if case.casefold() in wanted}
