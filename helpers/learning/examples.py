"""Samples before and after they are changed, by one change or by all: what notebook 03 shows."""

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
    draws = range(DRAWS)
    return _ranked([tuple(_view(b, rows, rows, seed) for b in (plain, only)) for seed in draws])[-1]


def crops(batches, step, count):
    """The first samples of a step untouched and augmented, cut about the same spot of the slice.

    yields  (before, after, real): before and after as `augmented_alone` gives them; real labels
            (y, x), those of `after` if nothing had been painted or pasted in.
    """
    how, chunk = batches.augmentation, batches.chunks[batches.position(step)[1]]
    still = replace(NONE, neighbour_steps=how.neighbour_steps)  # drawn before the spot is
    real = replace(how, synthetic_lesions=0, gallbladders=0, dark_veins=0)
    sources = [replace(batches, augmentation=a, classes=3) for a in (still, how, real)]
    rows = batches.rows(step)
    for k in range(min(count, len(rows))):
        before, after, (_, without) = (_view(b, rows[k : k + 1], chunk, k) for b in sources)
        yield before, after, without


def _view(batches, row, chunk, seed):
    """(grey float32 (y, x) of 0 to 255, labels (y, x)) of one slice, its draws fixed by `seed`."""
    image, target = batches.batch_of(row, chunk, np.random.default_rng(seed))
    mean, deviation = batches.norm
    return (image[0, image.shape[1] // 2] * deviation + mean).numpy(), target[0, 0].numpy()


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
