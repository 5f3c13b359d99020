"""Looks at every case once: geometry, intensities, labels; a verdict with its reason; one row of cases.csv."""

import concurrent.futures
import hashlib
import os
from functools import partial

import numpy as np

from helpers import ct, layouts, paths

# code: (verdict, what it means); the worst verdict of a case's findings is the case's verdict
FINDINGS = {
    "unreadable": ("quarantined", "the scan can't be read"),
    "mask-unreadable": ("quarantined", "the mask can't be read, or doesn't fit its scan"),
    "constant": ("quarantined", "all voxels have one value"),
    "not-hu": ("quarantined", "the values are no Hounsfield units (0–255, 0–1 or no air and no tissue)"),
    "clipped": ("repaired", "values outside the range of tissue were clipped"),
    "mask-affine": ("repaired", "the mask's affine isn't the scan's; its voxels were taken as aligned"),
    "labels-mapped": ("repaired", "label values were brought to 0, 1 and 2"),
    "no-labels": ("ok", "there is no mask; the case can be predicted, not trained or scored"),
    "no-liver": ("ok", "the mask holds no liver"),
    "no-tumour": ("ok", "the mask holds no tumour"),
    "liver-islands": ("ok", "the liver's mask has several pieces"),
    "spacing-1-1-1": ("ok", "spacing is exactly 1 × 1 × 1 mm, often a stand-in: don't trust millimetres"),
    "spacing-stand-in": ("ok", "pictures carry no spacing: millimetres are stand-ins"),
    "one-slice": ("ok", "the scan has a single slice"),
}
VERDICTS = ("ok", "repaired", "quarantined")
HISTOGRAM_EDGES = np.arange(-1100, 1510, 10)


def examine(case, window=(-40, 160), channel=1):
    """Read one case and say what it is.

    case     layouts.Case.
    window   HU that grey 0 and 255 of 2-D slices stand for; `channel` of a colour picture.
    returns  (row of cases.csv as dict, histogram rows, lesion rows). Never raises for bad data: the verdict says it.
    """
    row = {
        "case": case.name, "layout": case.layout, "image": paths.shown(case.image),
        "mask": paths.shown(case.mask) if case.mask else "", "channel": channel,
        "window_low": window[0], "window_high": window[1], "bytes": fingerprint(case),
    }  # fmt: skip
    findings, histograms, lesions = [], [], []
    try:
        volume = layouts.read_scan(case.image, window, channel)
    except (ValueError, OSError) as error:
        return _judged(row, [("unreadable", str(error))]), [], []
    row |= _geometry(volume)
    findings += _intensities(volume, case.layout)
    findings += _spacing(volume, case.layout)
    histograms += _histogram(case.name, "scan", volume.hu[::2, ::2, ::2])
    if case.mask is None:
        return _judged(row, [*findings, ("no-labels", "")]), histograms, []
    try:
        labels, values = layouts.standard_labels(layouts.read_labels(case.mask, volume))
    except (ValueError, OSError) as error:
        return _judged(row, [*findings, ("mask-unreadable", str(error))]), histograms, []
    if max(values) > 2:
        findings.append(("labels-mapped", f"values {values}"))
    if case.layout != "2-D slices":
        findings += _mask_affine(case.mask, volume)
    more, found, lesions = _labelled(case.name, volume, labels)
    histograms += _histogram(case.name, "liver", volume.hu[labels == 1])
    histograms += _histogram(case.name, "tumour", volume.hu[labels == 2])
    return _judged(row | more, findings + found), histograms, lesions


def examine_all(cases, window=(-40, 160), channel=1, workers=None):
    """`examine` for many cases on all cores, with a progress bar; the rows keep the order of the cases.

    returns  three lists: rows of cases.csv, histogram rows, lesion rows.
    """
    from tqdm import tqdm

    workers = min(workers or os.cpu_count(), len(cases))
    look = partial(examine, window=window, channel=channel)
    if workers == 1:
        results = list(tqdm(map(look, cases), total=len(cases), desc="examining", unit="case"))
    else:
        with concurrent.futures.ProcessPoolExecutor(workers) as pool:
            results = list(tqdm(pool.map(look, cases), total=len(cases), desc="examining", unit="case"))
    rows, histograms, lesions = zip(*results, strict=True)
    return list(rows), sum(histograms, []), sum(lesions, [])


