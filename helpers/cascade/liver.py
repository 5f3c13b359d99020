"""From the network's mask to the liver: the largest component, without other organs."""

import functools

import cv2
import edt
import numpy as np
from scipy import ndimage, sparse

from helpers.scans.boxes import box_of, components

COARSE_MM = 3.0  # voxels on which parts are distinguished
MIN_PART_ML = 1.0  # for a median that can be trusted
LABELLED = 1 << 24  # voxels that are labelled together: 64 MB of labels


def clean_liver(mask, volume, rules):
    """The liver in the network's mask: the largest component, without organs that hang on it.

    mask     bool (z, y, x).
    returns  (bool (z, y, x), empty when smaller than `min_liver_ml`; number of components; what
             `remove_adjacent_organs` cut off).
    """
    if volume.is_scattered:  # what lies above is no neighbour
        planes, counts = zip(*(largest_component(plane[None]) for plane in mask), strict=True)
        component, count = np.concatenate(planes), max(counts)
    else:
        component, count = largest_component(mask)
    liver, organs = remove_adjacent_organs(
        component, volume.hu, volume.spacing_mm, rules.neck_widths_mm, rules.max_hu_difference
    )
    if np.count_nonzero(liver) * volume.voxel_ml < rules.min_liver_ml:
        liver = np.zeros_like(liver)
    return liver, count, organs


