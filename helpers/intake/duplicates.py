"""Finds scans that are there twice: the same voxels, or one picture under other headers."""

import base64
import itertools

import cv2
import numpy as np
import pandas as pd

SHAPE = (12, 12, 12)  # of a thumbnail (z, y, x)
# HU kept: what pictures of the liver keep too, so that a scan is found among them
WINDOW = (-40, 160)
# HU over which a voxel comes to count as body, softly, so that a small shift moves no border
TISSUE = (0, 100)
REACH = 2.0  # standard deviations of the body on either side of its middle that a thumbnail shows
CROPS = (0.0, 0.1, 0.2)  # shares of the slices that may be missing at either end
# Of 18 LiTS scans, two of different patients reach 0.79, what look like scans of one patient 0.85
# to 0.93, different phantoms 0.91; a scan and its own copy 0.97, be it cropped by a fifth of its
# slices, compressed again or made coarser.
LEAST_SIMILARITY = 0.95


def thumbnail(hu):
    """A scan int16 (z, y, x) as 12 × 12 × 12 greys about the body's middle, as text."""
    # every so many pixels and slices: enough for a thumbnail, and quick
    step = max(1, min(hu.shape[1:]) // 128)
    planes = hu[:: max(1, len(hu) // 48), ::step, ::step].astype(np.float32).clip(*WINDOW)
    small = np.stack([cv2.resize(plane, (64, 64), interpolation=cv2.INTER_AREA)
                      for plane in planes])
    body = np.clip((small - TISSUE[0]) / (TISSUE[1] - TISSUE[0]), 0, 1)
    for axis in (1, 2):
        small = averaged(small, axis,
                         np.linspace(*_reach(body.sum(tuple({0, 1, 2} - {axis}))), SHAPE[axis] + 1))
    small = averaged(small, 0, np.linspace(0, len(small), SHAPE[0] + 1))
    grey = np.rint((small - WINDOW[0]) * (255 / (WINDOW[1] - WINDOW[0]))).clip(0, 255)
    return base64.b64encode(grey.astype(np.uint8).tobytes()).decode()


def _reach(profile):
    """Where a thumbnail begins and ends along an axis, from the body at each place."""
    total, at = profile.sum(), np.arange(len(profile)) + 0.5
    if total <= 0:
        return 0, len(profile)
    middle = (profile * at).sum() / total
    half = max(1.0, REACH * np.sqrt((profile * (at - middle) ** 2).sum() / total))
    return middle - half, middle + half


def averaged(array, axis, edges):
    """Means of an array between edges along an axis, in voxels; beyond it lies WINDOW's low end."""
    array = np.moveaxis(array, axis, 0).astype(np.float64) - WINDOW[0]
    n = len(array)
    sums = np.concatenate([np.zeros_like(array[:1]), np.cumsum(array, axis=0)])
    at = np.clip(edges, 0, n)
    below = np.minimum(at.astype(int), n - 1)
    share = (at - below).reshape(-1, *[1] * (array.ndim - 1))
    until = sums[below] * (1 - share) + sums[below + 1] * share  # what lies before each edge
    return np.moveaxis(np.diff(until, axis=0) / (edges[1] - edges[0]) + WINDOW[0], 0, axis)


def similarities(thumbnails):
    """How alike scans are, from their thumbnails as text: correlation −1 to 1, float32 (n, n), the
    best over crops and flips.

    A scan is compared with others whole and short of some end slices, and mirrored, as a wrong
    header shows it. A flat thumbnail is like nothing: its row is 0.
    """
    grey = [np.frombuffer(base64.b64decode(text), np.uint8).reshape(SHAPE).astype(np.float64)
            for text in thumbnails]
    if not grey:
        return np.zeros((0, 0), np.float32)
    whole = _features(grey)
    views = [_features([g[::z, ::y, ::x] for g in grey])
             for z, y, x in itertools.product((1, -1), repeat=3)]
    views += [_features(grey, *cut) for cut in itertools.product(CROPS, CROPS) if any(cut)]
    best = np.maximum.reduce([view @ whole.T for view in views])
    return np.maximum(best, best.T)


def _features(grey, low=0.0, high=0.0):
    """Rows (n, 8 · 12 · 12) of length 1: products correlate. `low`, `high`: shares cut off."""
    edges = np.linspace(low * SHAPE[0], (1 - high) * SHAPE[0], 9)
    rows = np.stack([averaged(g, 0, edges).ravel() for g in grey])
    rows -= rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > 50, rows / np.maximum(length, 1e-9), 0).astype(np.float32)


def duplicate_pairs(table, least=LEAST_SIMILARITY):
    """Every two cases that show the same scan.

    table    DataFrame with the columns case, voxels and thumbnail of cases.csv; cases without a
             thumbnail are in no pair.
    least    similarity from which two scans are the same picture.
    returns  DataFrame case, other, kind ("duplicate-image" or "near-duplicate"), similarity; most
             alike first.
    """
    shown = table[table.thumbnail != ""].reset_index(drop=True)
    similarity = similarities(shown.thumbnail)
    # two scans can share a 32-bit checksum by chance
    by_voxels = shown.groupby(["voxels", "thumbnail"]).groups.values()
    same = {pair for group in by_voxels for pair in itertools.combinations(sorted(group), 2)}
    near = {(int(a), int(b)) for a, b in np.argwhere(np.triu(similarity >= least, 1))}
    rows = []
    for a, b in sorted(same | near):
        how = (("duplicate-image", 1.0) if (a, b) in same
               else ("near-duplicate", round(float(similarity[a, b]), 3)))
        rows.append((shown.case[a], shown.case[b], *how))
    pairs = pd.DataFrame(rows, columns=["case", "other", "kind", "similarity"])
    return pairs.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)


def findings(table):
    """dict case that is there twice -> its findings, (code, the cases that it is like)."""
    pairs, like = list(duplicate_pairs(table).itertuples()), {}
    both_ways = [(p.case, p.other, p) for p in pairs] + [(p.other, p.case, p) for p in pairs]
    for case, other, pair in both_ways:
        named = other if pair.kind == "duplicate-image" else f"{other} ({pair.similarity:.3f})"
        like.setdefault(case, {}).setdefault(pair.kind, []).append(named)
    return {case: [(kind, ", ".join(others[:5]) + (" …" if len(others) > 5 else ""))
                   for kind, others in kinds.items()] for case, kinds in like.items()}
