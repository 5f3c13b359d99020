"""What a folder of scans holds: which files are scans, which masks belong to them, and how to read each case."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import ct, paths
from helpers.findings import Unfit

STAND_IN_SPACING = (3.0, 0.75, 0.75)  # mm (z, y, x) for 2-D slices, which carry none
NIFTI = (".nii", ".nii.gz")
PICTURES = (".jpg", ".jpeg", ".png")
SLICE = re.compile(r"(?P<volume>.+?)_slice_(?P<z>\d+)$")


@dataclass(frozen=True)
class Case:
    """One scan as found on disk. `image` is a NIfTI file, or the first picture of a stack; `mask` likewise or None."""

    name: str
    layout: str
    image: Path
    mask: Path | None


def _stem(path):
    return re.sub(r"\.(nii\.gz|nii|jpe?g|png)$", "", path.name, flags=re.IGNORECASE)


def _natural(path):
    return [int(t) if t.isdecimal() else t for t in re.split(r"(\d+)", path.as_posix())]


def _files(folder, endings):
    """Files below the folder, linked folders included, in natural order; hidden ones are left out."""
    found, visited = [], set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in visited else [f for f in folders if not f.startswith(".")]
        if real not in visited:
            found += [Path(here, n) for n in names if n.lower().endswith(endings) and not n.startswith(".")]
        visited.add(real)
    return sorted(found, key=_natural)


def scan(folder):
    """Recognise the cases below a folder.

    Layouts: "LiTS pairs" (volume-N, segmentation-N, in one folder or several), "MSD" (imagesTr, labelsTr),
    "2-D slices" (images/volume-V_slice_Z.jpg with masks/ of the same names), "scans without labels".

    returns   list of Case in natural order of their names.
    Raises FileNotFoundError for a missing folder, ValueError for one without any scan.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give the folder that holds the scans")
    nifti, pictures = _files(folder, NIFTI), _files(folder, PICTURES)
    others = [p for p in nifti if p.parent.name not in ("imagesTr", "labelsTr", "imagesTs")]
    cases = _slices(pictures) + _msd(nifti) + _lits(others)
    if not cases:
        raise ValueError(
            f"{folder}: no scans found; expected volume-N.nii(.gz), imagesTr/*.nii.gz, images/volume-V_slice_Z.jpg "
            f"or any other .nii(.gz) below it (there are {len(nifti)} NIfTI files and {len(pictures)} pictures)"
        )
    return _named_once(cases, folder)


def _lits(nifti):
    masks = {}
    for path in nifti:
        if _stem(path).startswith("segmentation-"):
            masks.setdefault(_stem(path).removeprefix("segmentation-"), []).append(path)
    cases = []
    for path in nifti:
        stem, used = _stem(path), None
        if stem.startswith("segmentation-"):
            continue
        if stem.startswith("volume-") and masks.get(number := stem.removeprefix("volume-")):
            used = max(masks[number], key=lambda mask: len(os.path.commonpath([mask, path])))  # the nearest, if several
            masks[number].remove(used)
        cases.append(Case(stem, "LiTS pairs" if used else "scans without labels", path, used))
    for mask in (mask for left in masks.values() for mask in left):  # its scan is missing: a case that says so
        image = mask.with_name(mask.name.replace("segmentation-", "volume-"))
        cases.append(Case(_stem(image), "LiTS pairs", image, mask))
    return sorted(cases, key=lambda case: _natural(Path(case.name)))


def _msd(nifti):
    cases = []
    masks = {p for p in nifti if p.parent.name == "labelsTr"}
    for path in nifti:
        if path.parent.name in ("imagesTr", "imagesTs"):
            stem = re.sub(r"_0000$", "", _stem(path))  # nnU-Net numbers the channels of a scan
            beside = path.parent.parent / "labelsTr"
            mask = next((m for e in NIFTI[::-1] if (m := beside / (stem + e)) in masks), None)
            masks.discard(mask)
            cases.append(Case(stem, "MSD", path, mask))
    cases += [Case(_stem(mask), "MSD", mask.parent.parent / "imagesTr" / mask.name, mask) for mask in sorted(masks)]
    return sorted(cases, key=lambda case: _natural(Path(case.name)))


