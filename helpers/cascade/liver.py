"""Other organs that the liver's network ran into: what hangs on the liver by a neck and looks different isn't liver."""

import numpy as np

from helpers.scans.volume import box_of

COARSE_MM = 3.0  # voxels on which parts are told apart
LEAST_ML = 1.0  # of a part, for a median that can be trusted


def remove_adjacent_organs(liver, hu, spacing_mm, neck_widths_mm, max_hu_difference):
    """A liver without the colon, spleen, stomach or kidney that touches it.

    Spheres as wide as the neck fit into parts of a mask, and not through the necks between them. Every voxel belongs to the
    nearest part; the largest part is the liver, and another one goes when its median is too far from the liver's. Narrow
    necks first: where a part is gone, a wider one can show.

    liver      bool (z, y, x), one piece; hu: int16 (z, y, x), the scan.
    neck_widths_mm   widths of necks, one after another; none keeps all.
    max_hu_difference  difference of medians from which a part is another organ.
    returns    (bool (z, y, x), a dict per part that went: volume_ml, and hu, how far its median lies from the liver's).
    """
    gone = []
    for neck_mm in neck_widths_mm:
        liver, parts = _remove_adjacent(liver, hu, spacing_mm, neck_mm, max_hu_difference)
        gone += parts
    return liver, gone


def _remove_adjacent(liver, hu, spacing_mm, neck_mm, max_hu_difference):
    """`without_neighbours` for necks of one width."""
    box = box_of(liver)
    if box is None:
        return liver, []
    steps = [max(1, round(COARSE_MM / edge)) for edge in spacing_mm]
    coarse = tuple(slice(edge.start, edge.stop, step) for edge, step in zip(box, steps, strict=True))
    edges_mm = [edge * step for edge, step in zip(spacing_mm, steps, strict=True)]
    cut_off = box[0].start == 0, box[0].stop == len(liver)
    mask, grey = liver[coarse], hu[coarse]
    parts, count = _parts(mask, edges_mm, neck_mm / 2, cut_off)
    if count < 2:
        return liver, []
    ml = np.bincount(parts[mask], minlength=count + 1) * np.prod(edges_mm) / 1000
    own = np.median(grey[mask & (parts == ml.argmax())])
    apart = {k: np.median(grey[mask & (parts == k)]) - own for k in range(1, count + 1) if ml[k] >= LEAST_ML}
    gone = [k for k in apart if abs(apart[k]) > max_hu_difference]
    if not gone:
        return liver, []
    away = np.isin(parts, gone)
    for axis, step in enumerate(steps):
        away = np.repeat(away, step, axis)
    out, size = liver.copy(), [edge.stop - edge.start for edge in box]
    out[box] &= ~away[tuple(slice(n) for n in size)]
    return largest_component(out)[0], [{"volume_ml": round(float(ml[k]), 1), "hu": round(float(apart[k]))} for k in gone]


def _parts(mask, edges_mm, radius_mm, cut_off):
    """Which part of a mask each voxel is nearest to, int (z, y, x) from 1, also outside it, and how many parts there are.

    cut_off  whether the scan ends where the mask begins and ends along z: there it goes on as it is.
    """
    import cc3d
    from scipy import ndimage

    depth = int(np.ceil(radius_mm / edges_mm[0])) + 1
    wide = np.pad(mask, ((depth, depth), (1, 1), (1, 1)))
    wide[:depth] |= wide[depth] & cut_off[0]
    wide[-depth:] |= wide[-depth - 1] & cut_off[1]
    inside = ndimage.distance_transform_edt(wide, sampling=edges_mm) > radius_mm
    cores, count = cc3d.connected_components(inside[depth:-depth, 1:-1, 1:-1], connectivity=26, return_N=True)
    if count < 2:
        return cores, count
    nearest = ndimage.distance_transform_edt(cores == 0, sampling=edges_mm, return_distances=False, return_indices=True)
    return cores[tuple(nearest)], count


def largest_component(mask, slab=32):
    """The largest 26-connected component of a mask (z, y, x), its holes filled slice by slice, and how many there were.

    slab  slices that are labelled together: labels take four bytes a voxel, too much for the whole of a long scan.
    """
    from scipy import ndimage

    out, box = np.zeros(mask.shape, bool), box_of(mask)
    if box is None:
        return out, 0
    piece_of, sizes = _joined(_labelled(mask, box, slab))
    wanted = piece_of == sizes.argmax()
    for z, labels in _labelled(mask, box, slab):
        for k, shown in enumerate(wanted[labels], start=z):
            if shown.any():
                out[k][box[1:]] = ndimage.binary_fill_holes(shown)
    return out, len(sizes) - 1


def _labelled(mask, box, slab):
    """Yield (first slice, labels (z, y, x)) of every slab of the box; labels count on from slab to slab, 0 is background."""
    import cc3d

    before = 0
    for z in range(box[0].start, box[0].stop, slab):
        part = mask[z : min(z + slab, box[0].stop), box[1], box[2]]
        labels, count = cc3d.connected_components(part, connectivity=26, return_N=True)
        yield z, np.where(labels, labels.astype(np.uint32) + np.uint32(before), np.uint32(0))
        before += count


def _joined(slabs):
    """(for each label the piece that it is part of, voxels of each piece); pieces count in the order of their first voxels."""
    from scipy import sparse

    voxels, links, below = np.zeros(1, int), [], None
    for _, labels in slabs:
        voxels = np.append(voxels, np.bincount(labels.ravel())[len(voxels) :])
        links += [] if below is None else [_touching(below, labels[0])]
        below = labels[-1]
    low, high = np.concatenate(links, axis=1) if links else np.zeros((2, 0), int)
    graph = sparse.coo_array((np.ones(len(low), bool), (low, high)), (len(voxels), len(voxels)))
    _, piece_of = sparse.csgraph.connected_components(graph, directed=False)
    return piece_of, np.bincount(piece_of, voxels)


def _touching(below, above):
    """Labels of two planes (y, x), one upon the other, that meet by side, edge or corner: int (2, pairs)."""
    rows, columns = above.shape
    wide, pairs = np.pad(below, 1), []
    for dy, dx in np.ndindex(3, 3):
        under = wide[dy : dy + rows, dx : dx + columns]
        both = (under > 0) & (above > 0)
        pairs.append(np.stack([under[both], above[both]]))
    return np.unique(np.concatenate(pairs, axis=1), axis=1)


def clean_liver(mask, volume, rules):
    """The liver in what the network saw as liver: its largest piece, without other organs that hang on it.

    returns  (bool (z, y, x), empty when smaller than `min_liver_ml`; number of pieces; what `without_neighbours` cut off).
    """
    piece, count = largest_component(mask)
    liver, neighbours = remove_adjacent_organs(piece, volume.hu, volume.spacing_mm, rules.neck_widths_mm, rules.max_hu_difference)
    if np.count_nonzero(liver) * volume.voxel_ml < rules.min_liver_ml:
        liver = np.zeros_like(liver)
    return liver, count, neighbours
