"""Connected components of what the networks see: the liver is the largest piece, lesions are those that pass three rules."""

import numpy as np

from helpers.scans.volume import box_of, widened
from helpers.slices.recipe import PEAK

GALLBLADDER_ML = (4.0, 80.0)  # smaller and larger findings are none, however they lie
AROUND_MM = 5.0
FAT_HU = (-200, 0)  # between air and water
BILE_HU = (30, 60)  # darker findings are most often bile: fat counts three times; brighter than both, bile never
QUIET_PX = 0.7  # deviation of a smoothing, or the noise of a scan makes fat of its dark voxels


def morphological_closing(mask, spacing_mm, radius_mm):
    """A mask (z, y, x) with its gaps and notches closed, slice by slice: those that a disk of this radius doesn't fit into.

    A tumour at the liver's edge is often left out by the liver's network; this is where it would lie.
    """
    import cv2

    out, box = mask.copy(), box_of(mask)
    ry, rx = (round(radius_mm / edge) for edge in spacing_mm[1:])
    if box is None or not ry * rx:
        return out
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rx + 1, 2 * ry + 1))
    for plane in out[box[0]]:
        room = cv2.copyMakeBorder(plane[box[1:]].astype(np.uint8), ry, ry, rx, rx, cv2.BORDER_CONSTANT, value=0)
        filled = cv2.morphologyEx(room, cv2.MORPH_CLOSE, disk)
        plane[box[1:]] = filled[ry : len(filled) - ry, rx : filled.shape[1] - rx]
    return out


def smoothed(likely, liver, rules, spacing_mm):
    """Probabilities uint8 (z, y, x) as the rules for lesions read them: 0 outside the closed liver, then smoothed along z."""
    from scipy import ndimage

    inside = np.where(morphological_closing(liver, spacing_mm, rules.reach_mm), likely, np.uint8(0))
    if rules.smooth_mm:
        inside = ndimage.gaussian_filter1d(inside, rules.smooth_mm / spacing_mm[0], axis=0, truncate=2.0)
    return inside


def keep_lesions(likely, rules, spacing_mm, hu, corner=(0, 0, 0)):
    """Lesions from probabilities uint8 (z, y, x): threshold, 6-connected components, and the three rules that drop some.

    rules    cascade.Rules, or any object with these of its numbers.
    hu       int16 (z, y, x), the scan there: fat around a finding tells the gallbladder from a tumour.
    corner   the scan's voxel that the arrays' first one is.
    returns  (the lesions, what is taken for the gallbladder, both bool (z, y, x), number of lesions, a dict per dropped one).
    """
    import cc3d

    pieces, count = cc3d.connected_components(likely >= rules.tumour_threshold * PEAK, connectivity=6, return_N=True)
    if not count:
        return pieces > 0, pieces > 0, 0, []
    measured = cc3d.statistics(pieces)
    keep, gallbladder, removed = np.zeros(count + 1, bool), np.zeros(count + 1, bool), []
    for k in range(1, count + 1):
        box = measured["bounding_boxes"][k]
        ml = float(measured["voxel_counts"][k] * np.prod(spacing_mm)) / 1000
        inside = pieces[box] == k
        peak = float(likely[box][inside].max()) / PEAK
        sure = ml >= rules.min_lesion_ml and peak >= rules.min_peak_probability
        fat = 0.0
        if sure and GALLBLADDER_ML[0] <= ml <= GALLBLADDER_ML[1]:
            fat = fat_around(pieces, k, box, hu, spacing_mm)
            weight = (3, 1, 0)[np.searchsorted(BILE_HU, np.median(hu[box][inside]), "right")]
            gallbladder[k] = min(1.0, weight * fat) > rules.max_fat_fraction
        keep[k] = sure and not gallbladder[k]
        if not keep[k]:
            where = [int(round(c + start)) for c, start in zip(measured["centroids"][k], corner, strict=True)]
            why = "gallbladder" if gallbladder[k] else "too small" if ml < rules.min_lesion_ml else "too unsure"
            found = {"why": why, "volume_ml": round(ml, 4), "peak": round(peak, 3), "fat": round(fat, 3), "index_zyx": where}
            removed.append(found)
    return keep[pieces], gallbladder[pieces], int(keep.sum()), removed


def fat_around(pieces, number, box, hu, spacing_mm):
    """Share of what surrounds one of the pieces within AROUND_MM, in its own slices, that is fat.

    pieces  labels (z, y, x), `number` in a box of three slices; hu: int16 of the same shape.
    """
    import cv2

    wide = with_surroundings(box, spacing_mm, hu.shape)
    piece, hu = pieces[wide] == number, hu[wide]
    size = [2 * int(AROUND_MM / edge) + 1 for edge in spacing_mm[:0:-1]]
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size)
    around = np.stack([cv2.dilate(plane.astype(np.uint8), disk) > 0 for plane in piece]) & ~piece
    quiet = np.stack([cv2.GaussianBlur(plane.astype(np.float32), (0, 0), QUIET_PX) for plane in hu])
    return float(((quiet > FAT_HU[0]) & (quiet < FAT_HU[1]))[around].mean()) if around.any() else 0.0


def with_surroundings(box, spacing_mm, shape):
    """A box of three slices in an array of that shape, wider by AROUND_MM in the plane."""
    return widened(box, [0, *(int(AROUND_MM / edge) for edge in spacing_mm[1:])], shape)
