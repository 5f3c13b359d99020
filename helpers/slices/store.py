"""Slice stores: windowed slices as uint8, one memory-mapped array per case, written once by 02 and
read ever after.
"""

import functools
import shutil

import numpy as np
import pandas as pd

from helpers import crews, files, origins, processes
from helpers.scans import reading
from helpers.scans.labels import UNKNOWN
from helpers.scans.volume import with_likely_spacing
from helpers.slices.recipe import Grid, check, grid_of, neighbour_step, pixels, reference_shift

INSIDE = 4  # added to a label where the predicted liver lies, in regions made from predictions


def write_case(folder, name, volume, labels, grid, recipe, fingerprint="", liver=None):
    """Write a case's slices below `folder`: image (z, windows, y, x), mask (z, y, x), both uint8,
    and meta JSON last.

    liver  bool (z, y, x), for the tumour stage: the scan's grey values are referenced to it.
    Raises OSError, naming the case and the room that is left, when they can't be written; no half
    file stays.
    """
    (z0, z1) = grid.box[0]
    shift = np.int16(0 if liver is None else reference_shift(volume.hu, liver, recipe))
    image = np.stack([pixels(plane + shift, grid, recipe) for plane in volume.hu[z0:z1]])
    meta = {"box": grid.box, "shape": grid.shape, "canvas": grid.canvas,
            "spacing_mm": volume.spacing_mm}
    if breaks := grid.breaks(volume):
        meta["breaks"] = breaks
    try:
        # from here on until it is back, nothing here is current
        (folder / f"{name}.json").unlink(missing_ok=True)
        for kind, array in (("image", image), ("mask", grid.stack(labels, labels=True))):
            with (
                files.written_whole(folder / f"{name}.{kind}.npy") as beside,
                open(beside, "wb") as handle,
            ):
                np.save(handle, array)
        files.write_json(folder / f"{name}.json",
                         meta | {"recipe": recipe.as_dict(), "bytes": fingerprint})
    except OSError as error:
        room = (f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB are free" if folder.is_dir()
                else "the folder can't be made")
        message = (f"{name}: its slices can't be written to {folder} ({error}; {room}); make room, "
                   "then run again to resume")
        raise OSError(message) from error


def is_current(folder, name, recipe, fingerprint):
    """True when the store holds this case whole, made from these bytes with this recipe."""
    try:
        image, mask, meta = load(folder, name)
    except (OSError, ValueError):  # ValueError: a file shorter than it says, or no JSON
        return False
    whole = len(image) == len(mask) == meta["box"][0][1] - meta["box"][0][0]
    return whole and origins.is_current(meta, {"recipe": recipe.as_dict(), "bytes": fingerprint})


def load(folder, name):
    """(image, mask, meta) of a case, the arrays memory-mapped; raises OSError or ValueError where
    they can't be read.
    """
    meta = files.read_json(folder / f"{name}.json")
    image, mask = (np.load(folder / f"{name}.{kind}.npy", mmap_mode="r")
                   for kind in ("image", "mask"))
    return image, mask, meta


class Store:
    """Reads a stage's slices; a few cases are mapped at a time, so memory doesn't grow with their
    number.
    """

    def __init__(self, folder, open_cases=32):
        self.folder = folder
        self._open = functools.lru_cache(open_cases)(self._read)
        self.is_marked = functools.cache(self._is_marked)

    def _read(self, case):
        try:
            return load(self.folder, case)
        except (OSError, ValueError) as error:
            message = (f"{self.folder}: the slices of {case} can't be read ({error}); run "
                       "02_filtering again")
            raise FileNotFoundError(message) from error

    def __contains__(self, case):
        return (self.folder / f"{case}.json").is_file()

    def image(self, case):
        """uint8 (z, windows, y, x), memory-mapped."""
        return self._open(case)[0]

    def mask(self, case):
        """uint8 (z, y, x), memory-mapped."""
        return self._open(case)[1]

    def _is_marked(self, case):
        """True where the masks say, beside the labels, what lies INSIDE a predicted liver."""
        return bool((self.mask(case) >= INSIDE).any())

    def first_z(self, case):
        """The scan's slice that row 0 of the arrays is."""
        return self._open(case)[2]["box"][0][0]

    def meta(self, case):
        """What was written beside the arrays: box, shape, canvas, spacing_mm, recipe, breaks where
        there are any, and of which bytes of the scan.
        """
        return self._open(case)[2]

    def breaks(self, case):
        """Rows of the arrays at which a new stretch of neighbouring slices begins."""
        return self.meta(case).get("breaks", ())

    def grid(self, case):
        """The Grid that the case's slices lie on."""
        meta = self.meta(case)
        return Grid(meta["box"], meta["shape"], meta["canvas"])

    def metas(self, cases):
        """The files with the `meta` of those cases that are in it: who hashes them knows of which
        scans the slices are made.
        """
        return [self.folder / f"{case}.json" for case in sorted(set(cases)) if case in self]


