"""Synthetic abdominal CTs with liver and tumour labels, drawn from a seed."""

from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from helpers import crews, files, origins
from helpers.intake import anatomy
from helpers.intake.anatomy import draw_branches, draw_waves, join_rounded, keep_largest
from helpers.processes import WorkerDied, progress
from helpers.scans import nifti
from helpers.scans.findings import Unfit

# orientation of the file, by case number
AXES = ("LPS", "RAS", "PSR", "LAS", "LPI", "RAS", "LPS", "SPL")
SETTINGS = "phantoms.json"
SYNTHETIC = "synthetic scan of Cascade Liver CT"  # in the header of each file
# raise when the drawing changes, so that folders drawn the old way are refused, not mixed
VERSION = 1


def draw_liver(body, inner, dome, kidneys, cava, has_gallbladder):
    """Liver, its vessels and the gallbladder; returns the share of each voxel that is liver."""
    x, y, z, vary, rng = body.x, body.y, body.z, body.vary, body.rng
    # In a slice the visceral face runs from the right kidney to the left front; seen from the
    # front, from low right up.
    visceral = 0.75 * (y - 8) + 0.62 * (x + vary(14, 26)) - 0.10 * (z + 70)
    below = -(z + vary(88, 100)) + vary(0.50, 0.62) * x + 0.12 * y
    left = 0.9 * (x - vary(48, 78)) + 0.1 * y
    shape = join_rounded(join_rounded(visceral, below, 30), left, 25)
    shape += 4 * draw_waves(rng, body.axes_mm, 70) + 1.5 * draw_waves(rng, body.axes_mm, 30)
    wavy = draw_waves(rng, body.axes_mm, 32)
    fissure = np.abs(x + 8 - vary(-0.3, 0.3) * (y + 60) + 3 * wavy)
    fissure = fissure - 1.5 - 0.04 * np.clip(-z - 50, 0, 80)
    fissure = np.maximum(fissure, np.maximum(z + 48, y + 38) + 8 * wavy)
    hilum = body.ellipsoid((-20, 3, -82), (24, 8, 13)) + 3.5 * wavy
    cleft = np.minimum(fissure, hilum)
    beside_spine = np.minimum(x + 24, y - 24)
    cuts = np.maximum(np.maximum(-cleft, beside_spine), np.maximum(2 - cava, 4 - kidneys))
    hull = join_rounded(2.5 - inner, dome + 4)
    limits = np.maximum(hull, cuts)
    # The level that gives the wished volume: so every case is plausible, whatever the noise did to
    # its shape.
    room = shape[limits < 0]
    voxel_ml = np.prod([a[1] - a[0] for a in body.axes_mm]) / 1000
    wished = int(min(vary(1150, 1850) / voxel_ml, 0.9 * room.size))
    shape -= np.partition(room, wished)[wished]
    field = np.maximum(shape, limits)
    # a liver is one component; crumbs beyond a cut are not
    field[(field < 0) & ~keep_largest(field < 0)] = 5
    level = vary(95, 125)
    body.paint(np.maximum(cleft, np.maximum(shape, hull)), -85, 3)
    liver = body.paint(field, level + 3 * draw_waves(rng, body.axes_mm, 45)
                       + 2 * draw_waves(rng, body.axes_mm, 14))
    blood = vary(150, 180)
    body.paint(body.ellipsoid((-22, 4, -83), (20, 6.5, 7)) + wavy, blood)
    # portal vein, right and left
    for at, towards in (((-22, 4, -80), (-60, 8, 10)), ((-22, 4, -80), (45, -38, 20))):
        draw_branches(body, at, towards, 6.0, blood, liver, 5)
    # hepatic veins, from the cava under the dome
    for towards in ((-75, 20, -45), (-40, -55, -45), (30, -55, -25)):
        draw_branches(body, (-24, 20, -22), towards, 5.0, blood - 5, liver, 4)
    if has_gallbladder:
        column = (liver > 0.5) & (np.hypot(x + 42, y + 38) < 6)
        bottom = z[column].min() if column.any() else -110.0
        bladder = body.ellipsoid((-42, -38, bottom - 4), (vary(12, 17), vary(14, 20), vary(20, 30)))
        body.paint(bladder - 1.5, 60, 3)
        body.paint(bladder, vary(4, 16), 2.5)
        liver *= np.clip(0.5 + (bladder - 1.5) / 2.5, 0, 1)
    return liver, level


