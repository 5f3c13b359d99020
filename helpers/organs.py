"""What the liver's and the tumour's network say of a whole scan, on its own grid."""

import numpy as np

from helpers import store
from helpers.components import PEAK, largest_piece
from helpers.necks import without_neighbours
from helpers.trained import Slices, probabilities, probabilities_mirrored


def working_slices(volume, recipe):
    """The Grid of whole slices, and the scan on it as Slices."""
    grid = store.grid_of(volume, "liver", recipe)
    return grid, Slices(volume.hu, grid, recipe)


def likely_liver(liver, grid, image, kept, threshold, probability=None, batch_size=8, step=1):
    """Where the liver's network sees liver in the slices `kept`.

    probability  uint8 (z, y, x) that is filled with what the network said, or None.
    returns      (bool (z, y, x) on the scan's grid, the highest probability of each slice, uint8 (z,)).
    """
    shape = (len(image), *(end for _, end in grid.box[1:]))
    mask, score = np.zeros(shape, bool), np.zeros(len(image), np.uint8)
    plane = np.zeros(shape[1:], np.uint8)
    for k, said in _asked(liver, image, kept, batch_size, step):
        grid.back(said, plane)
        mask[k], score[k] = plane >= threshold * PEAK, plane.max()
        if probability is not None:
            probability[k] = plane
    return mask, score


def _asked(loaded, image, rows, batch_size, step, mirrored=False):
    """Yield (row, plane of probabilities), a batch at a time; four planes (4, y, x) when the mirror images are asked for too."""
    for start in range(0, len(rows), batch_size):
        some = rows[start : start + batch_size]
        if mirrored:
            said = probabilities_mirrored(loaded, image, some, batch_size, step).swapaxes(0, 1)
        else:
            said = probabilities(loaded, image, some, batch_size, step)
        yield from zip(some, said, strict=True)


def one_liver(mask, volume, rules):
    """The liver in what the network saw as liver: its largest piece, without other organs that hang on it.

    returns  (bool (z, y, x), empty when smaller than `least_liver_ml`; number of pieces; what `without_neighbours` cut off).
    """
    piece, count = largest_piece(mask)
    liver, neighbours = without_neighbours(piece, volume.hu, volume.spacing_mm, rules.necks_mm, rules.unlike_hu)
    if np.count_nonzero(liver) * volume.voxel_ml < rules.least_liver_ml:
        liver = np.zeros_like(liver)
    return liver, count, neighbours


def predicted_liver(volume, liver, rules):
    """The liver of a scan, bool (z, y, x), as the cascade finds it by its Rules without a gate."""
    grid, image = working_slices(volume, liver.recipe)
    step = rules.neighbour_step(volume)
    mask, _ = likely_liver(liver, grid, image, np.arange(len(image)), rules.liver_threshold, step=step)
    return one_liver(mask, volume, rules)[0]


def tumour_probability(volume, tumour, roi, liver, mirrored=False, batch_size=8, step=1):
    """Probability of tumour in the box of the region of interest, from those of its slices that show liver.

    returns  (probability, spread), uint8 in the box. With `mirrored` the mean of four views and their standard deviation,
             else one view and None.
    """
    (z0, z1), *edges = roi.box
    rows, columns = (slice(*edge) for edge in edges)
    image = Slices(volume.hu[z0:z1], roi, tumour.recipe, store.reference_shift(volume.hu, liver, tumour.recipe))
    out, plane = np.zeros([end - start for start, end in roi.box], np.uint8), np.zeros(volume.hu.shape[1:], np.uint8)
    spread = np.zeros_like(out) if mirrored else None
    for k, said in _asked(tumour, image, np.flatnonzero(liver.any((1, 2))) - z0, batch_size, step, mirrored):
        if mirrored:
            said, apart = (np.rint(part).astype(np.uint8) for part in (said.mean(0), said.std(0)))
            spread[k] = roi.back(apart, plane)[rows, columns]
        out[k] = roi.back(said, plane)[rows, columns]
    return out, spread
