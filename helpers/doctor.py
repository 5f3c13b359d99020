"""Looks at every case once: geometry, intensities, labels; a verdict with its reason; one row of cases.csv."""

import concurrent.futures
import hashlib
import itertools
import multiprocessing
import os
from functools import partial

import numpy as np

from helpers import ct, layouts, paths, pictures

# code: (verdict, what it means); the worst verdict of a case's findings is the case's verdict
FINDINGS = {
    "unreadable": ("quarantined", "the scan can't be read"),
    "mask-unreadable": ("quarantined", "the mask can't be read, or doesn't fit its scan"),
    "constant": ("quarantined", "all voxels have one value"),
    "not-hu": ("quarantined", "the values are no Hounsfield units (0–255, 0–1 or a narrow range)"),
    "clipped": ("repaired", "values outside the range of tissue were clipped"),
    "mask-affine": ("repaired", "the mask's affine isn't the scan's; its voxels were taken as aligned"),
    "mask-axes": ("repaired", "the mask is stored in another axis order and was turned by its own affine"),
    "labels-rounded": ("repaired", "label values were off whole numbers by rounding"),
    "labels-mapped": ("repaired", "label values were brought to 0, 1 and 2"),
    "no-labels": ("ok", "there is no mask; the case can be predicted, not trained or scored"),
    "no-liver": ("ok", "the mask holds no liver"),
    "no-tumour": ("ok", "the mask holds no tumour"),
    "tumour-only": ("ok", "the mask marks tumours and no liver: don't train or score the liver with it"),
    "liver-islands": ("ok", "the liver's mask has several pieces"),
    "spacing-1-1-1": ("ok", "spacing is exactly 1 × 1 × 1 mm, often a stand-in: don't trust millimetres"),
    "spacing-stand-in": ("ok", "pictures carry no spacing: millimetres are stand-ins"),
    "slices-missing": ("ok", "the numbers of the slices have gaps"),
    "slices-uneven": ("quarantined", "the slices are unevenly spaced, so some are missing and the rest has no sure place"),
    "slices-duplicate": ("repaired", "slices that are there twice were used once"),
    "slices-unreadable": ("repaired", "files among the slices that can't be read as DICOM were left out"),
    "series-split": ("quarantined", "the series lies in several folders: put its slices into one"),
    "padding": ("repaired", "pixels that the scanner marks as outside of its circle became air"),
    "padding-kept": ("ok", "the value that marks pixels outside of the scanner's circle may be tissue, so it was left alone"),
    "rescale-missing": ("ok", "there is no rescale intercept; the stored values were taken as Hounsfield units"),
    "one-slice": ("ok", "the scan has a single slice"),
}
VERDICTS = ("ok", "repaired", "quarantined")
HISTOGRAM_EDGES = np.arange(-1100, 1510, 10)

# columns of cases.csv and their types; a case that couldn't be read leaves the measured ones empty
COLUMNS = dict.fromkeys(("case", "verdict", "layout", "image", "mask"), "str")
COLUMNS |= {"channel": "Int64", "window_low": "float64", "window_high": "float64", "bytes": "str", "axes": "str"}
COLUMNS |= dict.fromkeys(("slices", "rows", "columns"), "Int64")
COLUMNS |= dict.fromkeys(("spacing_z_mm", "spacing_y_mm", "spacing_x_mm"), "float64")
COLUMNS |= {"hu_min": "Int64", "hu_max": "Int64", "hu_median": "float64", "liver_ml": "float64", "tumour_ml": "float64"}
COLUMNS |= dict.fromkeys(("lesions", "liver_slices", "tumour_slices"), "Int64")
COLUMNS |= {"liver_hu": "float64", "tumour_hu": "float64", "findings": "str", "reason": "str"}


def examine(case, window=(-40, 160), channel=1):
    """Read one case and say what it is.

    case     layouts.Case.
    window   HU that grey 0 and 255 of 2-D slices stand for; `channel` of a colour picture.
    returns  (row of cases.csv as dict, histogram rows, lesion rows). Never raises for bad data: the verdict says it.
    """
    row = {
        "case": case.name, "layout": case.layout, "image": paths.shown(case.image),
        "mask": paths.shown(case.mask) if case.mask else "", "channel": channel,
        "window_low": window[0], "window_high": window[1],
    }  # fmt: skip
    findings, histograms, lesions = [], [], []
    failing = "unreadable"
    try:
        row["bytes"] = fingerprint(case)
        volume = layouts.read_scan(case.image, window, channel)
        row |= _geometry(volume)
        findings += [*case.notes, *volume.notes, *_intensities(volume, case.layout), *_grid(volume, case)]
        histograms += _histogram(case.name, "scan", volume.hu[::2, ::2, ::2])
        failing = "mask-unreadable"
        if case.mask is None:
            findings.append(("no-labels", ""))
        else:
            labels, found = _labels(case, volume)
            columns, more, lesions = _labelled(case.name, volume, labels)
            row, findings = row | columns, findings + found + more
            for label, region in ((1, "liver"), (2, "tumour")):
                histograms += _histogram(case.name, region, volume.hu[labels == label])
    except (ValueError, OSError) as error:
        findings.append((failing, _by_name(str(error), case)))
    except Exception as error:  # whatever a bad file makes a reader do, it must not cost the other cases
        findings.append((failing, _by_name(f"{type(error).__name__}: {error}", case)))
    return _judged(row, findings), histograms, lesions