def draw_lesions(body, liver, level):
    """One to seven lesions, the first large and clear: bool (z, y, x), True inside."""
    rng, vary, axes = body.rng, body.vary, body.axes_mm
    inside = liver > 0.5
    spacing_mm = [a[1] - a[0] for a in axes]
    depth = distance_transform_edt(inside, sampling=spacing_mm)
    lesion, taken = np.zeros(liver.shape, bool), []
    for nth in range(rng.integers(1, 8)):
        size_mm = vary(24, 38) if nth == 0 else float(np.exp(vary(np.log(4), np.log(30))))
        contrast = -vary(43, 60) if nth == 0 else -vary(30, 58) if size_mm > 15 else -vary(12, 58)
        at_capsule = nth > 0 and rng.random() < 0.3
        low, high = (0.0, 0.3) if at_capsule else (min(0.55, 12 / size_mm), 9.0)
        spots = np.argwhere((depth >= low * size_mm) & (depth <= high * size_mm) & inside)
        for spot in spots[rng.integers(0, len(spots), 20)] if len(spots) else ():
            centre = np.array([a[i] for a, i in zip(axes, spot)])
            if all(np.linalg.norm(centre - c) > (size_mm + s) / 2 + 5 for c, s in taken):
                break
        else:
            continue  # no free place of this depth: one lesion fewer
        taken.append((centre, size_mm))
        box = tuple(slice(*np.searchsorted(a, (c - size_mm, c + size_mm)))
                    for a, c in zip(axes, centre))
        near = [a[b] for a, b in zip(axes, box)]
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        apart = np.stack(np.meshgrid(*(n - c for n, c in zip(near, centre)), indexing="ij"),
                         -1) @ turn
        radii = np.exp(rng.normal(0, 0.13, 3))
        field = np.linalg.norm(apart / (radii / radii.prod() ** (1 / 3)), axis=-1) - size_mm / 2
        field += 0.06 * size_mm * draw_waves(rng, near, max(0.6 * size_mm, 4)) * (size_mm > 8)
        kinds = ["plain", "rim", "necrotic"]
        kind = rng.choice(kinds, p=[0.65, 0.2, 0.15]) if size_mm > 18 else "plain"
        if nth == 0 and kind == "rim":
            kind = "plain"  # a rim lifts the mean, and this one is promised to be seen
        share = body.paint(field, level + contrast, vary(1.5, 3.5), liver[box], box)
        if kind == "rim":
            body.paint(np.abs(field + 1.2) - 0.9, level + 22, 2.0, liver[box], box)
        if kind == "necrotic":
            body.paint(field + 0.27 * size_mm, vary(12, 28), 4.0, liver[box], box)
        lesion[box] |= keep_largest((share > 0.5) & inside[box])
    return lesion


def volume(number, seed=7, size=192):
    """Draw one synthetic portal-venous CT of an abdomen.

    number, seed, size   the same three give the same arrays, bit for bit; size is the edge of a
                         slice in voxels.
    returns   (hu int16 (z, y, x), label uint8 (z, y, x): 0 background, 1 liver, 2 tumour,
              spacing_mm (z, y, x)). z runs from feet to head, y from front to back, x from the
              patient's right to left. Every fifth case (4, 9, …) has no tumour; each other one has
              a lesion that can be seen.
    """
    body, spacing_mm = anatomy.lay_out(number, seed, size)
    inner = anatomy.draw_wall(body)
    dome = anatomy.find_dome(body)
    inside = np.clip(np.minimum(inner, -dome - 4) / 3, 0, 1)
    kidneys, cava = anatomy.draw_neighbours(body, inside)
    liver, level = draw_liver(body, inner, dome, kidneys, cava, has_gallbladder=number % 5 != 3)
    lesion = draw_lesions(body, liver, level) if number % 5 != 4 else np.zeros(liver.shape, bool)
    anatomy.draw_chest(body, inner, dome)
    label = (liver > 0.5).astype(np.uint8)
    label[lesion] = 2
    body.hu = gaussian_filter(body.hu, (0.3, 0.6, 0.6))
    noise = gaussian_filter(body.rng.standard_normal(body.hu.shape, dtype=np.float32),
                            (0.4, 0.7, 0.7))
    noise *= body.vary(8, 14) / noise.std()
    hu = np.rint(np.clip(body.hu + noise, -1024, 1600)).astype(np.int16)
    return hu, label, spacing_mm


