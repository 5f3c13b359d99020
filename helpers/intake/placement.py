"""Does a mask lie on the liver? Turned, moved, and of an extent that no liver has."""

import itertools

import cv2
import numpy as np

from helpers.intake.checks import FLIPS
from helpers.scans.volume import body_floor, turned_over

# share of a liver's voxels within 50 HU of their median: such a mask raises no doubt
FITS = 0.85


def mask_against_turns(volume, labels, box):
    """Does the mask lie on one organ as it is, or only when it is turned?

    The share of voxels within 50 HU of their median is nearly 1 inside a liver (0.81 and more in 24
    scans of three hospitals), and less where a mask covers several organs; so the turn that makes
    it markedly higher, and at least 0.9, is the right one. All mirrored forms are tried, and
    exchanged axes where they have one length; only the former can be asked for, so only they are
    proposed.

    labels   uint8 (z, y, x); box: the slices that hold all of them.
    returns  (findings, the mask's axes to turn over, "" for none, median HU under the mask as it
             is).
    """
    liver = labels[box] == 1 if (labels[box] == 1).any() else labels[box] >= 1
    flat = np.flatnonzero(liver)
    # thinned before it becomes places, which cost more than the rest together
    flat = flat[:: max(1, len(flat) // 20_000)]
    where = np.stack(np.unravel_index(flat, liver.shape), axis=1) + [edge.start for edge in box]
    near, middle = _near_median(volume.hu, where)
    if near >= FITS:
        return [], "", middle
    turns = {}
    for order in itertools.permutations(range(3)):
        turned = volume.hu.transpose(order)
        if turned.shape == volume.hu.shape and near < 0.8:
            for flip in FLIPS:
                turns[order, flip] = _near_median(turned_over(turned, flip), where)
    (order, flip), (best, best_middle) = max(turns.items(), key=lambda turn: turn[1][0],
                                             default=(((0, 1, 2), ""), (near, middle)))
    if best >= 0.9 and best > near + 0.15 and 0 <= best_middle <= 250:
        exchanged = " and ".join(axis for axis, k in zip("zyx", order) if axis != "zyx"[k])
        words = [f"{exchanged} exchanged"] * bool(exchanged)
        words += [f"turned over along {flip}"] * bool(flip)
        shares = f"{near:.0%} of its voxels, {best:.0%} when {' and '.join(words)}"
        code = "mask-turned" if exchanged else "mask-mirrored"
        text = f"within 50 HU of their median are {shares}"
        return [(code, text)], "" if exchanged else flip, middle
    moved = _better_place(volume, labels[box] >= 1, box)
    if moved or near < 0.65:
        return [("mask-misfit", moved or f"only {near:.0%} of its voxels are within 50 HU of their "
                 "median")], "", middle
    return [], "", middle


def _near_median(hu, where):
    values = hu[tuple(where.T)]
    middle = float(np.median(values))
    return float((np.abs(values - middle) <= 50).mean()), middle


def _better_place(volume, liver, box):
    """In words, where the mask's outline would lie on clearer edges; "" when nowhere within 40 mm.

    Edges are the mean difference between neighbours in a slice, of HU clipped to soft tissue, along
    the outline. In 23 scans they were nowhere clearer by more than an eighth than in the mask's
    place.
    """
    inside = np.pad(liver, ((0, 0), (1, 1), (1, 1)))
    inside = (inside[:, 2:, 1:-1] & inside[:, :-2, 1:-1] & inside[:, 1:-1, 2:]
              & inside[:, 1:-1, :-2])
    outline = np.argwhere(liver & ~inside) + [edge.start for edge in box]
    outline = outline[:: max(1, len(outline) // 4000)]
    room = np.array(volume.hu.shape) - (0, 1, 1)

    def clearness(shift):
        z, y, x = (places := outline + shift)[((places >= (0, 1, 1)) & (places < room)).all(1)].T
        if len(z) < 0.7 * len(outline):
            return 0.0
        along_y, along_x = (np.subtract(*(volume.hu[at].clip(-100, 200).astype(np.float32)
                                          for at in ends))
                            for ends in (((z, y + 1, x), (z, y - 1, x)),
                                         ((z, y, x + 1), (z, y, x - 1))))
        return float(np.hypot(along_y, along_x).mean())

    as_is, best = clearness((0, 0, 0)), np.zeros(3, int)
    for axis in (2, 1, 0, 2, 1, 0):
        steps = {round(mm / volume.spacing_mm[axis]) for mm in range(-40, 41, 4)}
        shifts = [np.where(np.arange(3) == axis, step, best) for step in sorted(steps)]
        best = max([best, *shifts], key=clearness)
    if as_is >= 0.87 * clearness(best):
        return ""
    way = zip("zyx", best, volume.spacing_mm, strict=True)
    far = ", ".join(f"{step * mm:+.0f} mm along {axis}" for axis, step, mm in way if step)
    return f"its outline lies on clearer edges when moved by {far}"


def liver_unlike(volume, liver, spacing_mm):
    """Findings about a liver that is none by its extent: as wide as the body, or thin as vessels.

    liver   bool (z, y, x); of the whole scan.
    """
    shown = np.flatnonzero(liver.any((1, 2)))
    shown = shown[:: max(1, len(shown) // 8)]
    hu, liver = volume.hu[shown], liver[shown]
    body = hu > body_floor(int(hu.min()))
    share = float(liver.sum() / max(1, (body | liver).sum()))
    if share > 0.6:
        return [("liver-unlike", f"it fills {share:.0%} of the body in its slices; a liver fills a "
                 "fifth")]
    if liver.sum() / len(liver) * spacing_mm[1] * spacing_mm[2] < 300:  # mm² in a slice
        return []
    depth = np.stack([cv2.distanceTransform(np.uint8(plane), cv2.DIST_L2, 3) for plane in liver])
    deep = float((depth[liver] * min(spacing_mm[1:]) > 7).mean())
    text = f"{deep:.0%} of it lies deeper than 7 mm, as in vessels; of a liver most does"
    return [("liver-unlike", text)] if deep < 0.1 else []
