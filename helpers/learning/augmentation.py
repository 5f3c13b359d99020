"""How far a sample is bent away from its scan: turned, scaled, recoloured, blurred; drawn from the batch's generator."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch


@dataclass(frozen=True)
class Augmentation:
    """How far a batch may be bent away from the scans: to either side by up to the value, noise from 0 up to it.

    rotation_degrees, scale (share), shift (share of the edge), flips (also quarter turns), brightness and contrast
    (share of the window), gamma, noise (share of the window), blur (chance of a soft slice), field (share of the window
    by which brightness drifts across a slice), neighbour_steps (distances from which the neighbours are drawn; 1 is about 3 mm),
    implants (chance that healthy liver gets tumours, a third of it where there are some already), decoys (chance that the
    liver gets a second gallbladder), veins (chance that the liver's bright vessels become dark ones), liver_level (share of
    the window by which the liver alone becomes brighter or darker, in half of the samples).
    """

    rotation_degrees: float = 15.0
    scale: float = 0.2
    shift: float = 0.05
    flips: bool = False
    brightness: float = 0.12
    contrast: float = 0.2
    gamma: float = 0.2
    noise: float = 0.04
    blur: float = 0.2
    field: float = 0.0
    neighbour_steps: tuple = (1,)
    implants: float = 0.0
    decoys: float = 0.0
    veins: float = 0.0
    liver_level: float = 0.0


NONE = Augmentation(0, 0, 0, False, 0, 0, 0, 0, 0)
# what the stages are trained with: brightness and shape wide enough for other hospitals' scans; in regions of interest any turn
WIDE = Augmentation(scale=0.3, shift=0.1, contrast=0.3, gamma=0.8, noise=0.06, field=0.1, neighbour_steps=(0, 1, 1, 1, 2))
OF_STAGE = {
    "gate": WIDE,
    # without implants it leaves tumours out, without other levels the livers that are full of fat
    "liver": replace(WIDE, brightness=0.15, implants=0.5, decoys=0.5, liver_level=0.3),
    "tumour": Augmentation(
        rotation_degrees=30.0, scale=0.3, flips=True, brightness=0.06, contrast=0.25, gamma=0.15, noise=0.06, field=0.04,
        neighbour_steps=WIDE.neighbour_steps, implants=0.75, veins=0.3,
    ),
}  # fmt: skip


def affine_matrix(how, centre, size, rng):
    """The 2 × 3 matrix from the pixels of a patch size × size to those of its slice, cut about `centre` (x, y)."""
    centre = centre + rng.uniform(-how.shift, how.shift, 2) * size
    angle = np.deg2rad(rng.uniform(-how.rotation_degrees, how.rotation_degrees))
    scale = (1 + how.scale) ** rng.uniform(-1, 1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    if how.flips:
        turn = turn @ np.diag(rng.choice([-1.0, 1.0], 2))
        turn = turn @ (np.eye(2) if rng.random() < 0.5 else np.array([[0.0, 1.0], [1.0, 0.0]]))
    return np.column_stack([turn, centre - turn @ np.full(2, (size - 1) / 2)])


def warp(plane, matrix, size, interpolation):
    """Pixels of a plane (y, x) at the places that `matrix` gives for a patch of size × size; 0 outside the plane."""
    if np.array_equal(matrix, np.eye(2, 3)) and plane.shape == (size, size):
        return np.asarray(plane)
    flags = interpolation | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(np.ascontiguousarray(plane), matrix, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT)


def intensity_augmented(image, how, rng):
    """Change intensities of a batch (B, C, H, W) within 0…1: contrast, brightness, gamma, blur, noise; a draw a slice."""
    if how == NONE:
        return image
    b = len(image)

    def each(low, high):
        return torch.from_numpy(rng.uniform(low, high, (b, 1, 1, 1)).astype(np.float32))

    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
    soft = each(0, 1) * (each(0, 1) < how.blur)
    image = (image - 0.5) * (1 + each(-how.contrast, how.contrast)) + 0.5 + each(-how.brightness, how.brightness)
    if how.field:
        corners = torch.from_numpy(rng.uniform(-how.field, how.field, (b, 1, 3, 3)).astype(np.float32))
        image = image + torch.nn.functional.interpolate(corners, image.shape[2:], mode="bilinear", align_corners=True)
    image = image.clamp_(0, 1) ** (1 + how.gamma) ** each(-1, 1)
    image = torch.lerp(image, torch.nn.functional.avg_pool2d(image, 3, 1, 1), soft)
    return (image + noise * each(0, how.noise)).clamp_(0, 1)