def mean_and_deviation(store, cases):
    """Mean and standard deviation of the grey values of some cases, for the z-score; every fourth
    slice is read.
    """
    total = np.zeros(256, dtype=np.int64)
    for case in cases:
        total += np.bincount(np.asarray(store.image(case)[::4]).ravel(), minlength=256)
    mean = float((total * np.arange(256)).sum() / total.sum())
    deviation = float(np.sqrt((total * (np.arange(256) - mean) ** 2).sum() / total.sum()))
    return mean, max(deviation, 1.0)


def step_of(store, case):
    """`neighbour_step` of a case in a store."""
    return neighbour_step(store.meta(case)["spacing_mm"])


def near(store, case):
    """Where the neighbours of a case's slices are: step and breaks, for `pixels.stacked`."""
    return {"step": step_of(store, case), "breaks": store.breaks(case)}


def fill(run, rows, recipe, workers=None):
    """Write the liver and tumour stores of many cases on all cores, with a progress bar; current
    ones are kept.

    Slices of cases that have left the lists stay where they are: nothing reads them, and the case
    may come back.

    rows     rows of cases.csv (pandas) that aren't quarantined and have labels.
    returns  DataFrame with a row per slice: case, z, liver_px, tumour_px, kind, in_roi,
             roi_lost_px, roi_changed_px.
    Raises OSError at once when they can't be written; RuntimeError, when all others are done, that
    names the cases which can't be read any more.
    """
    work, rows = (
        functools.partial(_fill_or_say, run, recipe=recipe),
        [row for _, row in rows.iterrows()],
    )
    tables, failed = {}, {}
    with processes.progress(None, "slice stores", total=len(rows)) as bar:
        for k, table in crews.spread(work, rows, workers):
            if isinstance(table, processes.WorkerDied):
                failed[k] = f"{rows[k].case}: {table.sentence}"
            elif isinstance(table, str):
                failed[k] = table
            else:
                tables[k] = table
            bar.update()
    if failed:
        causes = "; ".join(failed[k] for k in sorted(failed)[:5]) + (
            " …" if len(failed) > 5 else ""
        )
        raise RuntimeError(f"{len(failed)} of {len(rows)} cases have no slices, the others are "
                           f"written: {causes}; run 01 again")
    return pd.concat([tables[k] for k in sorted(tables)], ignore_index=True)


def _fill_or_say(run, row, recipe):
    """`fill_case`, or a sentence for a scan that can't be read any more, so that it costs no
    other.
    """
    try:
        return fill_case(run, row, recipe)
    except OSError:  # a full disk stops the work: no other case would fare better
        raise
    # whatever else one scan does to its reader, it must not cost the others
    except Exception as error:
        return (f"{row.case}: {error}" if isinstance(error, ValueError)
                else f"{row.case}: {type(error).__name__}: {error}")


def fill_case(run, row, recipe):
    """Write one case into both stores and describe its slices; nothing is written again when all of
    it is current.
    """
    table = run.stores / "slices" / f"{row.case}.csv"
    folders = {stage: run.stores / stage for stage in ("liver", "tumour")}
    current = {
        stage: is_current(folder, row.case, recipe, row.bytes) for stage, folder in folders.items()
    }
    if current["liver"] and table.is_file():
        slices = pd.read_csv(table, dtype={"case": str}, keep_default_na=False)
        if current["tumour"] or not slices.in_roi.any():
            return slices
    volume, labels = reading.read_row(row)
    volume = with_likely_spacing(volume)
    slices = describe(row.case, labels)
    roi = grid_of(volume, "tumour", recipe, labels >= 1)
    slices["in_roi"] = slices.z.between(roi.box[0][0], roi.box[0][1] - 1) if roi else False
    slices["roi_lost_px"], slices["roi_changed_px"] = check(roi, labels) if roi else (0, 0)
    # it is the last to come back, and says that all is there
    (folders["liver"] / f"{row.case}.json").unlink(missing_ok=True)
    if roi:
        write_case(folders["tumour"], row.case, volume, labels, roi, recipe, row.bytes, labels >= 1)
    files.write_csv(table, slices)
    write_case(folders["liver"], row.case, volume, labels, grid_of(volume, "liver", recipe), recipe,
               row.bytes)
    return slices


def describe(case, labels):
    """What every slice of a mask (z, y, x) shows: DataFrame case, z, liver_px, tumour_px, kind
    (tumour, liver, empty, or unknown: liver that may hold tumour).
    """
    liver, tumour = (labels >= 1).sum((1, 2)), (labels == 2).sum((1, 2))
    kind = np.where(tumour > 0, "tumour", np.where(liver > 0, "liver", "empty"))
    kind = np.where((labels == UNKNOWN).any((1, 2)), "unknown", kind)
    return pd.DataFrame({"case": case, "z": np.arange(len(labels)), "liver_px": liver,
                         "tumour_px": tumour, "kind": kind})