def write_case(folder, number, seed, size):
    """Write volume-N.nii.gz and segmentation-N.nii.gz, each whole or not at all."""
    hu, label, spacing_mm = volume(number, seed, size)
    codes = AXES[number % len(AXES)]
    # Our axes are L, P, S; a NIfTI affine counts to the right, to the front and to the head, hence
    # the signs.
    affine = np.diag([-spacing_mm[2], -spacing_mm[1], spacing_mm[0], 1.0])
    affine[:3, 3] = 150.0 + number, 140.0 - 3 * number, -420.0 + 17 * number
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("LPS"),
                                           nib.orientations.axcodes2ornt(codes))
    affine = affine @ nib.orientations.inv_ornt_aff(turn, hu.shape[::-1])
    for path, array in zip(find_pair(folder, number), (hu, label)):
        image = nib.Nifti1Image(nib.apply_orientation(array.transpose(2, 1, 0), turn), affine)
        image.header.set_xyzt_units("mm")
        image.header["descrip"] = SYNTHETIC.encode()
        with files.written_whole(path) as beside:
            nib.save(image, beside)
    return number


def find_pair(folder, number):
    return [Path(folder) / f"{kind}-{number}.nii.gz" for kind in ("volume", "segmentation")]


def is_synthetic(path):
    """True for a file that `write_case` wrote: its header says so, or, of an older one, the note in
    its folder.
    """
    path = Path(path)
    try:
        header = nifti.read_header(path)[0]
    except Unfit:
        header = {}
    by_header = header and header["descrip"].item().decode("latin1") == SYNTHETIC
    return bool(by_header) or (path.parent / SETTINGS).is_file()


def is_whole(path):
    """True when the file is there and can be read to its last byte and its checksum."""
    try:
        nifti.load(path)
    except Unfit:
        return False
    return True


def claim(folder, settings):
    """Note in the folder how its phantoms are made; ValueError when it holds others."""
    note = folder / SETTINGS
    if note.exists():
        if reasons := origins.differences(files.read_json(note), settings):
            raise ValueError(f"{folder} holds phantoms made otherwise ({'; '.join(reasons)}): "
                             "choose another folder")
        return
    if any(folder.glob("volume-*")):
        raise ValueError(f"{folder} holds volumes but no {SETTINGS}, so they aren't ours: choose "
                         "an empty folder")
    # Written before the first case: were it last, an interrupted run could be continued with
    # another seed.
    files.write_json(note, settings)


def make(folder, cases=14, seed=7, size=192, workers=None):
    """Write LiTS-style pairs volume-N.nii.gz (int16 HU) and segmentation-N.nii.gz (uint8 0/1/2), N
    from 0.

    folder    made when missing; whole pairs in it are kept, so an interrupted run is resumed.
    workers   processes, by default one per core; 1 draws in this process.
    returns   the paths of the volumes, in order.

    Raises ValueError when the folder holds other volumes, or phantoms of another seed, size or
    version.
    """
    if cases < 1 or size < 48:
        raise ValueError(f"cases={cases}, size={size}: at least 1 case of 48 voxels across is "
                         "needed")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder, {"seed": seed, "size": size, "version": VERSION})
    missing = [n for n in range(cases) if not all(is_whole(path) for path in find_pair(folder, n))]
    write = partial(write_case, folder, seed=seed, size=size)
    written = crews.spread(write, missing, workers)
    for k, done in progress(written, "phantoms", total=len(missing)):
        if isinstance(done, WorkerDied):
            raise RuntimeError(f"{folder}: phantom {missing[k]} couldn't be drawn, its process "
                               f"ended by {done.how}; run again")
    return [find_pair(folder, number)[0] for number in range(cases)]
