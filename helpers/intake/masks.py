"""What a mask says: brought onto its scan's grid and to 0, 1 and 2, and measured."""

import cc3d
import numpy as np

from helpers.intake import checks
from helpers.scans import affines, nifti, reading
from helpers.scans.boxes import box_of, components, widened
from helpers.scans.labels import alignment, place_mask, standard_labels
from helpers.scans.names import is_picture
from helpers.scans.volume import diameter_mm, turned_over

OF_TUMOUR = ("tumour_ml", "lesions", "tumour_slices", "tumour_hu")


def read_and_place(case, volume, data=None, mask_flip=""):
    """The labels of a case on its scan's grid.

    data       the bytes of a NIfTI mask; None for other files.
    mask_flip  axes along which the mask is turned over on request.
    returns    (uint8 (z, y, x): 0 background, 1 liver, 2 tumour; findings; the box, three slices,
               that holds all labels).
    Raises Unfit or ValueError, naming the file, for a mask that can't be used.
    """
    findings = []
    if data is None:
        labels = reading.read_labels(case.mask, volume)
        if len(parts := reading.files_of(case.mask, mask=True)) > 1 and not is_picture(case.mask):
            joined = " and ".join(part.name for part in parts)
            findings.append(("labels-mapped", f"{joined} joined"))
    else:
        array, affine, notes = nifti.load(case.mask, data)
        # the grid is the scan's, whatever the mask says
        findings += [(code, f"of the mask, {text}" if code == "header-mended" else text)
                     for code, text in notes if code in ("wrong-ending", "header-mended")]
        labels = place_mask(array, affine, volume, case.mask)
        findings += _odd_grid(array.shape, affine, volume)
        if array.dtype.kind == "f" and (off := np.abs(array - np.rint(array)).max()) > 0:
            findings.append(("labels-rounded", f"by up to {off:.2g}"))
        del array
    if mask_flip:
        labels = np.ascontiguousarray(turned_over(labels, mask_flip))
        findings.append(("flipped", f"the mask along {mask_flip}"))
    box = box_with_margin(labels, margin=1)  # the margin holds a 0, wherever there is one
    small, values = standard_labels(labels[box])
    if max(values) > 2:
        labels = np.zeros_like(labels)
        labels[box] = small
        findings.append(("labels-mapped", f"values {values}"
                         + ("; 255 is taken as tumour" if 255 in values else "")))
    return labels, findings, box


def _odd_grid(shape, affine, volume):
    if alignment(shape, affine, volume) == "axes":
        return [("mask-axes", f"{affines.axes_of(affine)} onto {volume.axes}")]
    if np.allclose(affine, volume.affine, atol=1e-2):
        return []
    difference = f"largest difference {np.abs(affine - volume.affine).max():.3g}"
    return [("mask-affine", "the identity" if np.allclose(affine, np.eye(4)) else difference)]


def box_with_margin(labels, margin=0):
    """The box that holds all labels and `margin` voxels around; without any, the first voxel."""
    box = box_of(labels)
    return (slice(0, 1),) * 3 if box is None else widened(box, [margin] * 3, labels.shape)


def mask_findings(name, volume, labels, box, tumour_unknown=False):
    """What a mask says: (columns of cases.csv, findings, histogram rows, a row per lesion).

    tumour_unknown  the mask takes tumours for liver, so that none in it says nothing.
    """
    hu, labels = volume.hu[box], labels[box]
    liver, tumour = labels >= 1, labels == 2
    liver_voxels, tumour_voxels = int(np.count_nonzero(liver)), int(np.count_nonzero(tumour))
    components, count = cc3d.connected_components(tumour, connectivity=6, return_N=True)
    sizes_ml = np.bincount(components.ravel())[1:] * volume.voxel_ml if count else []
    lesions = [{"case": name, "lesion": k, "volume_ml": float(ml), "diameter_mm": diameter_mm(ml)}
               for k, ml in enumerate(sizes_ml, start=1)]
    counts = {region: checks.counted(hu[labels == label])
              for label, region in ((1, "liver"), (2, "tumour"))}
    columns = {
        "liver_ml": round(float(liver_voxels * volume.voxel_ml), 2),
        "tumour_ml": round(float(tumour_voxels * volume.voxel_ml), 3), "lesions": int(count),
        "liver_slices": int(liver.any((1, 2)).sum()),
        "tumour_slices": int(tumour.any((1, 2)).sum()),
        "liver_hu": checks.median(counts["liver"]), "tumour_hu": checks.median(counts["tumour"]),
    }
    findings = _components(liver, labels, volume.voxel_ml) if liver_voxels > tumour_voxels else []
    if not liver_voxels:
        findings.append(("no-liver", ""))
    elif tumour_unknown:
        findings.append(("tumour-unknown", ""))
        columns = {name: value for name, value in columns.items() if name not in OF_TUMOUR}
    elif not tumour_voxels:
        findings.append(("no-tumour", ""))
    elif liver_voxels == tumour_voxels:
        findings.append(("tumour-only", ""))
    elif tumour_voxels > liver_voxels - tumour_voxels:
        findings.append(_much_tumour(labels, tumour_voxels / liver_voxels))
    rows = [row for region in counts for row in checks.histogram(name, region, counts[region])]
    return columns, findings, rows, lesions


def _much_tumour(labels, share):
    """The finding about a liver that is mostly tumour: are its labels exchanged?"""
    pairs = np.zeros(9, int)  # how often two labels touch, by 3 × the one + the other
    outer = np.pad(labels, 1)
    for axis in range(3):
        pairs += np.bincount((3 * outer + np.roll(outer, 1, axis)).ravel(), minlength=9)
    touch = pairs.reshape(3, 3) + pairs.reshape(3, 3).T
    text = f"{share:.0%} of it is tumour"
    if touch[1, 0] < min(touch[1, 2], touch[2, 0]):
        return "labels-exchanged", f"{text}, and the rest lies within the tumour"
    return "tumour-large", text


def _components(liver, labels, voxel_ml):
    """Findings about a liver of several components, and those that are tumour alone."""
    islands, count = components(liver)
    if count < 2:
        return []
    sizes = np.bincount(islands.ravel(), minlength=count + 1)[1:]
    healthy = np.bincount(islands[labels == 1], minlength=count + 1)[1:]
    largest = sizes.max() / sizes.sum()
    others = ", ".join(f"{size * voxel_ml:.2g}" for size in sorted(sizes, reverse=True)[1:4])
    more = " …" if count > 4 else ""
    text = f"{count} components; the largest holds {_percent(largest)}, "
    text += f"the others {others}{more} ml"
    findings = [("liver-islands", text)]
    if outside := int((healthy == 0).sum()):
        ml = sizes[healthy == 0].sum() * voxel_ml
        findings.append(("tumour-outside",
                         f"{outside} without a voxel of liver beside them, {ml:.2g} ml"))
    return findings


def _percent(share):
    """A share below 1 that doesn't read as if it were 100 %."""
    return "over 99.9%" if share > 0.999 else f"{share:.1%}"
