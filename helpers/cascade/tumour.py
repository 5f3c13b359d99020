"""Which findings of the tumour's network are lesions: those that pass three rules."""

from dataclasses import dataclass, field

import cc3d
import cv2
import numpy as np
from scipy import ndimage

from helpers.scans.volume import box_of
from helpers.slices.pixels import PEAK, level

GALLBLADDER_ML = (4.0, 80.0)  # smaller and larger findings are none, however they lie
AROUND_MM = 5.0
FAT_HU = (-200, 0)  # between air and water
BILE_HU = (30, 60)  # darker is most often bile: fat counts three times; brighter than both never
QUIET_PX = 0.7  # deviation of a smoothing, or the noise of a scan makes fat of its dark voxels
TRUNCATE = 2.0  # deviations after which a smoothing ends


@dataclass
class Finding:
    """A finding that is no lesion: why, "gallbladder", "too small" or "too unsure", and what was
    measured.

    peak is its highest probability, fat the share of fat around it, index_zyx its centre; its
    voxels are those of `box`, three slices, in which `mask` is True.
    """

    why: str
    volume_ml: float
    peak: float
    fat: float
    index_zyx: list
    box: tuple = field(repr=False)
    mask: np.ndarray = field(repr=False)

    def as_dict(self):
        """For the log: all but its voxels."""
        return {name: value for name, value in vars(self).items() if name not in ("box", "mask")}


def smoothed(probability, liver, rules, spacing_mm):
    """Probability as the rules for lesions read it, uint8 (z, y, x): 0 outside the liver, then
    smoothed along z.
    """
    out, box = np.zeros_like(probability), box_of(liver)
    if box is None:
        return out
    sigma = rules.smooth_mm / spacing_mm[0]
    reach = int(TRUNCATE * sigma + 0.5)  # slices as far as the smoothing carries
    box = slice(max(0, box[0].start - reach), box[0].stop + reach), *box[1:]
    inside = np.where(liver[box], probability[box], np.uint8(0))
    if sigma:
        inside = ndimage.gaussian_filter1d(inside, sigma, axis=0, truncate=TRUNCATE)
    out[box] = inside
    return out


def keep_lesions(probability, hu, spacing_mm, rules):
    """Lesions from a `smoothed` probability: threshold, 6-connected components, and the three rules
    that drop some.

    probability  uint8 (z, y, x); hu: int16 (z, y, x), the scan: fat around a finding tells the
                 gallbladder from a tumour.
    rules        pipeline.Rules, or any object with these of its numbers.
    returns      (the lesions, bool (z, y, x); their number; a list with a Finding for each that was
                 dropped).
    """
    found = probability >= level(rules.tumour_threshold)
    lesions, dropped, region = np.zeros(found.shape, bool), [], box_of(found)
    if region is None:
        return lesions, 0, []
    corner = [side.start for side in region]
    components, count = cc3d.connected_components(found[region], connectivity=6, return_N=True)
    measured = cc3d.statistics(components)
    for k in range(1, count + 1):
        inner = measured["bounding_boxes"][k]
        box = tuple(slice(c + s.start, c + s.stop) for c, s in zip(corner, inner, strict=True))
        mask = components[inner] == k
        ml = float(measured["voxel_counts"][k] * np.prod(spacing_mm)) / 1000
        peak, fat = float(probability[box][mask].max()) / PEAK, 0.0
        why = "too unsure" if peak < rules.min_peak_probability else ""
        why = "too small" if ml < rules.min_lesion_ml else why
        if not why and GALLBLADDER_ML[0] <= ml <= GALLBLADDER_ML[1]:
            fat = fat_around(mask, box, hu, spacing_mm)
            weight = (3, 1, 0)[np.searchsorted(BILE_HU, np.median(hu[box][mask]), "right")]
            why = "gallbladder" if min(1.0, weight * fat) > rules.max_fat_fraction else ""
        if why:
            centre = [int(round(at)) for at in measured["centroids"][k] + corner]
            numbers = round(ml, 4), round(peak, 3), round(fat, 3)
            dropped.append(Finding(why, *numbers, centre, box, mask))
        else:
            lesions[box] |= mask
    return lesions, count - len(dropped), dropped


def fat_around(mask, box, hu, spacing_mm):
    """Share of what surrounds a finding within AROUND_MM, in its own slices, that is fat.

    mask  bool, the finding's voxels in a box of three slices of hu, int16 (z, y, x).
    """
    ry, rx = (int(AROUND_MM / edge) for edge in spacing_mm[1:])
    z, y, x = box
    top, left = max(0, y.start - ry), max(0, x.start - rx)
    hu = hu[z, top : y.stop + ry, left : x.stop + rx]
    finding = np.zeros(hu.shape, np.uint8)
    finding[:, y.start - top : y.stop - top, x.start - left : x.stop - left] = mask
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rx + 1, 2 * ry + 1))
    around = np.stack([cv2.dilate(plane, disk) > plane for plane in finding])
    quiet = np.stack([cv2.GaussianBlur(plane.astype(np.float32), (0, 0), QUIET_PX) for plane in hu])
    fat = (quiet > FAT_HU[0]) & (quiet < FAT_HU[1])
    return float(fat[around].mean()) if around.any() else 0.0
