"""The tables of notebook 01: cases.csv with its columns and types, and what is kept of a case."""

import hashlib
import json

import pandas as pd

from helpers import files, origins, runs
from helpers.scans import reading
from helpers.scans.findings import FINDINGS
from helpers.scans.volume import both_flips

# columns of cases.csv and their types; a case that couldn't be read leaves the measured ones empty
COLUMNS = dict.fromkeys(("case", "verdict", "layout", "image", "mask"), "str")
COLUMNS |= {"channel": "Int64", "window_low": "float64", "window_high": "float64", "flip": "str",
            "mask_flip": "str", "acquisition": "str"}
COLUMNS |= {"bytes": "str", "axes": "str"}
COLUMNS |= dict.fromkeys(("slices", "rows", "columns"), "Int64")
COLUMNS |= dict.fromkeys(("spacing_z_mm", "spacing_y_mm", "spacing_x_mm"), "float64")
COLUMNS |= {"hu_min": "Int64", "hu_max": "Int64", "hu_median": "float64", "liver_ml": "float64",
            "tumour_ml": "float64"}
COLUMNS |= dict.fromkeys(("lesions", "liver_slices", "tumour_slices"), "Int64")
COLUMNS |= {"liver_hu": "float64", "tumour_hu": "float64"}
COLUMNS |= dict.fromkeys(("findings", "reason", "to_do", "flip_proposed", "mask_flip_proposed",
                          "voxels", "thumbnail"), "str")  # the last two `duplicates` compares


def table(rows):
    """The rows of `examine_all` as a DataFrame with the columns and types of cases.csv."""
    frame = pd.DataFrame(rows).reindex(columns=list(COLUMNS)).astype(COLUMNS)
    text = [name for name, kind in COLUMNS.items() if kind == "str"]
    return frame.assign(**frame[text].fillna(""))


def read_table(path):
    """cases.csv as it was written: names stay text ("007", "NA"), empty text is ""."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' own errors are some
        raise ValueError(f"{path}: can't be read as a table ({error}); run 01_exploration "
                         "again") from error
    if missing := {"case", "verdict", "image", "bytes"} - set(frame.columns):
        raise ValueError(f"{path}: lacks the columns {', '.join(sorted(missing))}; run "
                         "01_exploration again")
    frame = frame.reindex(columns=list(COLUMNS), fill_value="")
    numbers = {name: kind for name, kind in COLUMNS.items() if kind != "str"}
    return frame.assign(**frame[list(numbers)].apply(pd.to_numeric).astype(numbers))


def write_tables(folder, rows, histograms, lesions):
    """Write what `examine_all` returns: histograms, lesions and, last, cases.csv; their paths."""
    paths = [folder / f"{name}.csv" for name in ("cases", "histograms", "lesions")]
    files.write_csv(paths[1], pd.DataFrame(histograms, columns=["case", "region", "hu", "voxels"]))
    files.write_csv(paths[2],
                    pd.DataFrame(lesions, columns=["case", "lesion", "volume_ml", "diameter_mm"]))
    files.write_csv(paths[0], table(rows))
    return paths


def proposed_flips(cases, flips, mask_flips):
    """A line each for `flips` and `mask_flips`: the words that follow all proposals in cases.csv.

    flips, mask_flips   dict case -> axes, as asked for so far; a proposal adds to them.
    """
    lines = []
    for name, so_far in (("flips", flips), ("mask_flips", mask_flips)):
        proposed = cases[f"{name.removesuffix('s')}_proposed"]
        turns = {case: both_flips(so_far.get(case, ""), axes)
                 for case, axes in zip(cases.case, proposed) if axes}
        lines.append(f"--set '{name}={json.dumps(so_far | turns)}'" if turns
                     else f"{name}: none proposed")
    return lines


def findings_met(cases):
    """All findings, those of most cases first, as a DataFrame: finding, leads to, meaning, what to
    do, cases (how many), for example (three).

    cases     DataFrame with the columns case and findings of cases.csv.
    """
    rows = []
    for code, (verdict, meaning, to_do) in FINDINGS.items():
        named = [case for case, codes in zip(cases.case, cases.findings) if code in codes.split()]
        rows.append([code, verdict, meaning, to_do, len(named),
                     ", ".join(named[:3]) + (" …" if len(named) > 3 else "")])
    table = pd.DataFrame(rows, columns=["finding", "leads to", "meaning", "what to do", "cases",
                                        "for example"])
    return table.sort_values("cases", ascending=False, kind="stable", ignore_index=True)


def files_of(case):
    """The files that a case is read from, those of its mask last."""
    return [*_beside(case.image), *(_beside(case.mask, mask=True) if case.mask else [])]


def _beside(path, mask=False):
    """The files that are read with this one; itself where they can't be listed."""
    try:
        return reading.files_of(path, mask) if path.is_file() else [path]
    except Exception:  # whatever a bad file makes a reader do
        return [path]


def fingerprint(case, how, known=()):
    """A short hash of the bytes of a case's files and of how they are read.

    how    settings that change the voxels: the flips, and of pictures window and channel.
    known  dict path -> hex digest, for files that have been read already.
    """
    together = hashlib.sha256(json.dumps(how).encode())
    for file in files_of(case):
        together.update((known[file] if file in known else _digest(file)).encode())
    return together.hexdigest()[:16]


def _digest(file):
    if not file.is_file():
        return "-no file"
    try:
        return files.sha256(file)
    except OSError as error:
        return f"-{type(error).__name__}"


def signatures(case):
    """dict file -> `files.file_signature` of it, for all files of a case."""
    return {runs.relative(file): files.file_signature(file) for file in files_of(case)}


def recall(folder, case, settings, how=None):
    """The result that was kept of a case, when neither its bytes nor the settings have changed
    since; None otherwise.

    how   as in `fingerprint`: where a signature differs the bytes are hashed, so that a scan that
          was only copied or touched isn't examined again. None doesn't read them: other signatures
          are a change.
    """
    record, now = files.recorded(record_of(folder, case)), signatures(case)
    if not origins.is_current(record, {"settings": settings}):
        return None
    if not origins.is_current(record, {"signatures": now}):
        if (how is None or record["signatures"].keys() != now.keys()
            or record["bytes"] != fingerprint(case, how)):
            return None
        files.write_json(record_of(folder, case), record | {"signatures": now})
    return record["result"]


def keep(folder, case, settings, before, result):
    """Write a case's result; `before` are the signatures of its files before they were read."""
    made_of = {"settings": settings, "bytes": result[0]["bytes"], "signatures": before}
    files.write_json(record_of(folder, case), made_of | {"result": result})


def record_of(folder, case):
    """Where the result of a case is kept."""
    return folder / f"{case.name}.json"
