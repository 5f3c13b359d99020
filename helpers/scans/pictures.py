"""Scans as 2-D pictures, a JPEG or PNG per slice: which belong together, and their volume."""

import itertools
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from helpers.files import written_whole
from helpers.scans import names, nifti
from helpers.scans.findings import Unfit
from helpers.scans.volume import HU_RANGE, in_our_axes

# for 2-D slices, which carry no spacing: between slices whose numbers grow by 1, and along the
# longer edge of a picture, whatever its pixels
STAND_IN_MM, FIELD_MM = 1.5, 384.0
FAT_HU = -100  # what a window cuts off at its dark end is fat or air
MOST_STEP = 4  # slices are taken to be no further apart than so many, whatever their numbers
NAME = re.compile(
    r"(?P<volume>.+?)_(?:(?P<word>slice|mask|livermask|lesionmask|tumou?rmask)_)?(?P<z>\d+)"
    r"(?:_(?P<end>mask|seg|label|livermask|lesionmask|tumou?rmask))?",
    flags=re.IGNORECASE,
)
BINARY = {"livermask": "liver", "lesionmask": "lesion", "tumourmask": "lesion",
          "tumormask": "lesion"}


@dataclass(frozen=True)
class Slice:
    """What a picture's name says: its scan, its number, and "scan", "mask", "liver", "lesion"."""

    volume: str
    z: int
    kind: str


def read_name(path):
    """The Slice that a picture's name tells of, or None.

    volume-3_slice_7 (also other words than volume-3) and volume-3_7 are scans;
    segmentation-3_slice_7, volume-3_slice_7_mask and volume-3_mask_7 are masks;
    volume-3_livermask_7 and segmentation-3_lesionmask_7 are binary ones.
    """
    match = NAME.fullmatch(names.stem(Path(path)))
    if not match:
        return None
    volume, word = match["volume"], (match["end"] or match["word"] or "").lower()
    if not word and not re.fullmatch(r"(volume|segmentation)-\d+", volume, flags=re.IGNORECASE):
        return None  # IMG_2031 is no slice
    kind = BINARY.get(word) or ("mask" if names.says_mask(f"{volume} {word}") else "scan")
    return Slice(re.sub(r"^segmentation-", "volume-", volume, flags=re.IGNORECASE), int(match["z"]),
                 kind)


def find(files, root):
    """Gather pictures into scans.

    files     paths below `root` in natural order.
    returns   (list of (name, first picture, first mask or None), pictures that belong to none).
    """
    stacks, masks, spare = defaultdict(list), defaultdict(list), []
    for path in files:
        named = read_name(path)
        if named is None:
            spare.append(path)
        elif named.kind != "scan" or names.holds_mask(path, root):
            masks[path.parent, named.volume].append(path)
        else:
            stacks[path.parent, named.volume].append(path)

    def keyed(groups):
        return {paths[0]: _keys(folder.relative_to(root), volume) for (folder, volume),
                paths in groups.items()}

    partner = names.match(keyed(stacks), keyed(masks))
    used = set(partner.values())
    spare += [path for paths in masks.values() if paths[0] not in used for path in paths]
    return [(volume, paths[0], partner.get(paths[0])) for (_, volume),
            paths in stacks.items()], spare


def _keys(folder, volume):
    number = names.lits_number(volume)
    return {("LiTS", number)} if number else {names.place(*folder.parts, volume)}


def pictures_of(first):
    """All pictures of the scan or mask of `first`, feet first; of two binary masks all of both."""
    first = Path(first)
    wanted = read_name(first)
    kinds = {"liver", "lesion"} if wanted.kind in ("liver", "lesion") else {wanted.kind}
    begins = tuple(f"{v.lower()}_"
                   for v in (wanted.volume, re.sub("^volume-", "segmentation-", wanted.volume)))
    beside = (n for n in os.listdir(first.parent) if n.lower().startswith(begins)
              and n.lower().endswith(names.PICTURES))
    slices = {first.parent / name: read_name(name) for name in beside}
    same = [path for path, named in slices.items() if named and named.volume == wanted.volume
            and named.kind in kinds]
    return sorted(same, key=lambda path: (slices[path].z, path.name))


def slice_number(picture):
    return read_name(picture).z


def read_grey(path, channel=1):
    """One 2-D picture as uint8 (y, x); of a colour picture the channel 0 blue, 1 green or 2 red.

    Raises Unfit, a ValueError that names the file, when it is no 8-bit picture.
    """
    if channel not in (0, 1, 2):
        raise ValueError(f"channel {channel}: 0 is blue, 1 green, 2 red")
    path = Path(path)
    data = np.frombuffer(nifti.read_bytes(path), np.uint8)
    end = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}.get(data[:2].tobytes())
    if end and end not in data[-4096:].tobytes():
        # OpenCV would fill up with grey
        raise Unfit("truncated", f"{path}: the picture is cut off; copy or download it again")
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)  # imread fails on non-ASCII names on Windows
    if picture is None:
        raise Unfit("unreadable",
                    f"{path}: can't be read as a JPEG or PNG picture; copy or convert it again")
    if picture.dtype != np.uint8:
        raise Unfit("no-numbers",
                    f"{path}: has {8 * picture.itemsize} bits; save it with 8, windowed, or as "
                    "NIfTI in HU")
    return picture if picture.ndim == 2 else np.ascontiguousarray(picture[:, :, channel])


