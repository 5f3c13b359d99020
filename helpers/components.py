"""Connected components of what the networks see: the liver is the largest piece, lesions are those that pass two rules."""

import numpy as np

from helpers.metrics import box_of
from helpers.trained import PEAK


def largest_piece(mask):
    """The largest 26-connected component of a mask (z, y, x), its holes filled slice by slice, and how many there were."""
    import cc3d
    from scipy import ndimage

    out, box = np.zeros(mask.shape, bool), box_of(mask)
    if box is None:
        return out, 0
    pieces = cc3d.connected_components(mask[box], connectivity=26)  # labels of four bytes, so only of the box
    sizes = cc3d.statistics(pieces)["voxel_counts"]
    largest = 1 + int(sizes[1:].argmax())
    for k, plane in enumerate(pieces, start=box[0].start):
        if (piece := plane == largest).any():
            out[k][box[1:]] = ndimage.binary_fill_holes(piece)
    return out, len(sizes) - 1


def kept_lesions(likely, rules, volume, corner=(0, 0, 0)):
    """Lesions from probabilities uint8 (z, y, x): threshold, 6-connected components, and the two rules that drop some.

    rules    cascade.Rules.
    corner   the scan's voxel that the array's first one is.
    returns  (bool mask, number kept, a dict per dropped component).
    """
    import cc3d

    pieces, count = cc3d.connected_components(likely >= rules.tumour_threshold * PEAK, connectivity=6, return_N=True)
    if not count:
        return pieces > 0, 0, []
    measured = cc3d.statistics(pieces)
    keep, removed = np.zeros(count + 1, bool), []
    for k in range(1, count + 1):
        box = measured["bounding_boxes"][k]
        ml = float(measured["voxel_counts"][k] * volume.voxel_ml)
        peak = float(likely[box][pieces[box] == k].max()) / PEAK
        keep[k] = ml >= rules.least_lesion_ml and peak >= rules.least_peak
        if not keep[k]:
            where = [int(round(c + start)) for c, start in zip(measured["centroids"][k], corner, strict=True)]
            removed.append({"volume_ml": round(ml, 4), "peak": round(peak, 3), "index_zyx": where})
    return keep[pieces], int(keep.sum()), removed
