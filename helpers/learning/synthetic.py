"""What was never there: tumours pasted and painted into livers, gallbladders, dark veins."""

from dataclasses import dataclass

import cv2
import numpy as np

BASE_RADII_MM = (4.0, 8.0, 16.0, 32.0)  # as Hu et al. 2023 (arXiv 2303.14869)
# chance, least and largest mean drop below the liver in HU: darker, as bright or brighter, necrotic
CONTRASTS = ((0.8, 15.0, 80.0), (0.1, -40.0, 5.0), (0.1, 70.0, 120.0))
VEIN_HU = 12.0  # brighter than liver, noise aside
MARGIN = 6  # pixels of surroundings that a pasted lesion brings: room for its soft edge


@dataclass(frozen=True)
class Donor:
    """A lesion cut out of its slices."""

    planes: np.ndarray  # float32 (C, y, x), above or below its own liver
    masks: np.ndarray  # bool (C, y, x)


@dataclass(frozen=True)
class Scale:
    """What planes (C, y, x) measure."""

    grey_per_hu: np.ndarray  # (C,) grey values that a Hounsfield unit makes in each plane's window
    pixel_mm: float  # edge of a pixel
    slices_mm: np.ndarray  # (C,) how far each plane lies from the middle slice


def scale_of(meta, neighbours, step):
    """Scale of the planes that `pixels.stacked` takes; meta: what the store says of the case."""
    windows = meta["recipe"]["windows"]
    around = np.repeat(np.arange(-neighbours, neighbours + 1), len(windows))
    grey_per_hu = np.resize([255 / (high - low) for low, high in windows], len(around))
    pixel_mm = meta["spacing_mm"][1] * (meta["box"][1][1] - meta["box"][1][0]) / meta["shape"][0]
    return Scale(grey_per_hu, pixel_mm, around * step * meta["spacing_mm"][0])


