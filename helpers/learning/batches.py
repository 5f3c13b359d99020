"""A batch is a pure function of (seed, step, chunk list), and of nothing else."""

from dataclasses import KW_ONLY, dataclass

import cv2
import numpy as np
import pandas as pd
import torch

from helpers.learning import augmentation, synthetic
from helpers.scans.labels import UNKNOWN
from helpers.slices.pixels import stacked
from helpers.slices.store import Store, step_of

# slices are small: a second thread costs more than it gives, and torch has the cores
cv2.setNumThreads(1)


@dataclass(eq=False)
class Batches:
    """Makes the batch of any step from the chunks of a run; call it with the step.

    chunks           list of DataFrames (case, z, liver_px, tumour_px, kind); store: of the stage's
                     slices.
    stage            "gate", "liver" or "tumour": what the target is, and where a patch may lie.
    batch_size       slices a batch; `patch` pixels along its edges, 0 takes whole slices (they must
                     be of one size).
    neighbours       slices on either side that become channels.
    norm             (mean, deviation) in grey values of 0 to 255; a pixel becomes (grey − mean) /
                     deviation.
    patient_balance  0 draws every slice once an epoch; 1 draws every scan equally often, 0.5 by the
                     root of its slices.
    """

    chunks: list
    store: Store
    stage: str
    _: KW_ONLY
    seed: int
    batch_size: int
    patch: int
    neighbours: int
    augmentation: augmentation.Augmentation
    classes: int = 1
    norm: tuple = (0.0, 255.0)
    patient_balance: float = 0.0

    def __post_init__(self):
        if self.stage == "tumour":
            # a region of interest holds liver
            self.chunks = [chunk[chunk.kind != "empty"] for chunk in self.chunks]
        self.chunks = [chunk.reset_index(drop=True) for chunk in self.chunks]
        self.steps_in = [max(1, len(chunk) // self.batch_size) for chunk in self.chunks]
        self.first_in = np.concatenate([[0], np.cumsum(self.steps_in)])
        self.steps_per_epoch = int(self.first_in[-1])

    def position(self, step):
        """(epoch, chunk, batch within the chunk) of a step, all from 0."""
        epoch, rest = divmod(step, self.steps_per_epoch)
        chunk = int(np.searchsorted(self.first_in, rest, side="right")) - 1
        return epoch, chunk, rest - int(self.first_in[chunk])

    def rows(self, step):
        """The slices of a step: tumour and others shuffled apart, then merged evenly."""
        epoch, number, k = self.position(step)
        chunk = self.chunks[number]
        rng = np.random.default_rng([self.seed, epoch, number])
        kind = "empty" if self.stage == "gate" else "tumour"
        sides = (chunk.kind == kind, chunk.kind != kind)
        halves = [self._shuffled(chunk.case, np.flatnonzero(side), rng) for side in sides]
        keys = np.concatenate([(np.arange(len(half)) + 0.5) / max(1, len(half)) for half in halves])
        order = np.concatenate(halves)[np.argsort(keys, kind="stable")]
        return chunk.iloc[order[(k * self.batch_size + np.arange(self.batch_size)) % len(order)]]

    def _shuffled(self, cases, rows, rng):
        """The rows in random order; with patient_balance as many, drawn with replacement."""
        if not self.patient_balance or not len(rows):
            return rng.permutation(rows)
        _, case, count = np.unique(cases.to_numpy()[rows], return_inverse=True, return_counts=True)
        weight = count[case] ** -float(self.patient_balance)
        return rng.choice(rows, len(rows), p=weight / weight.sum())

    def __call__(self, step):
        """Normalised image float32 (B, C, H, W), target int64 (B, 1, H, W), of the gate (B, 1)."""
        rng = np.random.default_rng([self.seed, 1_000_003, step])
        return self.batch_of(self.rows(step), self.chunks[self.position(step)[1]], rng)

    def batch_of(self, rows, chunk, rng):
        """The batch of some rows; `chunk`: the slices whose lesions may be pasted into them."""
        donors = chunk[chunk.kind == "tumour"] if self.augmentation.synthetic_lesions else None
        samples = [self._sample(row, donors, rng) for row in rows.itertuples()]
        image = torch.from_numpy(np.stack([image for image, _ in samples])).float().div_(255)
        target = torch.from_numpy(np.stack([target for _, target in samples])).long()
        image = augmentation.intensity_augmented(image, self.augmentation, rng)
        # as `normalised`, in place
        return image.mul_(255).sub_(self.norm[0]).div_(self.norm[1]), target

    def _sample(self, row, donors, rng):
        planes, labels, step = self.cut(row, rng)
        if self.stage == "gate":
            return planes, np.array([row.liver_px > 0], dtype=np.uint8)
        unknown = labels == UNKNOWN
        labels = np.where(unknown, np.uint8(1), labels)  # lesions are painted there as anywhere
        if self.augmentation.synthesises and (labels == 1).any():
            scale = synthetic.scale_of(self.store.meta(row.case), self.neighbours, step)
            planes, labels = self._synthesised(planes, labels, scale, donors, rng)
        labels = np.where(unknown & (labels == 1), np.uint8(UNKNOWN), labels)
        return planes, target_of(labels, self.stage, self.classes)[None]

    def cut(self, row, rng):
        """A slice with its neighbours, moved and its liver's level changed by the augmentation.

        returns  (planes uint8 (C, y, x), labels uint8 (y, x) of the slice itself, how many slices
                 away its neighbours are).
        """
        mask = self.store.mask(row.case)
        k, step = row.z - self.store.first_z(row.case), self._step(row.case, rng)
        size = self.patch or mask.shape[1]
        centre = self._centre(mask[k], size, rng)
        matrix = augmentation.affine_matrix(self.augmentation, centre, size, rng)
        planes = self._planes(row.case, k, step)  # (C, y, x)
        if self.augmentation.liver_level and rng.random() < 0.5:
            change = 255 * rng.uniform(-1, 1) * self.augmentation.liver_level
            sigma = rng.uniform(0.7, 2.0)
            livers = self._labels_near(row.case, k, step) >= 1
            planes = augmentation.shift_liver_intensity(planes, livers, change, sigma)
        warped = [augmentation.warp(plane, matrix, size, cv2.INTER_LINEAR) for plane in planes]
        labels = augmentation.warp(mask[k], matrix, size, cv2.INTER_NEAREST)
        return np.stack(warped), labels, step

    def _planes(self, case, k, step):
        """Slice k and its neighbours, uint8 (C, y, x)."""
        breaks = self.store.breaks(case)
        return stacked(self.store.image(case), k, self.neighbours, step, breaks)

    def _labels_near(self, case, k, step):
        """Labels uint8 (C, y, x) of slice k and its neighbours, one for each channel."""
        masks, breaks = self.store.mask(case)[:, None], self.store.breaks(case)
        labels = stacked(masks, k, self.neighbours, step, breaks)
        return np.repeat(labels, self.store.image(case).shape[1], axis=0)

    def _step(self, case, rng):
        """How many slices away this sample's neighbours are."""
        return int(rng.choice(self.augmentation.neighbour_steps)) * step_of(self.store, case)

    def _synthesised(self, planes, labels, scale, donors, rng):
        """(planes, labels), of the same types, with more tumours, a gallbladder, or dark veins."""
        chances, share = self.augmentation, 1 / 3 if (labels == 2).any() else 1
        tumours = rng.integers(1, 4) if rng.random() < chances.synthetic_lesions * share else 0
        gallbladder = rng.random() < chances.gallbladders
        veins = bool(chances.dark_veins) and rng.random() < chances.dark_veins
        if not tumours and not gallbladder and not veins:
            return planes, labels
        planes, labels = planes.astype(np.float32), labels.copy()
        if veins:
            synthetic.darken_veins(planes, labels, rng, scale)
        if gallbladder:
            synthetic.paste_gallbladder(planes, labels, rng, scale)
        for _ in range(tumours):
            donor = self.donor(donors, rng) if rng.random() < 0.5 else None
            if donor:
                synthetic.paste(planes, labels, rng, donor)
            else:
                synthetic.paint(planes, labels, rng, scale)
        return np.rint(planes.clip(0, 255)).astype(np.uint8), labels

    def donor(self, rows, rng):
        """A lesion of one of these slices as a synthetic.Donor; None where there is none."""
        if not len(rows):
            return None
        row = rows.iloc[self._shuffled(rows.case, np.arange(len(rows)), rng)[0]]
        k, step = row.z - self.store.first_z(row.case), self._step(row.case, rng)
        planes = self._planes(row.case, k, step)
        return synthetic.donor_from(planes, self._labels_near(row.case, k, step), rng)

    def _centre(self, mask, size, rng):
        """(x, y) about which a sample is cut: the middle, or a lesion or a spot of the liver."""
        middle = (np.array(mask.shape[::-1]) - 1) / 2
        if not self.patch or self.stage != "tumour":
            return middle
        about_lesion = (mask == 2).any() and rng.random() < 0.67
        spots = np.argwhere(one_lesion(mask, rng) if about_lesion else mask >= 1)
        if not len(spots):
            return middle
        # a patch stays within its region
        room = np.maximum(np.array(mask.shape[::-1]) - size, 0) / 2
        centre = spots[rng.integers(len(spots))][::-1] + rng.uniform(-0.25, 0.25, 2) * size
        return np.clip(centre, middle - room, middle + room)


def one_lesion(mask, rng):
    """One 4-connected lesion of labels (y, x), drawn whatever its size: bool (y, x)."""
    count, components = cv2.connectedComponents((mask == 2).astype(np.uint8), connectivity=4)
    return components == rng.integers(1, count)


def target_of(mask, stage, classes=1):
    """What a stage learns from labels 0/1/2: all liver, or tumour; with three classes both.

    Where the mask is UNKNOWN, liver that may be tumour, so is the target: no loss counts it.
    """
    if classes > 1:
        return mask
    if stage == "liver":
        return (mask >= 1).astype(np.uint8)
    return np.where(mask == UNKNOWN, mask, mask == 2).astype(np.uint8)


def drawn_balance(batches, steps):
    """The slices that the first `steps` batches hold: DataFrame step, case, z, kind."""
    columns = ["case", "z", "kind"]
    rows = [batches.rows(step)[columns].assign(step=step) for step in range(steps)]
    return pd.concat(rows, ignore_index=True)