def fingerprint(case):
    """A short hash of the bytes of a case's files: it changes when any of them does."""
    together = hashlib.sha256()
    for path in (case.image, case.mask):
        for file in layouts.pictures_of(path) if path and path.name.lower().endswith(layouts.PICTURES) else [path]:
            together.update(paths.sha256(file).encode() if file and file.is_file() else b"-")
    return together.hexdigest()[:16]


def _geometry(volume):
    z, y, x = volume.spacing_mm
    slices, rows, columns = volume.hu.shape
    return {
        "axes": volume.axes, "slices": slices, "rows": rows, "columns": columns,
        "spacing_z_mm": round(z, 4), "spacing_y_mm": round(y, 4), "spacing_x_mm": round(x, 4),
        "hu_min": int(volume.hu.min()), "hu_max": int(volume.hu.max()),
        "hu_median": float(np.median(volume.hu[::4, ::4, ::4])),
    }  # fmt: skip


def _intensities(volume, layout):
    low, high = int(volume.hu.min()), int(volume.hu.max())
    found = []
    if low == high:
        found.append(("constant", f"every voxel is {low}"))
    elif layout != "2-D slices" and (low >= 0 and high <= 255 or high - low < 100):
        found.append(("not-hu", f"values from {low} to {high}"))
    if volume.clipped:
        found.append(("clipped", f"{volume.clipped:,} voxels outside {ct.HU_RANGE[0]} to {ct.HU_RANGE[1]} HU"))
    if volume.hu.shape[0] == 1:
        found.append(("one-slice", ""))
    return found


def _spacing(volume, layout):
    if layout == "2-D slices":
        return [("spacing-stand-in", f"{volume.spacing_mm} mm assumed")]
    return [("spacing-1-1-1", "")] if np.allclose(volume.spacing_mm, 1, atol=1e-6) else []


def _mask_affine(mask, volume):
    _, affine = ct.load(mask)
    if np.allclose(affine, volume.affine, atol=1e-2):
        return []
    return [("mask-affine", f"largest difference {np.abs(affine - volume.affine).max():.3g}")]


def _labelled(name, volume, labels):
    """What the mask says: (columns, findings, a row per lesion)."""
    import cc3d

    liver, tumour = labels >= 1, labels == 2
    _, islands = cc3d.connected_components(liver, connectivity=26, return_N=True)
    pieces, count = cc3d.connected_components(tumour, connectivity=6, return_N=True)
    sizes_ml = np.bincount(pieces.ravel(), minlength=count + 1)[1:] * volume.voxel_ml
    lesions = [
        {"case": name, "lesion": k, "volume_ml": float(v), "diameter_mm": diameter_mm(v)} for k, v in enumerate(sizes_ml, start=1)
    ]
    columns = {
        "liver_ml": round(float(liver.sum() * volume.voxel_ml), 2), "tumour_ml": round(float(tumour.sum() * volume.voxel_ml), 3),
        "lesions": count, "liver_slices": int(liver.any((1, 2)).sum()), "tumour_slices": int(tumour.any((1, 2)).sum()),
        "liver_hu": float(np.median(volume.hu[labels == 1])) if (labels == 1).any() else np.nan,
        "tumour_hu": float(np.median(volume.hu[tumour])) if tumour.any() else np.nan,
    }  # fmt: skip
    found = [("liver-islands", f"{islands} pieces")] if islands > 1 else []
    if not liver.any():
        found.append(("no-liver", ""))
    elif not tumour.any():
        found.append(("no-tumour", ""))
    return columns, found, lesions


def diameter_mm(volume_ml):
    """Diameter of the ball with this volume."""
    return float((6000.0 * volume_ml / np.pi) ** (1 / 3))


def _histogram(name, region, hu):
    counts, _ = np.histogram(hu, HISTOGRAM_EDGES)
    kept = np.flatnonzero(counts)
    return [{"case": name, "region": region, "hu": int(HISTOGRAM_EDGES[i]), "voxels": int(counts[i])} for i in kept]


def _judged(row, findings):
    worst = max((VERDICTS.index(FINDINGS[code][0]) for code, _ in findings), default=0)
    reason = "; ".join(FINDINGS[code][1] + (f" ({numbers})" if numbers else "") for code, numbers in findings)
    return row | {"verdict": VERDICTS[worst], "findings": " ".join(code for code, _ in findings), "reason": reason}
