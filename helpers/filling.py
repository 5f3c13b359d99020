"""Fills the slice stores of a run: every case once, on all cores, and a row for every slice."""

import functools

import numpy as np

from helpers import ct, grids, paths, readers
from helpers.store import grid_of, is_current, write_case


def fill(run, rows, recipe, processes=None):
    """Write the liver and tumour stores of many cases on all cores, with a progress bar; current ones are kept.

    Slices of cases that have left the lists stay where they are: nothing reads them, and the case may come back.

    rows     rows of cases.csv (pandas) that aren't quarantined and have labels.
    returns  DataFrame with a row per slice: case, z, liver_px, tumour_px, kind, in_roi, roi_lost_px, roi_changed_px.
    Raises OSError at once when they can't be written; RuntimeError, when all others are done, that names the cases which
    can't be read any more.
    """
    import os

    import pandas as pd
    from tqdm import tqdm

    from helpers import workers

    work, rows = functools.partial(_fill_or_say, run, recipe=recipe), [row for _, row in rows.iterrows()]
    tables, failed = {}, {}
    with tqdm(total=len(rows), desc="slice stores", unit="case") as bar:
        done = enumerate(map(work, rows)) if processes == 1 else workers.each(work, rows, processes or os.cpu_count())
        for k, table in done:
            if isinstance(table, workers.Died):
                failed[k] = f"{rows[k].case}: the worker died of it ({table.how}), most often for want of memory"
            elif isinstance(table, str):
                failed[k] = table
            else:
                tables[k] = table
            bar.update()
    if failed:
        told = "; ".join(failed[k] for k in sorted(failed)[:5]) + (" …" if len(failed) > 5 else "")
        raise RuntimeError(f"{len(failed)} of {len(rows)} cases have no slices, the others are written: {told}; run 01 again")
    return pd.concat([tables[k] for k in sorted(tables)], ignore_index=True)


def _fill_or_say(run, row, recipe):
    """`fill_case`, or a sentence for a scan that can't be read any more, so that it costs no other."""
    try:
        return fill_case(run, row, recipe)
    except OSError:  # a full disk stops the work: no other case would fare better
        raise
    except Exception as error:  # whatever else one scan does to its reader, it must not cost the others
        return f"{row.case}: {error}" if isinstance(error, ValueError) else f"{row.case}: {type(error).__name__}: {error}"


def fill_case(run, row, recipe):
    """Write one case into both stores and describe its slices; nothing is written again when all of it is current."""
    import pandas as pd

    table = run.stores / "slices" / f"{row.case}.csv"
    folders = {stage: run.stores / stage for stage in ("liver", "tumour")}
    current = {stage: is_current(folder, row.case, recipe, row.bytes) for stage, folder in folders.items()}
    if current["liver"] and table.is_file():
        slices = pd.read_csv(table, dtype={"case": str}, keep_default_na=False)
        if current["tumour"] or not slices.in_roi.any():
            return slices
    volume, labels = readers.read_row(row)
    volume = ct.with_likely_spacing(volume)
    slices = describe(row.case, labels)
    roi = grid_of(volume, "tumour", recipe, labels >= 1)
    slices["in_roi"] = slices.z.between(roi.box[0][0], roi.box[0][1] - 1) if roi else False
    slices["roi_lost_px"], slices["roi_changed_px"] = grids.check(roi, labels) if roi else (0, 0)
    (folders["liver"] / f"{row.case}.json").unlink(missing_ok=True)  # it is the last to come back, and says that all is there
    if roi:
        write_case(folders["tumour"], row.case, volume, labels, roi, recipe, row.bytes, labels >= 1)
    paths.write_csv(table, slices)
    write_case(folders["liver"], row.case, volume, labels, grid_of(volume, "liver", recipe), recipe, row.bytes)
    return slices


def describe(case, labels):
    """What every slice of a mask (z, y, x) shows: DataFrame case, z, liver_px, tumour_px, kind (tumour, liver or empty)."""
    import pandas as pd

    liver, tumour = (labels >= 1).sum((1, 2)), (labels == 2).sum((1, 2))
    kind = np.where(tumour > 0, "tumour", np.where(liver > 0, "liver", "empty"))
    return pd.DataFrame({"case": case, "z": np.arange(len(labels)), "liver_px": liver, "tumour_px": tumour, "kind": kind})