def largest_component(mask, slab=0):
    """The largest 26-connected component of a mask (z, y, x), its holes filled slice by slice, and
    how many there were.

    slab  slices that are labelled together, 0 for what LABELLED allows: labels take four bytes a
          voxel, too much for the whole of a long scan, as cc3d.largest_k would need them.
    """
    out, box = np.zeros(mask.shape, bool), box_of(mask)
    if box is None:
        return out, 0
    slab = slab or max(32, LABELLED // mask[0][box[1:]].size)
    slabs = [(slice(z, min(z + slab + 1, box[0].stop)), *box[1:])
             for z in range(box[0].start, box[0].stop, slab)]
    labelled = functools.lru_cache(1)(lambda k: components(mask[slabs[k]]))  # most have one slab
    component_of, sizes = _components(map(labelled, range(len(slabs))), slab)
    is_largest, before = component_of == sizes.argmax(), 0
    for k, part in enumerate(slabs):
        labels, count = labelled(k)
        wanted = np.append(False, is_largest[before : before + count])
        before += count
        for z, plane in enumerate(labels[:slab], start=part[0].start):
            out[z][box[1:]] = filled(wanted.take(plane))
    return out, len(sizes)


def _components(slabs, slab):
    """(for each label, one slab's after another's, the component that it is part of; voxels of each
    component, in the order of their first voxels).

    slabs  (labels, count) of each. It has a slice more, which is the next one's first: what has two
           labels there is one component.
    """
    voxels, links, before, shared = [], [np.zeros((2, 0), int)], 0, None
    for labels, count in slabs:
        inside = labels[:slab][labels[:slab] > 0]
        voxels.append(np.bincount(inside, minlength=count + 1)[1:])
        if shared is not None:
            pairs = np.unique((shared << 32 | labels[0])[shared > 0])
            links.append(np.stack([pairs >> 32, pairs % 2**32 + before]) - 1)
        shared = labels[-1].astype(int)
        shared[shared > 0] += before
        before += count
    voxels, ends = np.concatenate(voxels), np.concatenate(links, axis=1)
    graph = sparse.coo_array((np.ones(ends.shape[1], bool), tuple(ends)), (before, before))
    _, component_of = sparse.csgraph.connected_components(graph, directed=False)
    return component_of, np.bincount(component_of, voxels)


def filled(plane):
    """A plane bool (y, x) and what it encloses; a way out leads over edges, not over corners."""
    chain = cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    outlines, _ = cv2.findContours(plane.astype(np.uint8), *chain)
    return cv2.drawContours(np.zeros(plane.shape, np.uint8), outlines, -1, 1, cv2.FILLED) > 0


def remove_adjacent_organs(liver, hu, spacing_mm, neck_widths_mm, max_hu_difference):
    """A liver without the colon, spleen, stomach or kidney that touches it.

    Spheres as wide as the neck fit into parts of a mask, and not through the necks between them.
    Every voxel belongs to the nearest part; the largest part is the liver, and another one goes
    when its median is too far from the liver's. Narrow necks first: where a part is gone, a wider
    one can show.

    liver              bool (z, y, x), one component; hu: int16 (z, y, x), the scan.
    neck_widths_mm     widths of necks, one after another; none keeps all.
    max_hu_difference  difference of medians from which a part is another organ.
    returns    (bool (z, y, x), a dict per part that went: volume_ml, hu, how far its median lies
               from the liver's, and its middle: slice, y, x).
    """
    removed = []
    for neck_mm in neck_widths_mm:
        liver, organs = _cut_at_necks(liver, hu, spacing_mm, neck_mm, max_hu_difference)
        removed += organs
    return liver, removed


def _cut_at_necks(liver, hu, spacing_mm, neck_mm, max_hu_difference):
    """`remove_adjacent_organs` for necks of one width."""
    box = box_of(liver)
    if box is None:
        return liver, []
    steps = [max(1, round(COARSE_MM / edge)) for edge in spacing_mm]
    coarse = tuple(slice(s.start, s.stop, step) for s, step in zip(box, steps, strict=True))
    edges_mm = [edge * step for edge, step in zip(spacing_mm, steps, strict=True)]
    cut_off = box[0].start == 0, box[0].stop == len(liver)
    mask, grey = liver[coarse], hu[coarse]
    part_of, count = _parts(mask, edges_mm, neck_mm / 2, cut_off)
    if count < 2:
        return liver, []
    ml = np.bincount(part_of[mask], minlength=count + 1) * np.prod(edges_mm) / 1000
    liver_hu = np.median(grey[mask & (part_of == ml.argmax())])
    large = [k for k in range(1, count + 1) if ml[k] >= MIN_PART_ML]
    difference = {k: np.median(grey[mask & (part_of == k)]) - liver_hu for k in large}
    organs = [k for k in large if abs(difference[k]) > max_hu_difference]
    if not organs:
        return liver, []
    removed = np.isin(part_of, organs)
    for axis, step in enumerate(steps):
        removed = np.repeat(removed, step, axis)
    out = np.zeros(liver.shape, bool)
    out[box] = liver[box] & ~removed[tuple(slice(side.stop - side.start) for side in box)]
    starts = [side.start for side in box]
    middles = {k: np.argwhere(mask & (part_of == k)).mean(0) * steps + starts for k in organs}
    return largest_component(out)[0], [
        {"volume_ml": round(float(ml[k]), 1), "hu": round(float(difference[k]))}
        | dict(zip(("slice", "y", "x"), map(round, map(float, middles[k])), strict=True))
        for k in organs
    ]


def _parts(mask, edges_mm, radius_mm, cut_off):
    """Which part of a mask each voxel is nearest to, int (z, y, x) from 1, also outside it, and how
    many parts there are.

    cut_off  whether the scan ends where the mask begins and ends along z: there it goes on as it
             is.
    """
    depth = int(np.ceil(radius_mm / edges_mm[0])) + 1
    wide = np.pad(mask, ((depth, depth), (1, 1), (1, 1)))
    wide[:depth] |= wide[depth] & cut_off[0]
    wide[-depth:] |= wide[-depth - 1] & cut_off[1]
    inside = edt.edt(wide, anisotropy=edges_mm) > radius_mm
    inside = inside[depth:-depth, 1:-1, 1:-1]
    cores, count = components(inside)
    if count < 2:
        return cores, count
    nearest = ndimage.distance_transform_edt(
        cores == 0, sampling=edges_mm, return_distances=False, return_indices=True
    )
    return cores[tuple(nearest)], count
