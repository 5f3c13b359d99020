"""Looks at every case once: geometry, intensities, labels; a verdict, a row of cases.csv."""

import hashlib
import itertools
import json
from functools import partial

import numpy as np

from helpers import crews, origins, runs
from helpers.intake import case_records, case_table, checks, duplicates, masks, placement
from helpers.intake.verdicts import NOT_HU, fault, judged, scan_findings, with_findings
from helpers.parameters import listed, unknown
from helpers.processes import WorkerDied, progress
from helpers.scans import names, nifti, pictures, reading
from helpers.scans.volume import flipped, read_volume, turned_over

RULES = 6  # raise when a finding or a measure changes, so that kept results are looked at again


def examine(case, window=(-40, 160), channel=1, flip="", mask_flip="", tumour_unknown=False):
    """Read one case and say what it is.

    case     folder.Case.
    window   HU that grey 0 and 255 of 2-D slices stand for; `channel` of a colour picture.
    flip     axes ("x", "yz" …) along which scan and mask are turned over on request; `mask_flip`
             the mask alone.
    tumour_unknown  the mask takes tumours for liver.
    returns  (row of cases.csv as dict, histogram rows, lesion rows). Never raises for bad data: the
             verdict says it.
    """
    how = {"window": window, "channel": channel, "flip": flip, "mask_flip": mask_flip}
    how |= {"tumour_unknown": tumour_unknown}
    row, digests, findings, histograms, lesions = _begun(case, **how), {}, [], [], []
    try:
        data = _bytes(case.image, digests)
        if data is None:
            volume = reading.read_scan(case.image, window, channel, case.acquisition)
        else:
            volume = read_volume(case.image, data)
        del data  # before the mask is read: memory holds one scan
        volume = flipped(volume, flip)
        of_scan, low, high, counts = scan_findings(case, volume)
        findings += [*of_scan, *([("flipped", f"the scan along {flip}")] if flip else [])]
        # else the values say nothing about what is where
        in_hu = not NOT_HU.intersection(code for code, _ in of_scan)
        row |= {"voxels": origins.voxel_hash(volume.hu),
                "thumbnail": duplicates.thumbnail(volume.hu) if in_hu else ""}
        row |= _geometry(volume) | {"hu_min": low, "hu_max": high,
                                    "hu_median": checks.median(counts)}
        histograms += checks.histogram(case.name, "scan", counts)
        labels = None
        if case.mask is None:
            findings.append(("no-labels", ""))
        else:
            labels, of_mask, box = masks.read_and_place(
                case, volume, _bytes(case.mask, digests, mask=True), mask_flip
            )
            columns, measured, rows, lesions = masks.mask_findings(
                case.name, volume, labels, box, tumour_unknown
            )
            row, findings, histograms = (row | columns, findings + of_mask + measured,
                                         histograms + rows)
            if columns["liver_slices"] and in_hu:
                turned, row["mask_flip_proposed"], middle = placement.mask_against_turns(
                    volume, labels, box
                )
                findings += turned or ([("liver-hu", f"median {middle:.0f}")]
                                       if not -50 <= middle <= 250 else [])
                findings += placement.liver_unlike(volume, labels >= 1, volume.spacing_mm)
        codes = {code for code, _ in findings}
        trusted = labels if not codes & {"mask-mirrored", "mask-turned", "mask-misfit"} else None
        row["flip_proposed"] = ""
        if in_hu and "axes-exchanged" not in codes:
            turned, row["flip_proposed"] = checks.orientation(volume, low, high, trusted)
            findings += turned
    # whatever a bad file makes a reader do, it must not cost the other cases
    except Exception as error:
        findings.append(fault(error, case))
    row["bytes"] = case_records.fingerprint(case, _changing_voxels(case, **how), digests)
    return judged(row, findings), histograms, lesions


def examine_all(cases, window=(-40, 160), channel=1, workers=None, flips=None, mask_flips=None,
                folder=None, by_folder=None, only="", scheduler=""):
    """`examine` for many cases on all cores, with a progress bar; the results keep the order of the
    cases.

    workers  processes; 1 stays in this one, None takes one for each core. One that dies costs its
             own case only.
    flips    dict case -> axes to turn scan and mask over along; `mask_flips` the mask alone.
    folder   where each finished case is kept, so that an interrupted intake resumes; None keeps
             nothing.
    by_folder  dict of a folder's name -> what is read otherwise in it, a dict with some of window,
             channel and tumour_unknown of `examine`.
    scheduler  address of a Dask cluster, as `crews.spread` takes it.
    only     names or patterns of the cases to look at, a list or a text with commas; empty for all.
    returns  three lists: rows of cases.csv, histogram rows, lesion rows.
    Raises ValueError for a window, a channel, a flip, a folder or a name that can't be.
    """
    items = _checked(cases, window, channel, flips or {}, mask_flips or {}, by_folder or {})
    if patterns := listed(only):
        chosen = names.chosen(patterns, [case.name for case in cases])
        items = [(case, how) for case, how in items if case.name in chosen]
    look, results = partial(_looked_at, folder=folder), {}
    for number, (case, how) in enumerate(items):
        if folder and (result := case_records.recall(folder, case, _settings(case, how))):
            results[number] = result
    to_do = [number for number in range(len(items)) if number not in results]
    with progress(None, "examining", total=len(items), initial=len(results)) as bar:
        waiting = [items[number] for number in to_do]
        if scheduler:
            look = partial(runs.from_root, runs.ROOT, look)
        for k, result in crews.spread(look, waiting, workers, scheduler, needed_bytes):
            if isinstance(result, WorkerDied):
                case, how = waiting[k]
                findings = [("killed", f"it {result.sentence}")]
                result = judged(_begun(case, **how), findings), [], []
            results[to_do[k]] = result
            bar.update()
    in_order = [results[k] for k in range(len(items))]
    rows, histograms, lesions = zip(*in_order, strict=True) if items else ((), (), ())
    return compared(rows), list(itertools.chain(*histograms)), list(itertools.chain(*lesions))


