"""One change to a sample alone, before and after it: what notebook 03 shows."""

from dataclasses import replace

import numpy as np

from helpers.learning import synthetic
from helpers.learning.augmentation import NONE
from helpers.slices.store import step_of

DRAWS = 24


def augmented_alone(batches, rows, names):
    """A slice under a few fields of the augmentation, all others off.

    batches  Batches, whose augmentation says how far; rows: DataFrame of the one slice; names: of
             the fields.
    returns  (before, after), each (grey float32 (y, x) of 0 to 255, labels (y, x)). Of some draws
             the strongest.
    """
    fields = {name: getattr(batches.augmentation, name) for name in names}
    plain = replace(batches, augmentation=NONE, classes=3)
    only = replace(plain, augmentation=replace(NONE, **fields))

    def view(source, seed):
        image, target = source.batch_of(rows, rows, np.random.default_rng(seed))
        mean, deviation = source.norm
        return (image[0, image.shape[1] // 2] * deviation + mean).numpy(), target[0, 0].numpy()

    return _ranked([(view(plain, seed), view(only, seed)) for seed in range(DRAWS)])[-1]


def scale_of(batches, case):
    """synthetic.Scale of a case's planes, whose neighbours are those that a prediction takes."""
    step = step_of(batches.store, case)
    return synthetic.scale_of(batches.store.meta(case), batches.neighbours, step)


def synthesised_alone(batches, rows, change):
    """A slice before and after a change by `synthetic`, as `augmented_alone` gives it, but a
    middling draw.

    change  function (planes float32 (C, y, x), labels uint8 (y, x), rng) that changes both in
            place.
    """
    row = next(rows.itertuples())
    planes, labels, _ = replace(batches, augmentation=NONE).cut(row, np.random.default_rng(0))
    middle = len(planes) // 2

    def changed(seed):
        new_planes, new_labels = planes.astype(np.float32), labels.copy()
        change(new_planes, new_labels, np.random.default_rng(seed))
        return new_planes[middle].clip(0, 255), new_labels

    before = planes[middle].astype(np.float32), labels
    ranked = _ranked([(before, changed(seed)) for seed in range(DRAWS)])
    return ranked[len(ranked) // 2]


def _ranked(pairs):
    """The pairs that differ, by how much; the first alone where none does."""
    change = [float(np.abs(after[0] - before[0]).mean()) for before, after in pairs]
    return [pairs[k] for k in np.argsort(change) if change[k] > 0] or pairs[:1]
