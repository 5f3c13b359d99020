"""A batch is a pure function of (seed, step, chunk list): which slices, which augmentation, and nothing else."""

import cv2
import numpy as np
import torch

from helpers.learning import augmentation, synthetic
from helpers.slices.recipe import normalised, stacked
from helpers.slices.store import step_of

cv2.setNumThreads(1)  # slices are small: a second thread costs more than it gives, and torch has the cores


class Batches:
    """Makes the batch of any step from the chunks of a run; call it with the step.

    chunks      list of DataFrames (case, z, liver_px, tumour_px, kind).
    store       store.Store of the stage's slices.
    stage       "gate", "liver" or "tumour": what the target is, and where a patch may lie.
    batch_size  slices a batch; `patch` pixels along its edges, 0 takes whole slices (they must be of one size).
    neighbours  slices on either side that become channels.
    bends       augmentation.Augmentation.
    norm        (mean, deviation) in grey values of 0 to 255; a pixel becomes (grey − mean) / deviation.
    patient_balance    0 draws every slice once an epoch; 1 draws every scan equally often, 0.5 by the root of its slices.
    """

    def __init__(self, chunks, store, stage, *, seed, batch_size, patch, neighbours, bends, classes=1, norm=(0.0, 255.0),
                 patient_balance=0.0):  # fmt: skip
        self.store, self.stage, self.seed, self.batch_size, self.patient_balance = store, stage, seed, batch_size, patient_balance
        self.patch, self.neighbours, self.bends, self.classes, self.norm = patch, neighbours, bends, classes, norm
        if stage == "tumour":
            chunks = [chunk[chunk.kind != "empty"] for chunk in chunks]  # a region of interest holds liver
        self.chunks = [chunk.reset_index(drop=True) for chunk in chunks]
        self.steps_in = [max(1, len(chunk) // batch_size) for chunk in self.chunks]
        self.first_in = np.concatenate([[0], np.cumsum(self.steps_in)])
        self.steps_per_epoch = int(self.first_in[-1])

    def place(self, step):
        """(epoch, chunk, batch within the chunk) of a step, all from 0."""
        turn, rest = divmod(step, self.steps_per_epoch)
        chunk = int(np.searchsorted(self.first_in, rest, side="right")) - 1
        return turn, chunk, rest - int(self.first_in[chunk])

    def rows(self, step):
        """The slices of a step: tumour and others shuffled apart, then dealt in turn, so that every batch is balanced."""
        turn, number, k = self.place(step)
        chunk = self.chunks[number]
        rng = np.random.default_rng([self.seed, turn, number])
        kind = "empty" if self.stage == "gate" else "tumour"
        halves = [self._drawn(chunk.case, np.flatnonzero(side), rng) for side in (chunk.kind == kind, chunk.kind != kind)]
        keys = np.concatenate([(np.arange(len(half)) + 0.5) / max(1, len(half)) for half in halves])
        order = np.concatenate(halves)[np.argsort(keys, kind="stable")]
        return chunk.iloc[order[(k * self.batch_size + np.arange(self.batch_size)) % len(order)]]

    def _drawn(self, cases, rows, rng):
        """The rows in random order; with patient_balance drawn again and again, those of scans with many slices more seldom."""
        if not self.patient_balance or not len(rows):
            return rng.permutation(rows)
        _, case, count = np.unique(cases.to_numpy()[rows], return_inverse=True, return_counts=True)
        weight = count[case] ** -float(self.patient_balance)
        return rng.choice(rows, len(rows), p=weight / weight.sum())

    def __call__(self, step):
        """Image float32 (B, C, H, W), normalised, and target int64 (B, 1, H, W), or (B, 1) for the gate."""
        rng = np.random.default_rng([self.seed, 1_000_003, step])
        chunk = self.chunks[self.place(step)[1]]
        donors = chunk[chunk.kind == "tumour"] if self.bends.implants else None
        pairs = [self._sample(row, donors, rng) for row in self.rows(step).itertuples()]
        image = torch.from_numpy(np.stack([image for image, _ in pairs])).float().div_(255)
        target = torch.from_numpy(np.stack([target for _, target in pairs])).long()
        return normalised(augmentation.intensity_augmented(image, self.bends, rng), self.norm), target

    def _sample(self, row, donors, rng):
        how = self.bends
        image, mask = self.store.image(row.case), self.store.mask(row.case)
        k, step = row.z - self.store.first_z(row.case), self._step(row.case, rng)
        size = self.patch or mask.shape[1]
        about = self._centre(mask[k], size, rng)
        matrix = augmentation.affine_matrix(how, about, size, rng)
        planes = stacked(image, k, self.neighbours, step)  # (C, y, x)
        if how.liver_level and rng.random() < 0.5:
            change, sigma = 255 * rng.uniform(-1, 1) * how.liver_level, rng.uniform(0.7, 2.0)
            planes = synthetic.shift_liver_intensity(planes, self._labels_near(row.case, k, step) >= 1, change, sigma)
        picture = np.stack([augmentation.warp(plane, matrix, size, cv2.INTER_LINEAR) for plane in planes])
        if self.stage == "gate":
            return picture, np.array([row.liver_px > 0], dtype=np.uint8)
        labels = augmentation.warp(mask[k], matrix, size, cv2.INTER_NEAREST)
        if (how.implants or how.decoys or how.veins) and (labels == 1).any():
            picture, labels = self._implanted(picture, labels, row.case, step, donors, rng)
        target = target_of(labels, self.stage, self.classes)
        return picture, target[None]

    def _labels_near(self, case, k, step):
        """Labels uint8 (C, y, x) of slice k and its neighbours, one for each channel of `stacked` pictures."""
        labels = stacked(self.store.mask(case)[:, None], k, self.neighbours, step)
        return np.repeat(labels, self.store.image(case).shape[1], axis=0)

    def _step(self, case, rng):
        """How many slices away this sample's neighbours are."""
        return int(rng.choice(self.bends.neighbour_steps)) * step_of(self.store, case)

    def _implanted(self, picture, labels, case, step, donors, rng):
        """With up to three tumours and one gallbladder more, or dark veins: (picture uint8 (C, y, x), labels uint8 (y, x))."""
        tumours = rng.integers(1, 4) if rng.random() < self.bends.implants * (1 / 3 if (labels == 2).any() else 1) else 0
        decoy = rng.random() < self.bends.decoys
        veins = bool(self.bends.veins) and rng.random() < self.bends.veins
        if not tumours and not decoy and not veins:
            return picture, labels
        planes, labels = picture.astype(np.float32), labels.copy()
        meta = self.store.meta(case)
        around = np.repeat(np.arange(-self.neighbours, self.neighbours + 1), len(meta["recipe"]["windows"]))
        grey_per_hu = np.resize([255 / (high - low) for low, high in meta["recipe"]["windows"]], len(planes))
        pixel_mm = meta["spacing_mm"][1] * (meta["box"][1][1] - meta["box"][1][0]) / meta["shape"][0]
        where = grey_per_hu, pixel_mm, around * step * meta["spacing_mm"][0]
        if veins:
            synthetic.darken_veins(planes, labels, rng, grey_per_hu)
        if decoy:
            synthetic.paste_gallbladder(planes, labels, rng, *where)
        for _ in range(tumours):
            donor = self._donor(donors, rng) if rng.random() < 0.5 else None
            if donor:
                synthetic.paste(planes, labels, donor, rng)
            else:
                synthetic.paint(planes, labels, rng, *where)
        return np.rint(planes.clip(0, 255)).astype(np.uint8), labels

    def _donor(self, donors, rng):
        """A lesion of another slice, scans drawn as `patient_balance` says; None where there is none."""
        if not len(donors):
            return None
        row = donors.iloc[self._drawn(donors.case, np.arange(len(donors)), rng)[0]]
        k, step = row.z - self.store.first_z(row.case), self._step(row.case, rng)
        planes = stacked(self.store.image(row.case), k, self.neighbours, step)
        return synthetic.donor_from(planes, self._labels_near(row.case, k, step), rng)

    def _centre(self, mask, size, rng):
        """(x, y) about which a sample is cut: the slice's middle, or in the tumour stage a lesion or a spot of the liver."""
        middle = (np.array(mask.shape[::-1]) - 1) / 2
        if not self.patch or self.stage != "tumour":
            return middle
        spots = np.argwhere(one_lesion(mask, rng) if (mask == 2).any() and rng.random() < 0.67 else mask >= 1)
        if not len(spots):
            return middle
        room = np.maximum(np.array(mask.shape[::-1]) - size, 0) / 2  # a patch stays within its region
        wanted = spots[rng.integers(len(spots))][::-1] + rng.uniform(-0.25, 0.25, 2) * size
        return np.clip(wanted, middle - room, middle + room)


def one_lesion(mask, rng):
    """One 4-connected lesion of labels (y, x), drawn whatever its size: bool (y, x)."""
    count, pieces = cv2.connectedComponents((mask == 2).astype(np.uint8), connectivity=4)
    return pieces == rng.integers(1, count)


def target_of(mask, stage, classes=1):
    """What a stage learns from labels 0/1/2: liver and tumour together, or tumour; with three classes the labels."""
    if classes > 1:
        return mask
    return (mask >= 1 if stage == "liver" else mask == 2).astype(np.uint8)


def drawn_balance(batches, steps):
    """What the first `steps` batches really hold: DataFrame with a row per slice drawn (step, case, z, kind)."""
    import pandas as pd

    return pd.concat([batches.rows(step)[["case", "z", "kind"]].assign(step=step) for step in range(steps)], ignore_index=True)