def needed_bytes(item):
    """Memory that a process takes to look at a case, a tuple (case, how it is read)."""
    return 0.2 * crews.GIB + 20 * reading.voxels_of(item[0].image)


def compared(rows):
    """Rows of `examine` with what only shows between cases: scans that are there twice."""
    doubles = duplicates.findings(case_table.table(rows))
    return [with_findings(row, doubles[row["case"]]) if row["case"] in doubles else row
            for row in rows]


def _checked(cases, window, channel, flips, mask_flips, by_folder):
    """A tuple (case, how it is read: the keywords of `examine`) for every case."""
    how = {"window": window, "channel": channel, "tumour_unknown": False}
    for name, changes in by_folder.items():
        if strange := sorted(set(changes) - set(how)):
            raise ValueError(unknown(strange[0], sorted(how), f"by_folder: {name} has no"))
        if not any(name in case.image.parts for case in cases):
            raise ValueError(f"by_folder: no scan lies in a folder {name}")
    for changes in ({}, *by_folder.values()):
        (low, high), channel = (how | changes)["window"], (how | changes)["channel"]
        if not high > low or channel not in (0, 1, 2):
            raise ValueError(f"window {(low, high)}, channel {channel}: the window rises, and the "
                             "channel is 0 blue, 1 green or 2 red")
    for name, turns in (("flips", flips), ("mask_flips", mask_flips)):
        if strange := sorted(set(turns) - {case.name for case in cases}):
            raise ValueError(f"{name}: there is no case {', '.join(strange)}")
        for axes in turns.values():
            turned_over(np.zeros((1, 1, 1)), axes)
    items = []
    for case in cases:
        of_case = how | {"flip": flips.get(case.name, "")}
        of_case |= {"mask_flip": mask_flips.get(case.name, "")}
        for name in set(by_folder).intersection(case.image.parts):
            of_case |= by_folder[name]
        items.append((case, of_case))
    return items


def _looked_at(item, folder):
    """`examine` for one case, or what is kept of it, as plain JSON."""
    case, how = item
    settings = _settings(case, how)
    if folder and (
        result := case_records.recall(folder, case, settings, _changing_voxels(case, **how))
    ):
        return result
    before = case_records.signatures(case)
    result = json.loads(json.dumps(examine(case, **how)))
    # there may be more memory next time
    if folder and "killed" not in result[0]["findings"].split():
        case_records.keep(folder, case, settings, before, result)
    return result


def _settings(case, how):
    """All that a result depends on besides the files."""
    return {"rules": RULES, "notes": case.notes, "acquisition": case.acquisition} | how


def _changing_voxels(case, window, channel, flip, mask_flip, tumour_unknown):
    """The settings that change this case's voxels: with its bytes they decide about its store."""
    how = [flip, mask_flip, *(["tumour-unknown"] if tumour_unknown else []),
           *([f"acquisition {case.acquisition}"] if case.acquisition else [])]
    if case.layout == "2-D slices":
        how += [*window, channel, pictures.FAT_HU, pictures.FIELD_MM]
    return how


def _begun(case, window, channel, flip, mask_flip, tumour_unknown):
    """The columns of a row that are known before anything is read."""
    return {
        "case": case.name, "layout": case.layout, "image": runs.relative(case.image),
        "mask": runs.relative(case.mask) if case.mask else "", "channel": channel,
        "window_low": window[0], "window_high": window[1], "flip": flip, "mask_flip": mask_flip,
        "acquisition": case.acquisition,
    }


def _bytes(path, digests, mask=False):
    """The bytes of a NIfTI file, whose digest is noted; None for others and masks of several."""
    if (not path.name.lower().endswith(names.NIFTI)
            or mask and path.is_file() and len(reading.files_of(path, mask)) > 1):
        return None
    data = nifti.read_bytes(path)
    digests[path] = hashlib.sha256(data).hexdigest()
    return data


def _geometry(volume):
    z, y, x = volume.spacing_mm
    slices, rows, columns = volume.hu.shape
    return {
        "axes": volume.axes, "slices": slices, "rows": rows, "columns": columns,
        "spacing_z_mm": round(z, 4), "spacing_y_mm": round(y, 4), "spacing_x_mm": round(x, 4),
    }