def stack(files, window, channel=1):
    """Stack 2-D pictures, feet first, into a Volume; grey 0 and 255 stand for the ends of `window`
    in HU, but 0, where all that is darker ends, for fat.

    The spacing is a stand-in, STAND_IN_MM times the smallest step between slice numbers and
    FIELD_MM by the number of pixels, because pictures carry none: millimetres are approximate. So a
    scan of which every second slice was kept is as long as the whole scan. Slices whose numbers
    differ by more than twice the smallest step aren't neighbours: between them the Volume `breaks`.
    Raises Unfit when a picture can't be read or differs in shape from the first, or two carry one
    slice number.
    """
    low, high = window
    if not high > low:
        raise ValueError(f"window {window}: its high end must lie above its low end")
    # one needs no number
    steps = [slice_number(after) - slice_number(path) for path, after in itertools.pairwise(files)]
    for (path, after), step in zip(itertools.pairwise(files), steps, strict=True):
        if not step:
            raise Unfit("slices-differ", f"{after}: is the second picture of one slice, beside "
                        f"{path.name}; remove one")
    planes = [read_grey(path, channel) for path in files]
    for path, plane in zip(files, planes, strict=True):
        if plane.shape != planes[0].shape:
            raise Unfit("slices-differ",
                        f"{path}: is {plane.shape}, the first slice of its scan {planes[0].shape}")
    grey = np.stack(planes)
    hu = np.rint(grey.astype(np.float32) * ((high - low) / 255) + low)
    hu[grey == 0] = min(low, FAT_HU)
    hu = hu.clip(*HU_RANGE).astype(np.int16)
    step = min(*steps, MOST_STEP) if steps else 1
    breaks = [k for k, gap in enumerate(steps, start=1) if gap > 2 * step]
    edge_mm = FIELD_MM / max(hu.shape[1:])
    return in_our_axes(hu, (STAND_IN_MM * step, edge_mm, edge_mm), Path(files[0]), breaks)


def read_labels(mask, like):
    """The labels of a scan of pictures as uint8 (z, y, x), with the files' own values; binary masks
    become 1 and 2.

    mask   any mask picture of the scan; the others lie beside it.
    like   the Volume of the scan.
    Raises Unfit when a slice has no mask, or one of another shape.
    """
    mask = Path(mask)
    masks = defaultdict(dict)  # kind -> slice number -> picture
    # of two endings the lossless one
    for path in sorted(pictures_of(mask), key=lambda p: p.suffix.lower() == ".png"):
        masks[read_name(path).kind][slice_number(path)] = path
    slices = pictures_of(like.path)
    stacks = {kind: np.stack([_plane(path, of_z, mask, like) for path in slices])
              for kind, of_z in masks.items()}
    if not stacks.keys() & {"liver", "lesion"}:
        (labels,) = stacks.values()
        smeared = sorted(set(np.unique(labels)) - {0, 1, 2, 127, 128, 255})
        if smeared and mask.suffix.lower() != ".png":
            raise Unfit("labels-unexpected", f"{mask}: holds the values {smeared[:6]} …, because "
                        "JPEG smears labels; save masks as PNG")
        return labels
    labels = np.zeros(like.hu.shape, np.uint8)
    for kind, label in (("liver", 1), ("lesion", 2)):
        if kind in stacks:
            labels[_inside(stacks[kind], mask)] = label
    return labels


def _plane(picture, masks_of_z, mask, like):
    its_mask = masks_of_z.get(slice_number(picture))
    if its_mask is None:
        kind = "" if (kind := read_name(mask).kind) in ("scan", "mask") else f"{kind} "
        raise Unfit("mask-slices",
                    f"{picture}: has no {kind}mask of the same slice in {mask.parent}")
    plane = read_grey(its_mask)
    if plane.shape != like.hu.shape[1:]:
        raise Unfit("mask-shape", f"{its_mask}: is {plane.shape}, its slice {like.hu.shape[1:]}")
    return plane


def _inside(stack, mask):
    """Where a binary mask, 0/1 or 0/255, is set: half its height is the border, as JPEG smears."""
    high = int(stack.max())
    if mask.suffix.lower() == ".png" and not np.isin(stack, (0, high)).all() or 1 < high < 128:
        values = np.unique(stack)[:6].tolist()
        raise Unfit("labels-unexpected",
                    f"{mask}: holds the values {values}; a binary mask holds 0 and 1, or 0 and 255")
    return stack > high // 2 if high else stack > 0


def write_labels(labels, out):
    """Write labels (y, x) as grey PNG: 0 background, 127 liver, 255 tumour."""
    _, data = cv2.imencode(".png", np.array([0, 127, 255], np.uint8)[labels])
    with written_whole(out) as beside:
        data.tofile(beside)
