"""What voxels say for themselves: are they HU, how lies the patient, where is the liver?"""

import itertools

import numpy as np
from scipy.ndimage import binary_fill_holes

from helpers.scans.volume import HU_RANGE, body_floor

HISTOGRAM_STEP = 10  # HU
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
    """Rows of histograms.csv from counted values up to 1500 HU, without empty steps."""
    steps = counts[: 1500 - HU_RANGE[0]].reshape(-1, HISTOGRAM_STEP).sum(1)
    return [{"case": name, "region": region, "hu": int(HU_RANGE[0] + HISTOGRAM_STEP * i),
             "voxels": int(steps[i])} for i in np.flatnonzero(steps)]


def share(counts, low, high):
    """Share of the counted values from low to high HU, both included."""
    return float(counts[low - HU_RANGE[0] : high + 1 - HU_RANGE[0]].sum() / max(1, counts.sum()))


def intensities(volume, low, high, counts, pictures=False):
    """Findings about a scan's values: low and high are its extremes, counts as `counted` gives."""
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
    thin = tuple(slice(None, None, max(1, n // most))
                 for n, most in zip(volume.hu.shape, (64, 128, 128), strict=True))
    hu = volume.hu[thin]
    body = hu > body_floor(low)
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
    """The spine lies behind; bowel with contrast is as bright, so nearly all must lie ahead."""
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
    text = f"its middle is {off:.0%} of the body's width left of the body's"
    return ("liver-left", text) if off > 0.05 else None


def _lungs_below(hu, body, liver):
    if liver is None or not liver.any() or len(hu) < 8 or hu.min() > -700:
        return None
    lungs = np.array([(binary_fill_holes(plane) & (values < -500)).sum()
                      for plane, values in zip(body, hu, strict=True)])
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
    floor = body_floor(low)
    cut = {name: min(float((volume.hu.take(end, axis) > floor).mean()) for end in (0, -1))
           for axis, name in enumerate("zyx")}
    longest = max(cut, key=cut.get)
    if cut["z"] >= 0.02 or cut[longest] <= 0.15:
        return []
    text = f"the body ends within the scan along z and is cut off along {longest}"
    return [("axes-exchanged", text)]
