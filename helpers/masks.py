"""The labels of a case: read onto its scan's grid, brought to 0, 1 and 2, and measured."""

import numpy as np

from helpers import content, ct, grids, label_files, nifti, readers


def read(case, volume, data=None, mask_flip=""):
    """The labels of a case on its scan's grid.

    data       the bytes of a NIfTI mask; None for other files.
    mask_flip  axes along which the mask is turned over on request.
    returns    (uint8 (z, y, x): 0 background, 1 liver, 2 tumour; findings; the box, three slices, that holds all labels).
    Raises Unfit or ValueError, naming the file, for a mask that can't be used.
    """
    found = []
    if data is None:
        labels = readers.read_labels(case.mask, volume)
    else:
        array, affine, notes = nifti.load(case.mask, data)
        found += [note for note in notes if note[0] == "wrong-ending"]  # the grid is the scan's, whatever the mask says of it
        labels = label_files.place_mask(array, affine, volume, case.mask)
        found += _odd_grid(array.shape, affine, volume)
        if array.dtype.kind == "f" and (off := np.abs(array - np.rint(array)).max()) > 0:
            found.append(("labels-rounded", f"by up to {off:.2g}"))
        del array
    if mask_flip:
        labels = np.ascontiguousarray(ct.turned_over(labels, mask_flip))
        found.append(("flipped", f"the mask along {mask_flip}"))
    box = box_of(labels, margin=1)  # the margin holds a 0, wherever there is one
    small, values = label_files.standard_labels(labels[box])
    if max(values) > 2:
        labels = np.zeros_like(labels)
        labels[box] = small
        found.append(("labels-mapped", f"values {values}" + ("; 255 is taken as tumour" if 255 in values else "")))
    return labels, found, box


def _odd_grid(shape, affine, volume):
    if label_files.way_onto(shape, affine, volume) == "axes":
        return [("mask-axes", f"{ct.axes_of(affine)} onto {volume.axes}")]
    if np.allclose(affine, volume.affine, atol=1e-2):
        return []
    kind = "the identity" if np.allclose(affine, np.eye(4)) else f"largest difference {np.abs(affine - volume.affine).max():.3g}"
    return [("mask-affine", kind)]


def box_of(labels, margin=0):
    """The box, three slices (z, y, x), that holds all labels and `margin` voxels around; without any, the first voxel."""
    box = grids.box_of(labels)
    return (slice(0, 1),) * 3 if box is None else grids.widened(box, [margin] * 3, labels.shape)


def measure(name, volume, labels, box):
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
    counts = {region: content.counted(hu[labels == label]) for label, region in ((1, "liver"), (2, "tumour"))}
    columns = {
        "liver_ml": round(float(liver_voxels * volume.voxel_ml), 2),
        "tumour_ml": round(float(tumour_voxels * volume.voxel_ml), 3), "lesions": int(count),
        "liver_slices": int(liver.any((1, 2)).sum()), "tumour_slices": int(tumour.any((1, 2)).sum()),
        "liver_hu": content.median(counts["liver"]), "tumour_hu": content.median(counts["tumour"]),
    }  # fmt: skip
    found = _pieces(liver, labels, volume.voxel_ml) if liver_voxels > tumour_voxels else []
    if not liver_voxels:
        found.append(("no-liver", ""))
    elif not tumour_voxels:
        found.append(("no-tumour", ""))
    elif liver_voxels == tumour_voxels:
        found.append(("tumour-only", ""))
    rows = [row for region, each in counts.items() for row in content.histogram(name, region, each)]
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


def diameter_mm(volume_ml):
    """Diameter of the ball with this volume."""
    return float((6000.0 * volume_ml / np.pi) ** (1 / 3))


def _percent(share):
    """A share below 1 that doesn't read as if it were 100 %."""
    return "over 99.9%" if share > 0.999 else f"{share:.1%}"
