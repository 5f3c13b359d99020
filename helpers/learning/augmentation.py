"""How a sample differs from its scan: turned, scaled, brighter, noisier, blurred; drawn from the
batch's generator.
"""

from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import torch
from torch.nn import functional

from helpers.parameters import unknown


@dataclass(frozen=True)
class Augmentation:
    """How far a batch may differ from the scans: to either side by up to the value, noise from 0 up
    to it; by default not at all.

    rotation_degrees   scale: a share; shift: share of the slice's edge; flips: quarter turns too.
    brightness         and contrast, field (brightness that drifts across a slice), noise: shares of
                       the window; gamma.
    blur               chance of a soft slice.
    random_convolution chance that a slice is blended, by up to a half, with what a random shallow
                       network makes of it.
    neighbour_steps    distances from which the neighbours are drawn; 1 is about 3 mm.
    synthetic_lesions  chance that healthy liver gets tumours, a third of it where there are some
                       already.
    gallbladders       chance that the liver gets a second gallbladder.
    dark_veins         chance that the liver's bright vessels become dark ones.
    liver_level        share of the window by which the liver alone becomes brighter or darker, in
                       half of the samples.
    """

    rotation_degrees: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    flips: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    field: float = 0.0
    random_convolution: float = 0.0
    neighbour_steps: tuple = (1,)
    synthetic_lesions: float = 0.0
    gallbladders: float = 0.0
    dark_veins: float = 0.0
    liver_level: float = 0.0

    @property
    def synthesises(self):
        """True when a sample may get something that its scan doesn't show."""
        return bool(self.synthetic_lesions or self.gallbladders or self.dark_veins)


NONE = Augmentation()
# brightness and shape wide enough for other hospitals' scans
WIDE = Augmentation(
    rotation_degrees=15.0,
    scale=0.3,
    shift=0.1,
    brightness=0.12,
    contrast=0.3,
    gamma=0.8,
    noise=0.06,
    blur=0.2,
    field=0.1,
    neighbour_steps=(0, 1, 1, 1, 2),
)
# without synthetic lesions it leaves tumours out, without other levels livers that are full of fat
LIVER = replace(WIDE, brightness=0.15, synthetic_lesions=0.5, gallbladders=0.5, liver_level=0.3)
TUMOUR = Augmentation(  # a region of interest may be turned anyhow
    rotation_degrees=30.0,
    scale=0.3,
    shift=0.05,
    flips=True,
    brightness=0.06,
    contrast=0.25,
    gamma=0.15,
    noise=0.06,
    blur=0.2,
    field=0.04,
    random_convolution=0.3,
    neighbour_steps=WIDE.neighbour_steps,
    synthetic_lesions=0.75,
    dark_veins=0.3,
)
OF_STAGE = {"gate": WIDE, "liver": LIVER, "tumour": TUMOUR}


def augmentation_of(stage, changes):
    """What a stage is trained with, but for some changes, a dict such as {"noise": 0.1}; ValueError
    for an unknown name.
    """
    known = [field.name for field in fields(Augmentation)]
    if strange := sorted(set(changes) - set(known)):
        raise ValueError(unknown(strange[0], known, "augment has no"))
    return replace(OF_STAGE[stage], **changes)


