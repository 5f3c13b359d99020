"""What a folder of scans holds: which files are scans, which masks belong to them, and how to read each case."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import ct, paths

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


def _files(folder, endings):
    return sorted(
        (p for p in folder.rglob("*") if p.name.lower().endswith(endings) and not p.name.startswith(".")),
        key=lambda p: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", p.as_posix())],
    )


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
    return _named_once(cases)


def _lits(nifti):
    masks = {_stem(p)[len("segmentation-") :]: p for p in nifti if _stem(p).startswith("segmentation-")}
    cases = []
    for path in nifti:
        stem = _stem(path)
        if stem.startswith("segmentation-"):
            continue
        mask = masks.get(stem.removeprefix("volume-")) if stem.startswith("volume-") else None
        cases.append(Case(stem, "LiTS pairs" if mask else "scans without labels", path, mask))
    return cases


def _msd(nifti):
    cases = []
    for path in nifti:
        if path.parent.name in ("imagesTr", "imagesTs"):
            mask = path.parent.parent / "labelsTr" / path.name
            cases.append(Case(_stem(path), "MSD", path, mask if mask.is_file() else None))
    return cases


def _slices(pictures):
    first = {}
    for path in pictures:
        match = SLICE.fullmatch(_stem(path))
        if match and "mask" not in path.parent.name.lower():
            first.setdefault((path.parent, match["volume"]), path)  # the list is in natural order: feet first
    cases = []
    for (_, volume), path in first.items():
        mask = _mask_of(path)
        cases.append(Case(volume, "2-D slices", path, mask))
    return cases


def _mask_of(picture):
    """The mask of a slice: the same name, any picture ending, in the folder `masks` beside `images`."""
    folder = picture.parent.parent / "masks"
    return next((m for e in (".png", ".jpg", ".jpeg") if (m := folder / (_stem(picture) + e)).is_file()), None)


def _named_once(cases):
    """Two folders can hold the same name: then the folder's name goes in front."""
    names = [case.name for case in cases]
    out = []
    for case in cases:
        name = case.name if names.count(case.name) == 1 else f"{case.image.parent.name}-{case.name}"
        out.append(Case(re.sub(r"[^\w.-]+", "_", name), case.layout, case.image, case.mask))
    if len({case.name for case in out}) < len(out):
        raise ValueError(f"several scans are called {max(names, key=names.count)!r} in folders of one name; rename a folder")
    return out


def pictures_of(first):
    """All slices of the stack that `first` belongs to, feet first."""
    first = Path(first)
    volume = SLICE.fullmatch(_stem(first))["volume"]
    same = [p for p in first.parent.iterdir() if (m := SLICE.fullmatch(_stem(p))) and m["volume"] == volume]
    return sorted(same, key=lambda p: int(SLICE.fullmatch(_stem(p))["z"]))


def read_grey(path, channel=1):
    """One 2-D picture as uint8 (y, x); of a colour picture the channel 0 blue, 1 green or 2 red.

    Raises ValueError, naming the file, when it is no 8-bit picture.
    """
    import cv2

    path = Path(path)
    data = np.fromfile(path, dtype=np.uint8) if path.is_file() else np.zeros(0, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None  # imread fails on non-ASCII names on Windows
    if picture is None or picture.dtype != np.uint8:
        raise ValueError(f"{path}: can't be read as an 8-bit JPEG or PNG picture")
    return picture if picture.ndim == 2 else np.ascontiguousarray(picture[:, :, min(channel, picture.shape[2] - 1)])


def stack(files, window, channel=1):
    """Stack 2-D pictures, feet first, into a Volume; grey 0 and 255 stand for the ends of `window` in HU.

    The spacing is STAND_IN_SPACING, because pictures carry none: millimetres are approximate.
    Raises ValueError when a picture can't be read or differs in shape from the first.
    """
    low, high = window
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
    return np.stack(planes)


def standard_labels(labels):
    """Bring a file's label values to 0 background, 1 liver, 2 tumour.

    0/1/2 stay; 0/255 is a binary tumour mask; 0/127 or 128/255 is liver and tumour in grey.

    returns   (uint8 array of the same shape, the values found).
    Raises ValueError for any other set of values.
    """
    found = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist()
    if max(found) <= 2:
        return labels, found
    table = {frozenset({0, 255}): (255,), frozenset({255}): (255,)}
    for grey in (127, 128):
        table[frozenset({0, grey, 255})] = (grey, 255)
        table[frozenset({0, grey})] = (grey, 255)
    values = table.get(frozenset(found))
    if values is None:
        raise ValueError(f"the mask holds the values {found[:8]}; labels are 0 background, 1 liver, 2 tumour")
    out = np.zeros_like(labels)
    for label, value in zip((1, 2)[-len(values) :], values, strict=True):
        out[labels == value] = label
    return out, found


def read_row(row):
    """(Volume, labels or None) of one row of cases.csv, labels brought to 0 background, 1 liver, 2 tumour."""
    volume = read_scan(paths.found(row.image), (row.window_low, row.window_high), int(row.channel))
    if not isinstance(row.mask, str) or not row.mask:
        return volume, None
    return volume, standard_labels(read_labels(paths.found(row.mask), volume))[0]
