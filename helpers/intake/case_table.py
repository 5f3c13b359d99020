"""The tables of notebook 01: cases.csv with its columns and types."""

import json

import pandas as pd

from helpers import files
from helpers.parameters import listed
from helpers.scans.findings import FINDINGS
from helpers.scans.volume import both_flips

ALL = "all"  # splits, and scans that are in none
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


def cases_of_split(run, split, weights=""):
    """The rows of a run's cases.csv that are of the named splits, with the columns split and group.

    split    "test", several with commas between, or "all": scans without labels, too.
    weights  whose networks segment them, "" for the run's own. Others' need no split: where there
             is none, all scans are taken.
    Raises FileNotFoundError when 01 or 02 has not run, ValueError for a split that isn't there.
    """
    for name, stage in (("cases.csv", "01"), ("split.csv", "02")):
        if not (run.lists / name).is_file() and not (weights and stage == "02"):
            others = ("; networks that are trained already need no split: weights='lits102' takes "
                      "the shipped ones" if stage == "02" else "")
            raise FileNotFoundError(f"{run.lists / name} is missing: run notebook {stage} for the "
                                    f"run {run.name!r} first{others}")
    cases = read_table(run.lists / "cases.csv")
    if not (run.lists / "split.csv").is_file():
        return cases.assign(split=ALL, group=cases.case)
    sides = pd.read_csv(run.lists / "split.csv", dtype=str, keep_default_na=False)
    sides = sides.reindex(columns=["case", "split", "group"])
    wanted = set(listed(split))
    if not wanted or wanted - {ALL} - set(sides.split):
        raise ValueError(f"split {split!r}: the run has the splits {sorted(set(sides.split))}, and "
                         f"{ALL!r} of them")
    rows = cases.merge(sides, on="case", how="left").fillna({"split": "", "group": ""})
    return rows if ALL in wanted else rows[rows.split.isin(wanted)].reset_index(drop=True)
