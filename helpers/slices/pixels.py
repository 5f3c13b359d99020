"""What is done to single planes on the way to a network: windowed, resampled, cut or padded,
stacked; and its answer's levels.
"""

import math

import cv2
import numpy as np

PEAK = 255  # probabilities are kept as uint8, 255 is certain


def level(probability):
    """The lowest of the uint8 levels that mean at least this probability, 0…1."""
    return math.ceil(probability * PEAK)


def windowed(hu, window):
    """Clip HU to a window and spread it over 0…255; any shape, uint8."""
    low, high = window
    scaled = (np.clip(hu, low, high).astype(np.float32) - low) * (255.0 / (high - low))
    return np.rint(scaled).astype(np.uint8)


def resized(plane, shape, labels=False):
    """Resample a plane (y, x): nearest for labels, area when it shrinks, else linear."""
    if plane.shape == tuple(shape):
        return plane
    smooth = cv2.INTER_AREA if shape[0] < plane.shape[0] else cv2.INTER_LINEAR
    method = cv2.INTER_NEAREST_EXACT if labels else smooth
    return cv2.resize(np.ascontiguousarray(plane), (shape[1], shape[0]), interpolation=method)


def fitted(plane, shape, fill=0):
    """Cut or pad a plane about its centre to `shape`; cutting and padding undo each other
    exactly.
    """
    out = np.full(shape, fill, dtype=plane.dtype)
    source, target = [], []
    for have, want in zip(plane.shape, shape, strict=True):
        n, skip = min(have, want), abs(have - want) // 2
        source.append(slice(skip, skip + n) if have > want else slice(0, n))
        target.append(slice(skip, skip + n) if want > have else slice(0, n))
    out[tuple(target)] = plane[tuple(source)]
    return out


def stacked(image, k, neighbours, step=1, breaks=()):
    """Slice k of a store's image (z, windows, y, x) with its neighbours, `step` slices apart.

    breaks   slices at which a new stretch begins: what lies beyond one is no neighbour.
    returns  (windows · (2 · neighbours + 1), y, x). Beyond the first and last slice of the stretch
             its end slice is repeated, so a slice without neighbours stands in for them.
    """
    first = max((start for start in breaks if start <= k), default=0)
    end = min((start for start in breaks if start > k), default=len(image))
    near = np.clip(k + step * np.arange(-neighbours, neighbours + 1), first, end - 1)
    return image[near].reshape(-1, *image.shape[2:])


def normalised(image, norm):
    """From a window's 0…1 to what a network sees; `norm` is (mean, deviation) in grey values of
    0…255.
    """
    return (image * 255 - norm[0]) / norm[1]