def affine_matrix(how, centre, size, rng):
    """The 2 × 3 matrix from the pixels of a patch size × size to those of its slice, cut about
    `centre` (x, y).
    """
    centre = centre + rng.uniform(-how.shift, how.shift, 2) * size
    angle = np.deg2rad(rng.uniform(-how.rotation_degrees, how.rotation_degrees))
    scale = (1 + how.scale) ** rng.uniform(-1, 1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    if how.flips:
        turn = turn @ np.diag(rng.choice([-1.0, 1.0], 2))
        turn = turn @ (np.eye(2) if rng.random() < 0.5 else np.array([[0.0, 1.0], [1.0, 0.0]]))
    return np.column_stack([turn, centre - turn @ np.full(2, (size - 1) / 2)])


def warp(plane, matrix, size, interpolation):
    """Pixels of a plane (y, x) at the places that `matrix` gives for a patch of size × size; 0
    outside the plane.
    """
    if np.array_equal(matrix, np.eye(2, 3)) and plane.shape == (size, size):
        return np.asarray(plane)
    flags = interpolation | cv2.WARP_INVERSE_MAP
    plane = np.ascontiguousarray(plane)
    return cv2.warpAffine(plane, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT)


def intensity_augmented(image, how, rng):
    """Change intensities of a batch (B, C, H, W) within 0…1: contrast, brightness, gamma, blur,
    noise; a draw a slice.
    """
    if how == NONE:
        return image
    b = len(image)
    if how.random_convolution:
        share = rng.uniform(0, 0.5, b) * (rng.random(b) < how.random_convolution)
        image = random_convolved(image, share, rng)

    def drawn(low, high):
        return torch.from_numpy(rng.uniform(low, high, (b, 1, 1, 1)).astype(np.float32))

    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    # dtype: made beside a step, which may have set another as usual
    noise = torch.randn(image.shape, generator=generator, dtype=torch.float32)
    soft = drawn(0, 1) * (drawn(0, 1) < how.blur)
    image = (image - 0.5).mul_(1 + drawn(-how.contrast, how.contrast)).add_(0.5)
    image.add_(drawn(-how.brightness, how.brightness))
    if how.field:
        corners = rng.uniform(-how.field, how.field, (b, 1, 3, 3)).astype(np.float32)
        image.add_(functional.interpolate(
            torch.from_numpy(corners), image.shape[2:], mode="bilinear", align_corners=True
        ))
    image.clamp_(0, 1).pow_((1 + how.gamma) ** drawn(-1, 1))
    blurred = soft.flatten().nonzero().flatten()
    sharp = image[blurred]
    image[blurred] = torch.lerp(sharp, functional.avg_pool2d(sharp, 3, 1, 1), soft[blurred])
    return image.add_(noise.mul_(drawn(0, how.noise))).clamp_(0, 1)


def random_convolved(image, share, rng):
    """Each slice blended with a random shallow network's picture of it, its contrast kept (GIN,
    Ouyang et al. 2023, arXiv 2111.12525): grey values and texture change, outlines stay.

    image    float32 (B, C, H, W) within 0…1; share: (B,) of the network's picture, 0 for none.
    returns  float32 of the same shape.
    """
    chosen = np.flatnonzero(share)
    if not len(chosen):
        return image
    before = image[chosen] - 0.5
    x, count = before.transpose(0, 1), len(chosen)  # (C, B, H, W): a group of channels a slice
    for inside, outside in ((1, 2), (2, 2), (2, 2), (2, 1)):
        size = int(rng.choice([1, 3]))
        weight = rng.standard_normal((count * outside, inside, size, size)).astype(np.float32)
        bias = torch.from_numpy(rng.standard_normal(count * outside).astype(np.float32))
        x = functional.conv2d(x, torch.from_numpy(weight), bias, padding=size // 2, groups=count)
        x = functional.leaky_relu(x) if outside > 1 else x
    x = x.transpose(0, 1)

    def spread(planes):
        return planes.std((1, 2, 3), keepdim=True) + 1e-6

    x = (x - x.mean((1, 2, 3), keepdim=True)) / spread(x) * spread(before)
    x = x + before.mean((1, 2, 3), keepdim=True)
    blended = torch.lerp(before, x, torch.from_numpy(share[chosen]).float()[:, None, None, None])
    out = image.clone()
    out[chosen] = (blended * (spread(before) / spread(blended)) + 0.5).clamp(0, 1)
    return out


def shift_liver_intensity(planes, livers, change, sigma):
    """Make the liver brighter or darker than what surrounds it: fat in its cells takes up to 70 HU
    off, contrast adds 60.

    planes   uint8 (C, y, x); livers: bool (C, y, x), the liver in each of them, tumours included.
    change   grey values; sigma: pixels over which the change fades out at the liver's edge.
    returns  planes uint8 (C, y, x).
    """
    soft = np.stack([cv2.GaussianBlur(liver.astype(np.float32), (0, 0), sigma) for liver in livers])
    return np.rint((planes + change * soft).clip(0, 255)).astype(np.uint8)
