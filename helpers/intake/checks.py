"""What the voxels say for themselves: whether they are Hounsfield units, which way up the patient lies, where the liver is."""

import itertools

import numpy as np

from helpers.scans import affines, nifti, reading
from helpers.scans.labels import alignment, place_mask, standard_labels
from helpers.scans.volume import HU_RANGE, box_of, diameter_mm, turned_over, widened

HISTOGRAM_STEP = 10  # HU
FLIPS = tuple("".join(axes) for n in range(4) for axes in itertools.combinations("xyz", n))  # "", "x", … "xyz"


def counted(hu):
    """How often each value of HU_RANGE occurs in an array of any shape: int64 (5101,)."""
    return np.bincount(hu.ravel(order="K").astype(np.intp) - HU_RANGE[0], minlength=HU_RANGE[1] - HU_RANGE[0] + 1)


def median(counts):
    """The median of counted values, as numpy gives it; NaN for none."""
    if not counts.sum():
        return float("nan")
    total, below = int(counts.sum()), np.cumsum(counts)
    middle = np.searchsorted(below, [(total - 1) // 2 + 1, total // 2 + 1]) + HU_RANGE[0]
    return float(middle.mean())


def histogram(name, region, counts):
    """Rows of histograms.csv from counted values, up to 1500 HU in steps of 10; empty steps are left out."""
    steps = counts[: 1500 - HU_RANGE[0]].reshape(-1, HISTOGRAM_STEP).sum(1)
    return [
        {"case": name, "region": region, "hu": int(HU_RANGE[0] + HISTOGRAM_STEP * i), "voxels": int(steps[i])}
        for i in np.flatnonzero(steps)
    ]


def share(counts, low, high):
    """Share of the counted values from low to high HU, both included."""
    return float(counts[low - HU_RANGE[0] : high + 1 - HU_RANGE[0]].sum() / max(1, counts.sum()))


def intensities(volume, low, high, counts, pictures=False):
    """Findings about the values of a scan; low and high are its extremes, counts those of `counted`."""
    found = []
    if low == high:
        return [("constant", f"every voxel is {low}")]
    if not pictures:
        tissue, bright = share(counts, -150, 250), share(counts, 800, 1400)
        if low >= 0 and high <= 255 or high - low < 100:
            found.append(("not-hu", f"values from {low} to {high}"))
        elif share(counts, HU_RANGE[1], HU_RANGE[1]) > 0.02:
            found.append(("not-hu", f"{share(counts, HU_RANGE[1], HU_RANGE[1]):.0%} of the voxels are {HU_RANGE[1]} or more"))
        elif bright > 0.1:  # cortical bone fills 1 % of an abdomen; water with an offset fills half of it
            middle = median(np.where(np.arange(HU_RANGE[0], HU_RANGE[1] + 1) < 800, 0, counts))
            seen = f"values from {low} to {high}, {bright:.0%} of them about {middle:.0f}; an offset of 1024 or 1000"
            found.append(("not-rescaled", seen))
        elif tissue < 0.005:
            found.append(("not-rescaled", f"{tissue:.1%} of the voxels lie between -150 and 250 HU"))
    if volume.clipped:
        found.append(("clipped", f"{volume.clipped:,} voxels outside {HU_RANGE[0]} to {HU_RANGE[1]} HU"))
    return found


def orientation(volume, low, high, labels=None):
    """Does the patient lie as the header says? Bone behind, the liver on the right, the lungs above it.

    labels   uint8 (z, y, x) or None.
    returns  (findings, axes to turn the scan over along, "" for none). Only clear contradictions are named: a scan that
             shows too little bone, lung or liver passes.
    """
    steps = tuple(max(1, n // most) for n, most in zip(volume.hu.shape, (64, 128, 128), strict=True))
    thin = tuple(slice(None, None, step) for step in steps)
    hu = volume.hu[thin]
    body = hu > (-300 if low < -300 else low + 5)  # windowed values end at the window
    liver = labels[thin] >= 1 if labels is not None else None
    found, axes = [], ""
    for axis, look in (("y", _bone_in_front), ("x", _liver_on_left), ("z", _lungs_below)):
        seen = look(hu, body, liver) if body.any() else None
        if seen:
            found.append(seen)
            axes += axis
    return found, "".join(sorted(axes))


def _across(mask, axis):
    """Mean position of a mask's voxels along an axis, and the extent that holds 98 % of them."""
    counts = mask.sum(tuple(a for a in range(3) if a != axis))
    places, below = np.arange(len(counts)), np.cumsum(counts) / counts.sum()
    return float((counts * places).sum() / counts.sum()), float(np.searchsorted(below, 0.99) - np.searchsorted(below, 0.01) + 1)


def _bone_in_front(hu, body, liver):
    """The spine lies in the back half. Contrast in the bowel is as bright as bone, so all but a little must lie in front."""
    (x, width), (y, depth) = _across(body, 2), _across(body, 1)
    columns = slice(max(0, int(x - 0.15 * width)), int(x + 0.15 * width) + 1)
    bone = (hu[..., columns] > 300).sum((0, 2))
    if bone.sum() < 0.001 * body.sum():
        return None
    behind = float(bone[int(np.ceil(y)) :].sum() / bone.sum())
    ahead = float(y - (bone * np.arange(len(bone))).sum() / bone.sum()) / depth
    return ("spine-front", f"{1 - behind:.0%} of the bone in the middle lies in front") if behind < 0.2 and ahead > 0.1 else None


def _liver_on_left(hu, body, liver):
    if liver is None or not liver.any() or not body[shown := liver.any((1, 2))].any():
        return None
    x, width = _across(body[shown], 2)
    off = (_across(liver, 2)[0] - x) / width
    return ("liver-left", f"its middle is {off:.0%} of the body's width left of the body's") if off > 0.05 else None


def _lungs_below(hu, body, liver):
    from scipy.ndimage import binary_fill_holes

    if liver is None or not liver.any() or len(hu) < 8 or hu.min() > -700:
        return None
    lungs = np.array([(binary_fill_holes(b) & (h < -500)).sum() for b, h in zip(body, hu, strict=True)])
    if lungs.sum() < 0.03 * body.sum():
        return None
    middle = _across(liver, 0)[0]
    above = float(lungs[int(np.ceil(middle)) :].sum() / lungs.sum())
    lower = middle - float((lungs * np.arange(len(lungs))).sum() / lungs.sum())
    below = above < 0.1 and lower > 0.1 * len(hu)
    return ("lungs-below", f"{1 - above:.0%} of the lungs lie below its middle") if below else None


def mask_against_flips(hu, labels, box):
    """Does the mask lie on one organ as it is, or only when mirrored?

    The share of voxels within 50 HU of their median is nearly 1 inside a liver, and far less where a mask covers several
    organs; so the flip that makes it markedly higher is the right one.

    hu, labels  (z, y, x); box: the slices that hold all labels.
    returns     (findings, the mask's axes to turn over, "" for none, median HU under the mask as it is).
    """
    liver = labels[box] == 1 if (labels[box] == 1).any() else labels[box] >= 1
    flat = np.flatnonzero(liver)
    flat = flat[:: max(1, len(flat) // 20_000)]  # thinned before it becomes places, which cost more than the rest together
    where = np.stack(np.unravel_index(flat, liver.shape), axis=1) + [edge.start for edge in box]
    alike, middle = {}, {}
    for flip in FLIPS:
        values = turned_over(hu, flip)[tuple(where.T)]
        middle[flip] = float(np.median(values))
        alike[flip] = float((np.abs(values - middle[flip]) <= 50).mean())
    best = max(FLIPS, key=alike.get)
    if alike[""] < 0.8 and alike[best] > alike[""] + 0.15 and 0 <= middle[best] <= 250:
        seen = f"within 50 HU of their median are {alike['']:.0%} of its voxels, {alike[best]:.0%} when turned over along {best}"
        return [("mask-mirrored", seen)], best, middle[""]
    return [], "", middle[""]


def read_and_place(case, volume, data=None, mask_flip=""):
    """The labels of a case on its scan's grid.

    data       the bytes of a NIfTI mask; None for other files.
    mask_flip  axes along which the mask is turned over on request.
    returns    (uint8 (z, y, x): 0 background, 1 liver, 2 tumour; findings; the box, three slices, that holds all labels).
    Raises Unfit or ValueError, naming the file, for a mask that can't be used.
    """
    found = []
    if data is None:
        labels = reading.read_labels(case.mask, volume)
    else:
        array, affine, notes = nifti.load(case.mask, data)
        found += [note for note in notes if note[0] == "wrong-ending"]  # the grid is the scan's, whatever the mask says of it
        labels = place_mask(array, affine, volume, case.mask)
        found += _odd_grid(array.shape, affine, volume)
        if array.dtype.kind == "f" and (off := np.abs(array - np.rint(array)).max()) > 0:
            found.append(("labels-rounded", f"by up to {off:.2g}"))
        del array
    if mask_flip:
        labels = np.ascontiguousarray(turned_over(labels, mask_flip))
        found.append(("flipped", f"the mask along {mask_flip}"))
    box = box_with_margin(labels, margin=1)  # the margin holds a 0, wherever there is one
    small, values = standard_labels(labels[box])
    if max(values) > 2:
        labels = np.zeros_like(labels)
        labels[box] = small
        found.append(("labels-mapped", f"values {values}" + ("; 255 is taken as tumour" if 255 in values else "")))
    return labels, found, box


def _odd_grid(shape, affine, volume):
    if alignment(shape, affine, volume) == "axes":
        return [("mask-axes", f"{affines.axes_of(affine)} onto {volume.axes}")]
    if np.allclose(affine, volume.affine, atol=1e-2):
        return []
    kind = "the identity" if np.allclose(affine, np.eye(4)) else f"largest difference {np.abs(affine - volume.affine).max():.3g}"
    return [("mask-affine", kind)]


def box_with_margin(labels, margin=0):
    """The box, three slices (z, y, x), that holds all labels and `margin` voxels around; without any, the first voxel."""
    box = box_of(labels)
    return (slice(0, 1),) * 3 if box is None else widened(box, [margin] * 3, labels.shape)


def mask_findings(name, volume, labels, box):
    """What a mask says: (columns of cases.csv, findings, histogram rows, a row per lesion)."""
    import cc3d

    hu, labels = volume.hu[box], labels[box]
    liver, tumour = labels >= 1, labels == 2
    liver_voxels, tumour_voxels = int(np.count_nonzero(liver)), int(np.count_nonzero(tumour))
    pieces, count = cc3d.connected_components(tumour, connectivity=6, return_N=True)
    sizes_ml = np.bincount(pieces.ravel())[1:] * volume.voxel_ml if count else []
    lesions = [
        {"case": name, "lesion": k, "volume_ml": float(v), "diameter_mm": diameter_mm(v)} for k, v in enumerate(sizes_ml, start=1)
    ]
    counts = {region: counted(hu[labels == label]) for label, region in ((1, "liver"), (2, "tumour"))}
    columns = {
        "liver_ml": round(float(liver_voxels * volume.voxel_ml), 2),
        "tumour_ml": round(float(tumour_voxels * volume.voxel_ml), 3), "lesions": int(count),
        "liver_slices": int(liver.any((1, 2)).sum()), "tumour_slices": int(tumour.any((1, 2)).sum()),
        "liver_hu": median(counts["liver"]), "tumour_hu": median(counts["tumour"]),
    }  # fmt: skip
    found = _pieces(liver, labels, volume.voxel_ml) if liver_voxels > tumour_voxels else []
    if not liver_voxels:
        found.append(("no-liver", ""))
    elif not tumour_voxels:
        found.append(("no-tumour", ""))
    elif liver_voxels == tumour_voxels:
        found.append(("tumour-only", ""))
    rows = [row for region, each in counts.items() for row in histogram(name, region, each)]
    return columns, found, rows, lesions


def _pieces(liver, labels, voxel_ml):
    """Findings about a liver in several pieces, and about those of them that are tumour alone."""
    import cc3d

    islands, count = cc3d.connected_components(liver, connectivity=26, return_N=True)
    if count < 2:
        return []
    sizes = np.bincount(islands.ravel(), minlength=count + 1)[1:]
    healthy = np.bincount(islands[labels == 1], minlength=count + 1)[1:]
    largest = sizes.max() / sizes.sum()
    others = ", ".join(f"{size * voxel_ml:.2g}" for size in sorted(sizes, reverse=True)[1:4])
    more = " …" if count > 4 else ""
    found = [("liver-islands", f"{count} pieces; the largest holds {_percent(largest)}, the others {others}{more} ml")]
    if outside := int((healthy == 0).sum()):
        ml = sizes[healthy == 0].sum() * voxel_ml
        found.append(("tumour-outside", f"{outside} without a voxel of liver beside them, {ml:.2g} ml"))
    return found


def _percent(share):
    """A share below 1 that doesn't read as if it were 100 %."""
    return "over 99.9%" if share > 0.999 else f"{share:.1%}"
