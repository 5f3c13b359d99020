"""A batch is a pure function of (seed, step, chunk list): which slices, which augmentation, and nothing else."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

cv2.setNumThreads(1)  # slices are small: a second thread costs more than it gives, and torch has the cores


@dataclass(frozen=True)
class Augmentation:
    """How far a batch may be bent away from the scans; every range is symmetric about no change.

    rotation_degrees, scale (share), shift (share of the edge), flips (also quarter turns), brightness and contrast
    (share of the window), gamma, noise (share of the window), blur (chance of a soft slice).
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


NONE = Augmentation(0, 0, 0, False, 0, 0, 0, 0, 0)


class Batches:
    """Makes the batch of any step from the chunks of a run; call it with the step.

    chunks      list of DataFrames (case, z, liver_px, tumour_px, kind).
    store       store.Store of the stage's slices.
    stage       "gate", "liver" or "tumour": what the target is, and where a patch may lie.
    batch_size  slices a batch; `patch` pixels along its edges, 0 takes whole slices (they must be of one size).
    neighbours  slices on either side that become channels.
    mean, deviation  of the grey values, that 0 and 1 shall stand for.
    """

    def __init__(self, chunks, store, stage, *, seed, batch_size, patch, neighbours, augmentation, classes=1, norm=(0.0, 255.0)):
        self.store, self.stage, self.seed, self.batch_size = store, stage, seed, batch_size
        self.patch, self.neighbours, self.augmentation, self.classes, self.norm = patch, neighbours, augmentation, classes, norm
        if stage == "tumour":
            chunks = [chunk[chunk.kind != "empty"] for chunk in chunks]  # a region of interest holds liver
        self.chunks = [chunk.reset_index(drop=True) for chunk in chunks]
        self.steps_in = [max(1, len(chunk) // batch_size) for chunk in self.chunks]
        self.first_in = np.concatenate([[0], np.cumsum(self.steps_in)])
        self.steps_per_round = int(self.first_in[-1])

    def place(self, step):
        """(round, chunk, batch within the chunk) of a step, all from 0."""
        turn, rest = divmod(step, self.steps_per_round)
        chunk = int(np.searchsorted(self.first_in, rest, side="right")) - 1
        return turn, chunk, rest - int(self.first_in[chunk])

    def rows(self, step):
        """The slices of a step: tumour and others shuffled apart, then dealt in turn, so that every batch is balanced."""
        turn, number, k = self.place(step)
        chunk = self.chunks[number]
        rng = np.random.default_rng([self.seed, turn, number])
        kind = "empty" if self.stage == "gate" else "tumour"
        halves = [rng.permutation(np.flatnonzero(side)) for side in (chunk.kind == kind, chunk.kind != kind)]
        keys = np.concatenate([(np.arange(len(half)) + 0.5) / max(1, len(half)) for half in halves])
        order = np.concatenate(halves)[np.argsort(keys, kind="stable")]
        return chunk.iloc[order[(k * self.batch_size + np.arange(self.batch_size)) % len(order)]]

    def __call__(self, step):
        """Image float32 (B, C, H, W), normalised, and target int64 (B, 1, H, W), or (B, 1) for the gate."""
        rng = np.random.default_rng([self.seed, 1_000_003, step])
        pairs = [self._sample(row, rng) for row in self.rows(step).itertuples()]
        image = torch.from_numpy(np.stack([image for image, _ in pairs])).float().div_(255)
        target = torch.from_numpy(np.stack([target for _, target in pairs])).long()
        return normalised(recoloured(image, self.augmentation, rng), self.norm), target

    def _sample(self, row, rng):
        image, mask = self.store.image(row.case), self.store.mask(row.case)
        k = row.z - self.store.first_z(row.case)
        size = self.patch or mask.shape[1]
        matrix = self._placing(mask[k], size, rng)
        planes = stacked(image, k, self.neighbours)  # (C, y, x)
        picture = np.stack([warped(plane, matrix, size, cv2.INTER_LINEAR) for plane in planes])
        if self.stage == "gate":
            return picture, np.array([row.liver_px > 0], dtype=np.uint8)
        return picture, target_of(warped(mask[k], matrix, size, cv2.INTER_NEAREST), self.stage, self.classes)[None]

    def _placing(self, mask, size, rng):
        """The 2 × 3 matrix from a patch's pixels to the slice's: where it lies, how it is turned and scaled."""
        how = self.augmentation
        centre = np.array([(mask.shape[1] - 1) / 2, (mask.shape[0] - 1) / 2])  # (x, y)
        if self.patch and self.stage == "tumour":
            wanted = mask == 2 if rng.random() < 0.67 and (mask == 2).any() else mask >= 1
            spots = np.argwhere(wanted)
            if len(spots):
                centre = spots[rng.integers(len(spots))][::-1] + rng.uniform(-0.25, 0.25, 2) * size
            room = np.maximum(np.array(mask.shape[::-1]) - size, 0) / 2  # a patch stays within its region
            middle = (np.array(mask.shape[::-1]) - 1) / 2
            centre = np.clip(centre, middle - room, middle + room)
        centre = centre + rng.uniform(-how.shift, how.shift, 2) * size
        angle = np.deg2rad(rng.uniform(-how.rotation_degrees, how.rotation_degrees))
        scale = (1 + how.scale) ** rng.uniform(-1, 1)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
        if how.flips:
            turn = turn @ np.diag(rng.choice([-1.0, 1.0], 2))
            turn = turn @ (np.eye(2) if rng.random() < 0.5 else np.array([[0.0, 1.0], [1.0, 0.0]]))
        return np.column_stack([turn, centre - turn @ np.full(2, (size - 1) / 2)])


def stacked(image, k, neighbours):
    """Slice k of a store's image (z, windows, y, x) with its neighbours: (windows · (2 · neighbours + 1), y, x).

    Beyond the first and last slice the end slice is repeated.
    """
    near = np.clip(np.arange(k - neighbours, k + neighbours + 1), 0, len(image) - 1)
    return image[near].reshape(-1, *image.shape[2:])


def warped(plane, matrix, size, interpolation):
    """Pixels of a plane (y, x) at the places that `matrix` gives for a patch of size × size; 0 outside the plane."""
    if np.array_equal(matrix, np.eye(2, 3)) and plane.shape == (size, size):
        return np.asarray(plane)
    flags = interpolation | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(np.ascontiguousarray(plane), matrix, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT)


def target_of(mask, stage, classes=1):
    """What a stage learns from labels 0/1/2: liver and tumour together, or tumour; with three classes the labels."""
    if classes > 1:
        return mask
    return (mask >= 1 if stage == "liver" else mask == 2).astype(np.uint8)


def normalised(image, norm):
    """From a window's 0…1 to what a network sees; `norm` is (mean, deviation) in grey values of 0…255."""
    return (image * 255 - norm[0]) / norm[1]


def recoloured(image, how, rng):
    """Change intensities of a batch (B, C, H, W) within 0…1: contrast, brightness, gamma, blur, noise; a draw a slice."""
    if how == NONE:
        return image
    b = len(image)

    def each(low, high):
        return torch.from_numpy(rng.uniform(low, high, (b, 1, 1, 1)).astype(np.float32))

    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
    soft = each(0, 1) * (each(0, 1) < how.blur)
    image = (image - 0.5) * (1 + each(-how.contrast, how.contrast)) + 0.5 + each(-how.brightness, how.brightness)
    image = image.clamp_(0, 1) ** (1 + how.gamma) ** each(-1, 1)
    image = torch.lerp(image, torch.nn.functional.avg_pool2d(image, 3, 1, 1), soft)
    return (image + noise * each(0, how.noise)).clamp_(0, 1)


def in_parts(work, image, target, parts):
    """Call work(image, target, parts); when a GPU's memory is too small for a part, halve the parts and try again.

    returns  (what work returned, the number of parts that fitted).
    """
    while True:
        try:
            return work(image, target, parts), parts
        except torch.OutOfMemoryError:
            if parts >= len(image):
                raise
            parts *= 2
            torch.cuda.empty_cache()
            print(f"the GPU's memory is too small: batches are now worked through in {parts} parts")


def drawn_balance(batches, steps):
    """What the first `steps` batches really hold: DataFrame with a row per slice drawn (step, case, z, kind)."""
    import pandas as pd

    return pd.concat([batches.rows(step)[["case", "z", "kind"]].assign(step=step) for step in range(steps)], ignore_index=True)


def read_lists(folder):
    """The chunks and the validation slices of a run, as 02 wrote them: (list of DataFrames, DataFrame)."""
    from helpers import lists

    files = sorted(folder.glob("train_chunk_*.csv"))
    if not files:
        raise FileNotFoundError(f"{folder}: holds no train_chunk_*.csv; run 02_filtering first")
    return [lists.read(file) for file in files], lists.read(folder / "val.csv")