def examine_all(cases, window=(-40, 160), channel=1, workers=None):
    """`examine` for many cases on all cores, with a progress bar; the rows keep the order of the cases.

    returns  three lists: rows of cases.csv, histogram rows, lesion rows.
    Raises ValueError for a window or a channel that can't be.
    """
    from tqdm import tqdm

    if not window[1] > window[0] or channel not in (0, 1, 2):
        raise ValueError(f"window {window}, channel {channel}: the window rises, and the channel is 0 blue, 1 green or 2 red")
    workers = min(workers or os.cpu_count(), len(cases))
    look, bar = partial(examine, window=window, channel=channel), {"total": len(cases), "desc": "examining", "unit": "case"}
    if workers <= 1:
        results = list(tqdm(map(look, cases), **bar))
    else:  # spawned: a notebook has threads, and a fork of those can hang
        with concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            results = list(tqdm(pool.map(look, cases), **bar))
    rows, histograms, lesions = zip(*results, strict=True) if results else ((), (), ())
    return list(rows), list(itertools.chain(*histograms)), list(itertools.chain(*lesions))


def table(rows):
    """The rows of `examine_all` as a DataFrame with the columns and types of cases.csv."""
    import pandas as pd

    frame = pd.DataFrame(rows).reindex(columns=list(COLUMNS)).astype(COLUMNS)
    text = [name for name, kind in COLUMNS.items() if kind == "str"]
    return frame.assign(**frame[text].fillna(""))


def read_table(path):
    """cases.csv as it was written: names stay text ("007", "NA"), whole numbers whole, empty text is ""."""
    import pandas as pd

    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    text = [name for name, kind in COLUMNS.items() if kind == "str"]
    numbers = {name: kind for name, kind in COLUMNS.items() if kind != "str"}
    return frame[text].join(frame[list(numbers)].apply(pd.to_numeric).astype(numbers))[list(COLUMNS)]


def fingerprint(case):
    """A short hash of the bytes of a case's files: it changes when any of them does."""
    together = hashlib.sha256()
    for path in (case.image, case.mask):
        for file in layouts.files_of(path) if path and path.is_file() else [path]:
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
    return found


def _grid(volume, case):
    found = [("one-slice", "")] if volume.hu.shape[0] == 1 else []
    if case.layout != "2-D slices":
        return found + ([("spacing-1-1-1", "")] if np.allclose(volume.spacing_mm, 1, atol=1e-6) else [])
    steps = np.diff([pictures.slice_number(p) for p in pictures.pictures_of(case.image)])
    if len(steps) and steps.max() > steps.min():
        found.append(("slices-missing", f"{np.count_nonzero(steps > steps.min())} gaps"))
    return [*found, ("spacing-stand-in", "{} × {} × {} mm assumed".format(*volume.spacing_mm))]


def _labels(case, volume):
    """(labels 0, 1, 2 on the volume's grid, findings)."""
    found = []
    if case.layout == "2-D slices":
        labels = layouts.read_labels(case.mask, volume)
    else:
        array, affine = ct.load(case.mask)
        labels = ct.place_mask(array, affine, volume, case.mask)
        way = ct.way_onto(array.shape, affine, volume)
        if way == "axes":
            found.append(("mask-axes", f"{ct.axes_of(affine)} onto {volume.axes}"))
        elif not np.allclose(affine, volume.affine, atol=1e-2):
            found.append(("mask-affine", f"largest difference {np.abs(affine - volume.affine).max():.3g}"))
        if array.dtype.kind == "f" and (array != np.rint(array)).any():
            found.append(("labels-rounded", f"by up to {np.abs(array - np.rint(array)).max():.2g}"))
    labels, values = layouts.standard_labels(labels)
    if max(values) > 2:
        found.append(("labels-mapped", f"values {values}"))
    return labels, found


def _labelled(name, volume, labels):
    """What the mask says: (columns, findings, a row per lesion)."""
    import cc3d

    liver, tumour = labels >= 1, labels == 2
    _, islands = cc3d.connected_components(liver, connectivity=26, return_N=True)
    pieces, count = cc3d.connected_components(tumour, connectivity=6, return_N=True)
    sizes_ml = cc3d.statistics(pieces)["voxel_counts"][1:] * volume.voxel_ml
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
    elif not (labels == 1).any():
        found.append(("tumour-only", ""))
    return columns, found, lesions


def diameter_mm(volume_ml):
    """Diameter of the ball with this volume."""
    return float((6000.0 * volume_ml / np.pi) ** (1 / 3))


def _histogram(name, region, hu):
    counts, _ = np.histogram(hu, HISTOGRAM_EDGES)
    kept = np.flatnonzero(counts)
    return [{"case": name, "region": region, "hu": int(HISTOGRAM_EDGES[i]), "voxels": int(counts[i])} for i in kept]


def _by_name(text, case):
    """A message with the names of the files only: their folder stands in the columns `image` and `mask`."""
    for path in filter(None, (case.image, case.mask)):
        text = text.replace(f"{path.parent}{os.sep}", "")
    return text


def _judged(row, findings):
    worst = max((VERDICTS.index(FINDINGS[code][0]) for code, _ in findings), default=0)
    reason = "; ".join(FINDINGS[code][1] + (f": {seen}" if seen else "") for code, seen in findings)
    return row | {"verdict": VERDICTS[worst], "findings": " ".join(code for code, _ in findings), "reason": reason}