def _slices(pictures):
    stacks = {}
    for path in pictures:
        match = SLICE.fullmatch(_stem(path))
        if match and "mask" not in path.parent.name.lower():
            stacks.setdefault((path.parent, match["volume"]), []).append(path)  # in natural order: feet first
    return [
        Case(volume, "2-D slices", files[0], next((m for f in files if (m := _mask_of(f))), None))
        for (_, volume), files in stacks.items()
    ]


def _mask_of(picture):
    """The mask of a slice: the same name, any picture ending, in the folder `masks` beside `images`."""
    folder = picture.parent.parent / "masks"
    return next((m for e in (".png", ".jpg", ".jpeg") if (m := folder / (_stem(picture) + e)).is_file()), None)


def _named_once(cases, folder):
    """Names of letters, digits, '.', '_' and '-', each once: where two are alike, their folders go in front."""

    def plain(text):
        return re.sub(r"[^\w.-]+", "_", text)

    named = {}
    short = [plain(case.name) for case in cases]
    for case, name in zip(cases, short, strict=True):
        if short.count(name) > 1:
            name = plain("-".join(case.image.relative_to(folder).parent.parts + (name,)))
        if name in named:  # one folder, two endings
            name = plain(f"{name}-{case.image.name.removeprefix(_stem(case.image)).strip('.')}")
        while name in named:
            name += "-again"
        named[name] = Case(name, case.layout, case.image, case.mask)
    return list(named.values())


def slice_number(picture):
    return int(SLICE.fullmatch(_stem(picture))["z"])


def pictures_of(first):
    """All slices of the stack that `first` belongs to, feet first."""
    first = Path(first)
    volume = SLICE.fullmatch(_stem(first))["volume"]
    names = (n for n in os.listdir(first.parent) if n.startswith(volume) and n.lower().endswith(PICTURES))
    same = [p for n in names if (m := SLICE.fullmatch(_stem(p := first.parent / n))) and m["volume"] == volume]
    return sorted(same, key=lambda p: (slice_number(p), p.name))


def read_grey(path, channel=1):
    """One 2-D picture as uint8 (y, x); of a colour picture the channel 0 blue, 1 green or 2 red.

    Raises ValueError, naming the file, when it is no 8-bit picture.
    """
    import cv2

    if channel not in (0, 1, 2):
        raise ValueError(f"channel {channel}: 0 is blue, 1 green, 2 red")
    path = Path(path)
    data = np.fromfile(path, dtype=np.uint8) if path.is_file() else np.zeros(0, np.uint8)
    end = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}.get(data[:2].tobytes())
    if end and end not in data[-4096:].tobytes():
        raise ValueError(f"{path}: the picture is cut off; copy or download it again")  # OpenCV would fill up with grey
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None  # imread fails on non-ASCII names on Windows
    if picture is None or picture.dtype != np.uint8:
        raise ValueError(f"{path}: can't be read as an 8-bit JPEG or PNG picture")
    return picture if picture.ndim == 2 else np.ascontiguousarray(picture[:, :, channel])