def donor_from(planes, masks, rng):
    """Cut one lesion of the middle slice out, with its surroundings.

    planes   uint8 (C, y, x), grey values of neighbouring slices; masks: their labels 0/1/2, of the
             same shape.
    returns  Donor, or None where there is no lesion, or no healthy liver to compare it with.
    """
    middle = masks[len(masks) // 2]
    lesions = (middle == 2).astype(np.uint8)
    count, components, boxes, _ = cv2.connectedComponentsWithStats(lesions, connectivity=4)
    healthy = middle == 1
    if count < 2 or not healthy.any():
        return None
    chosen = int(rng.integers(1, count))
    x, y, width, height = boxes[chosen, :4]
    rows = slice(max(0, y - MARGIN), y + height + MARGIN)
    columns = slice(max(0, x - MARGIN), x + width + MARGIN)
    box = (slice(None), rows, columns)
    # it may bulge in the next slice
    reach = cv2.dilate((components == chosen).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return Donor(planes[box] - levels(planes, healthy), ((masks == 2) & reach)[box])


def levels(planes, healthy):
    """Median grey value of healthy liver in every plane: float32 (C, 1, 1)."""
    return np.array([np.median(plane[healthy]) for plane in planes], np.float32)[:, None, None]


def paste(planes, mask, rng, donor):
    """Put a donor's lesion into healthy liver: turned, scaled, its contrast varied, its edge soft.

    planes   float32 (C, y, x), changed in place; mask: labels uint8 (y, x) of the middle slice,
             changed in place.
    returns  True when there was room.
    """
    spot = spot_within(mask, rng)
    if spot is None:
        return False
    height, width = donor.masks.shape[1:]
    degrees, zoom = rng.uniform(0, 360), rng.uniform(0.75, 1.3)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom)
    matrix[0] *= rng.choice([-1, 1])
    size = int(np.ceil(1.3 * np.hypot(height, width))) | 1
    matrix[:, 2] = size / 2 - matrix[:, :2] @ [width / 2, height / 2]
    lesion = np.stack([cv2.warpAffine(plane, matrix, (size, size)) for plane in donor.planes])
    lesion = lesion * rng.uniform(0.6, 1.3)
    masks = [cv2.warpAffine(m.astype(np.float32), matrix, (size, size)) for m in donor.masks]
    alpha = np.stack([cv2.GaussianBlur(m, (0, 0), rng.uniform(0.7, 1.5)) for m in masks])
    on_plane, on_patch = overlap(mask.shape, spot, size)
    target = planes[:, *on_plane]
    change = levels(planes, mask == 1) + lesion[:, *on_patch] - target
    return blend(target, mask[on_plane], alpha[:, *on_patch], change)


def paint(planes, mask, rng, scale):
    """Paint a tumour into healthy liver: a bent ellipsoid with a texture of its own.

    planes, mask  as in `paste`; scale: Scale of the planes.
    returns       True when there was room.
    """
    spot = spot_within(mask, rng)
    if spot is None:
        return False
    base_mm = rng.choice(BASE_RADII_MM)
    inside = ellipsoid(base_mm * rng.uniform(0.75, 1.25, 3), rng, scale)
    size = inside.shape[1]
    depth_px = inside * base_mm / scale.pixel_mm
    alpha = 1 / (1 + np.exp(np.clip(-depth_px / rng.uniform(0.6, 1.5), -30, 30)))
    _, low, high = CONTRASTS[rng.choice(len(CONTRASTS), p=[chance for chance, _, _ in CONTRASTS])]
    drop_hu = rng.uniform(low, high) * (1 + 0.35 * cloud(size, rng, rng.uniform(2, 6)))
    drop_hu = drop_hu * np.where(inside < 0.25, rng.uniform(0.5, 1.1), 1)  # a rim of its own
    on_plane, on_patch = overlap(mask.shape, spot, size)
    change = -drop_hu[:, *on_patch] * np.asarray(scale.grey_per_hu)[:, None, None]
    alpha = alpha[:, *on_patch].astype(np.float32)
    return blend(planes[:, *on_plane], mask[on_plane], alpha, change.astype(np.float32))


def paste_gallbladder(planes, mask, rng, scale):
    """Paint what looks like a gallbladder at the liver's edge, neither liver nor tumour.

    Without such a thing, a network that has seen painted tumours takes the real gallbladder for
    one.

    planes, mask, scale  as in `paint`.
    returns              True when there was room: neither tumour nor bone is painted over.
    """
    rim = (mask == 1) & (cv2.erode((mask >= 1).astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    spots = np.flatnonzero(rim)
    if not len(spots):
        return False
    spot = divmod(int(spots[rng.integers(len(spots))]), mask.shape[1])
    # of its long axis in any direction, and of its width
    radii = rng.uniform((15, 15, 8), (35, 35, 16))
    inside = ellipsoid(radii, rng, scale)
    on_plane, on_patch = overlap(mask.shape, spot, inside.shape[1])
    depth_px = inside[:, *on_patch] * radii.min() / scale.pixel_mm
    alpha = 1 / (1 + np.exp(np.clip(-depth_px / rng.uniform(0.4, 1.0), -30, 30)))
    covered = alpha[len(alpha) // 2] > 0.5
    # bone and contrast stay what they are
    bright = planes[len(planes) // 2][on_plane][covered] > 240
    if not covered.any() or bright.mean() > 0.05 or (mask[on_plane][covered] == 2).any():
        return False
    healthy = mask == 1
    darker = rng.uniform(30, 90) * np.asarray(scale.grey_per_hu)[:, None, None]
    bile = levels(planes, healthy) - darker
    for plane, level, share in zip(planes, bile, alpha.astype(np.float32), strict=True):
        target = plane[on_plane]
        # the liver's grain: fat is cut off, and has none
        grain = (plane - cv2.GaussianBlur(plane, (0, 0), 2.0))[healthy].std()
        texture = cloud(max(target.shape), rng, 0.6)[: target.shape[0], : target.shape[1]]
        target += share * (level + grain * texture - target)
    mask[on_plane][covered] = 0
    return True


def darken_veins(planes, mask, rng, scale):
    """Turn the liver's bright vessels dark, as its veins are before the contrast medium comes.

    What is brighter than healthy liver by more than VEIN_HU, seen without its noise, goes as far to
    the other side, or a part of that way. A network that has met portal-venous scans only takes the
    dark veins of an arterial one for tumours.
    planes, mask, scale  as in `paint`; labels stay, and tumours as they are.
    """
    within = cv2.GaussianBlur((mask == 1).astype(np.float32), (0, 0), 1.0) * (mask == 1)
    strength, sigma = rng.uniform(1.3, 2.5), rng.uniform(0.8, 1.5)
    liver_levels = levels(planes, mask == 1).ravel()
    for plane, level, grey in zip(planes, liver_levels, scale.grey_per_hu, strict=True):
        excess = cv2.GaussianBlur(plane, (0, 0), sigma) - level
        excess = np.where(excess > VEIN_HU * grey, excess.clip(0, 60 * grey), 0).astype(np.float32)
        plane -= strength * within * cv2.GaussianBlur(excess, (0, 0), 0.7)


def ellipsoid(radii_mm, rng, scale):
    """A bent ellipsoid seen in each plane, float (C, size, size): above 0 inside, 1 in its middle,
    turned anyhow in the plane.

    radii_mm  (z, y, x); scale: Scale of the planes.
    """
    (rz, ry, rx), pixel_mm = radii_mm, scale.pixel_mm
    half = int(np.ceil(1.6 * max(ry, rx) / pixel_mm)) + 2
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[-half : half + 1, -half : half + 1] * pixel_mm
    u = (np.cos(angle) * x + np.sin(angle) * y) / rx
    v = (np.cos(angle) * y - np.sin(angle) * x) / ry
    depths = (np.asarray(scale.slices_mm) + rng.uniform(-0.7, 0.7) * rz) / rz
    bend = 0.3 * cloud(2 * half + 1, rng, max(1.0, 0.6 * min(ry, rx) / pixel_mm))
    return np.stack([1 + bend - np.sqrt(u**2 + v**2 + depth**2) for depth in depths])


def spot_within(mask, rng):
    """A pixel (y, x) well inside healthy liver, or None."""
    deep = np.flatnonzero(cv2.erode((mask == 1).astype(np.uint8), np.ones((7, 7), np.uint8)))
    return divmod(int(deep[rng.integers(len(deep))]), mask.shape[1]) if len(deep) else None


def cloud(size, rng, sigma):
    """Smooth noise float32 (size, size) of mean 0 and deviation 1."""
    noise = cv2.GaussianBlur(rng.standard_normal((size, size)).astype(np.float32), (0, 0), sigma)
    return (noise - noise.mean()) / max(float(noise.std()), 1e-6)


def overlap(shape, spot, size):
    """Slices of a plane, and of a square patch laid about `spot`, where the two overlap."""
    starts = [centre - size // 2 for centre in spot]
    edges = zip(starts, shape, strict=True)
    on_plane = tuple(slice(max(0, start), min(n, start + size)) for start, n in edges)
    on_patch = zip(on_plane, starts, strict=True)
    return on_plane, tuple(slice(s.start - start, s.stop - start) for s, start in on_patch)


def blend(target, mask, alpha, change):
    """Add `change` by alpha, within the liver; label what became tumour. True when a pixel did."""
    target += change * alpha * cv2.GaussianBlur((mask >= 1).astype(np.float32), (0, 0), 1.0)
    grown = (alpha[len(alpha) // 2] > 0.5) & (mask == 1)
    mask[grown] = 2
    return bool(grown.any())
