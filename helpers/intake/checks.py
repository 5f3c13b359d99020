"""What the voxels say for themselves: whether they are Hounsfield units, which way up the patient
lies, where the liver is.
"""

import itertools

import cv2
import numpy as np
from scipy.ndimage import binary_fill_holes

from helpers.scans.volume import HU_RANGE, turned_over

HISTOGRAM_STEP = 10  # HU
FITS = 0.85  # share of a liver's voxels within 50 HU of their median: of such a mask no doubt arises
# "", "x", … "xyz"
FLIPS = tuple("".join(axes) for n in range(4) for axes in itertools.combinations("xyz", n))


def counted(hu):
    """How often each value of HU_RANGE occurs in an array of any shape: int64 (5101,)."""
    return np.bincount(hu.ravel(order="K").astype(np.intp) - HU_RANGE[0],
                       minlength=HU_RANGE[1] - HU_RANGE[0] + 1)


def median(counts):
    """The median of counted values, as numpy gives it; NaN for none."""
    if not counts.sum():
        return float("nan")
    total, below = int(counts.sum()), np.cumsum(counts)
    middle = np.searchsorted(below, [(total - 1) // 2 + 1, total // 2 + 1]) + HU_RANGE[0]
    return float(middle.mean())


def histogram(name, region, counts):
    """Rows of histograms.csv from counted values, up to 1500 HU in steps of 10; empty steps are
    left out.
    """
    steps = counts[: 1500 - HU_RANGE[0]].reshape(-1, HISTOGRAM_STEP).sum(1)
    return [
        {"case": name, "region": region, "hu": int(HU_RANGE[0] + HISTOGRAM_STEP * i),
         "voxels": int(steps[i])}
        for i in np.flatnonzero(steps)
    ]


def share(counts, low, high):
    """Share of the counted values from low to high HU, both included."""
    return float(counts[low - HU_RANGE[0] : high + 1 - HU_RANGE[0]].sum() / max(1, counts.sum()))


def intensities(volume, low, high, counts, pictures=False):
    """Findings about the values of a scan; low and high are its extremes, counts those of
    `counted`.
    """
    if low == high:
        return [("constant", f"every voxel is {low}")]
    findings = [] if pictures else _not_hu(low, high, counts)
    if volume.clipped:
        findings.append(("clipped",
                         f"{volume.clipped:,} voxels outside {HU_RANGE[0]} to {HU_RANGE[1]} HU"))
    return findings


def _not_hu(low, high, counts):
    """Why the values can't be Hounsfield units: a list of one finding, or of none."""
    ceiling, bright, tissue = (share(counts, *ends)
                               for ends in ((HU_RANGE[1],) * 2, (800, 1400), (-150, 250)))
    if low >= 0 and high <= 255 or high - low < 100:
        return [("not-hu", f"values from {low} to {high}")]
    if ceiling > 0.02:
        return [("not-hu", f"{ceiling:.0%} of the voxels are {HU_RANGE[1]} or more")]
    if bright > 0.1:  # cortical bone fills 1 % of an abdomen; water with an offset fills half of it
        middle = median(np.where(np.arange(HU_RANGE[0], HU_RANGE[1] + 1) < 800, 0, counts))
        text = (f"values from {low} to {high}, {bright:.0%} of them about {middle:.0f}; an offset "
                "of 1024 or 1000")
        return [("not-rescaled", text)]
    if tissue < 0.005:
        return [("not-rescaled", f"{tissue:.1%} of the voxels lie between -150 and 250 HU")]
    return []


def orientation(volume, low, high, labels=None):
    """Does the patient lie as the header says? Bone behind, the liver on the right, the lungs above
    it.

    labels   uint8 (z, y, x) or None.
    returns  (findings, axes to turn the scan over along, "" for none). Only clear contradictions
             are named: a scan that shows too little bone, lung or liver passes.
    """
    steps = tuple(
        max(1, n // most) for n, most in zip(volume.hu.shape, (64, 128, 128), strict=True)
    )
    thin = tuple(slice(None, None, step) for step in steps)
    hu = volume.hu[thin]
    body = hu > (-300 if low < -300 else low + 5)  # windowed values end at the window
    liver = labels[thin] >= 1 if labels is not None else None
    checks = {"x": _liver_on_left, "y": _bone_in_front, "z": _lungs_below} if body.any() else {}
    wrong = {axis: finding for axis, check in checks.items() if (finding := check(hu, body, liver))}
    return [wrong[axis] for axis in "yxz" if axis in wrong], "".join(wrong)


def _across(mask, axis):
    """Mean position of a mask's voxels along an axis, and the extent that holds 98 % of them."""
    counts = mask.sum(tuple(a for a in range(3) if a != axis))
    places, below = np.arange(len(counts)), np.cumsum(counts) / counts.sum()
    first, last = np.searchsorted(below, (0.01, 0.99))
    return float((counts * places).sum() / counts.sum()), float(last - first + 1)


def _bone_in_front(hu, body, liver):
    """The spine lies in the back half. Contrast in the bowel is as bright as bone, so all but a
    little must lie in front.
    """
    (x, width), (y, depth) = _across(body, 2), _across(body, 1)
    columns = slice(max(0, int(x - 0.15 * width)), int(x + 0.15 * width) + 1)
    bone = (hu[..., columns] > 300).sum((0, 2))
    if bone.sum() < 0.001 * body.sum():
        return None
    behind = float(bone[int(np.ceil(y)) :].sum() / bone.sum())
    ahead = float(y - (bone * np.arange(len(bone))).sum() / bone.sum()) / depth
    in_front = behind < 0.2 and ahead > 0.1
    return ("spine-front",
            f"{1 - behind:.0%} of the bone in the middle lies in front") if in_front else None


def _liver_on_left(hu, body, liver):
    if liver is None or not liver.any() or not body[shown := liver.any((1, 2))].any():
        return None
    x, width = _across(body[shown], 2)
    off = (_across(liver, 2)[0] - x) / width
    return (
        ("liver-left", f"its middle is {off:.0%} of the body's width left of the body's")
        if off > 0.05
        else None
    )


def _lungs_below(hu, body, liver):
    if liver is None or not liver.any() or len(hu) < 8 or hu.min() > -700:
        return None
    lungs = np.array(
        [(binary_fill_holes(b) & (h < -500)).sum() for b, h in zip(body, hu, strict=True)]
    )
    if lungs.sum() < 0.03 * body.sum():
        return None
    middle = _across(liver, 0)[0]
    above = float(lungs[int(np.ceil(middle)) :].sum() / lungs.sum())
    lower = middle - float((lungs * np.arange(len(lungs))).sum() / lungs.sum())
    below = above < 0.1 and lower > 0.1 * len(hu)
    return ("lungs-below", f"{1 - above:.0%} of the lungs lie below its middle") if below else None


def axes_exchanged(volume, low):
    """Does the body reach through the ends of another axis than z? Then the array was stored in
    another order than its affine says, such as (z, y, x) with the identity.

    low      the lowest HU.
    returns  findings.
    """
    if min(volume.hu.shape) < 8:
        return []
    floor = -300 if low < -300 else low + 5
    cut = {name: min(float((volume.hu.take(end, axis) > floor).mean()) for end in (0, -1))
           for axis, name in enumerate("zyx")}
    longest = max(cut, key=cut.get)
    if cut["z"] >= 0.02 or cut[longest] <= 0.15:
        return []
    return [("axes-exchanged", f"the body ends within the scan along z and is cut off along {longest}")]


def mask_against_turns(volume, labels, box):
    """Does the mask lie on one organ as it is, or only when it is turned?

    The share of voxels within 50 HU of their median is nearly 1 inside a liver (0.81 and more in 24
    scans of three hospitals), and less where a mask covers several organs; so the turn that makes it
    markedly higher, and at least 0.9, is the right one. All mirrored forms are tried, and exchanged
    axes where they have one length; only the former are proposed, because they can be asked for.

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
        words = [f"{exchanged} exchanged"] * bool(exchanged) + [f"turned over along {flip}"] * bool(flip)
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
    the outline. In 23 scans they were nowhere clearer by more than an eighth than in the mask's place.
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
    body = hu > (-300 if (low := int(hu.min())) < -300 else low + 5)
    share = float(liver.sum() / max(1, (body | liver).sum()))
    if share > 0.6:
        return [("liver-unlike", f"it fills {share:.0%} of the body in its slices; a liver fills a "
                 "fifth")]
    if liver.sum() / len(liver) * spacing_mm[1] * spacing_mm[2] < 300:  # mm² in a slice
        return []
    depth = np.stack([cv2.distanceTransform(np.uint8(plane), cv2.DIST_L2, 3) for plane in liver])
    deep = float((depth[liver] * min(spacing_mm[1:]) > 7).mean())
    return [("liver-unlike", f"{deep:.0%} of it lies deeper than 7 mm, as in vessels; of a liver most "
             "does")] if deep < 0.1 else []