def stack(files, window, channel=1):
    """Stack 2-D pictures, feet first, into a Volume; grey 0 and 255 stand for the ends of `window` in HU.

    The spacing is STAND_IN_SPACING, because pictures carry none: millimetres are approximate.
    Raises ValueError when a picture can't be read or differs in shape from the first, or two carry one slice number.
    """
    low, high = window
    if not high > low:
        raise ValueError(f"window {window}: its high end must lie above its low end")
    for path, after in zip(files, files[1:], strict=False):
        if slice_number(path) == slice_number(after):
            raise ValueError(f"{after}: is the second picture of one slice, beside {path.name}; remove one")
    planes = [read_grey(path, channel) for path in files]
    for path, plane in zip(files, planes, strict=True):
        if plane.shape != planes[0].shape:
            raise ValueError(f"{path}: is {plane.shape}, the first slice of its scan {planes[0].shape}")
    hu = np.rint(np.stack(planes).astype(np.float32) * ((high - low) / 255) + low).astype(np.int16)
    dz, dy, dx = STAND_IN_SPACING
    affine = np.diag([-dx, -dy, dz, 1.0])  # voxel axes run to the patient's left, back and head
    return ct.Volume(hu, STAND_IN_SPACING, affine, hu.shape[::-1], "LPS", Path(files[0]))


def read_scan(image, window=(-40, 160), channel=1):
    """The Volume of a case, whichever layout it came in. `window` and `channel` matter for pictures only."""
    image = Path(image)
    if image.name.lower().endswith(PICTURES):
        return stack(pictures_of(image), window, channel)
    return ct.read(image)


def read_labels(mask, like):
    """The labels of a case as uint8 (z, y, x) on the grid of `like`, with the files' own values."""
    mask = Path(mask)
    if not mask.name.lower().endswith(PICTURES):
        return ct.read_mask(mask, like)
    planes = []
    for picture in pictures_of(like.path):
        own = _mask_of(picture)
        if own is None:
            raise ValueError(f"{picture}: has no mask of the same name in {picture.parent.parent / 'masks'}")
        plane = read_grey(own)
        if plane.shape != like.hu.shape[1:]:
            raise ValueError(f"{own}: is {plane.shape}, its slice {like.hu.shape[1:]}")
        planes.append(plane)
    return ct.turned_over(np.stack(planes), like.flip)


def standard_labels(labels):
    """Bring a file's label values to 0 background, 1 liver, 2 tumour.

    0/1/2 stay; 0/255 is a binary tumour mask; 0/127 or 128/255 is liver and tumour in grey.

    returns   (uint8 array of the same shape, the values found).
    Raises ValueError for any other set of values.
    """
    counts = sum(np.bincount(plane.ravel(), minlength=256) for plane in labels)  # by plane: bincount makes int64 of all it gets
    found = np.flatnonzero(counts).tolist()
    if max(found) <= 2:
        return labels, found
    table = {frozenset({0, 255}): (255,), frozenset({255}): (255,)}
    for grey in (127, 128):
        table[frozenset({0, grey, 255})] = (grey, 255)
        table[frozenset({0, grey})] = (grey, 255)
    values = table.get(frozenset(found))
    if values is None:
        raise Unfit("labels-unexpected", f"the mask holds the values {found[:8]}; labels are 0 background, 1 liver, 2 tumour")
    out = np.zeros_like(labels)
    for label, value in zip((1, 2)[-len(values) :], values, strict=True):
        out[labels == value] = label
    return out, found


def read_row_scan(row):
    """The Volume of one row of cases.csv, turned over where its column `flip` says so.

    row   a pandas Series, a tuple of `itertuples`, or a dict.
    """
    row = row._asdict() if hasattr(row, "_asdict") else row  # by key: `.mask` of a Series is a method of pandas
    volume = read_scan(paths.found(row["image"]), (row["window_low"], row["window_high"]), int(row["channel"]))
    return ct.flipped(volume, row.get("flip", "") or "")


def read_row(row):
    """(Volume, labels or None) of one row of cases.csv, labels brought to 0 background, 1 liver, 2 tumour.

    row   as in `read_row_scan`; its column `mask_flip` turns the labels over once more.
    """
    row = row._asdict() if hasattr(row, "_asdict") else row
    volume, mask = read_row_scan(row), row["mask"]
    if not isinstance(mask, str) or not mask:
        return volume, None
    labels = ct.turned_over(read_labels(paths.found(mask), volume), row.get("mask_flip", "") or "")
    return volume, np.ascontiguousarray(standard_labels(labels)[0])
