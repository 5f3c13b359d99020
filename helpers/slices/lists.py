"""Which slices make up a chunk, and an audit of the lists as they were written."""

import hashlib

import numpy as np
import pandas as pd

from helpers import files
from helpers.scans import names

SPLITS = ("train", "val", "test")


def draw(seed, *words):
    """A number in [0, 1) that depends on the seed and the words only, on every machine and in every
    version.
    """
    digest = hashlib.sha256(":".join(map(str, (seed, *words))).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def spread(slices, seed):
    """Order slices so that every stretch of the order holds each patient in its share of the
    whole.
    """
    keyed = slices.assign(
        _lot=[draw(seed, c, z) for c, z in zip(slices.case, slices.z, strict=True)]
    )
    rank = keyed.groupby("case")._lot.rank(method="first") - 1
    count = keyed.groupby("case")._lot.transform("size")
    start = keyed.case.map({case: draw(seed, case) for case in keyed.case.unique()})
    return (
        keyed.assign(_key=(rank + start) / count).sort_values("_key").drop(columns=["_lot", "_key"])
    )


def select(slices, empty_share, seed):
    """All slices with tumour, all with liver, and so many empty ones that they make up
    `empty_share` of the selection.
    """
    shown, empty = slices[slices.kind != "empty"], slices[slices.kind == "empty"]
    wanted = round(empty_share / (1 - empty_share) * len(shown)) if empty_share < 1 else len(empty)
    return pd.concat([shown, spread(empty, seed)[:wanted]], ignore_index=True)


def chunks(slices, chunk_slices, seed):
    """Deal selected slices into chunks, each half tumour and half not, and stratified over
    patients.

    The rarer kind is dealt again from the start until every slice of the other has been dealt once.

    slices        DataFrame from `select`.
    chunk_slices  slices a chunk, at least 2.
    returns       list of DataFrames.
    """
    if slices.empty or chunk_slices < 2:
        raise ValueError(f"no chunks can be made of {len(slices)} slices, {chunk_slices} at a time")
    kinds = [kind for kind in (slices[slices.kind == "tumour"], slices[slices.kind != "tumour"])
             if len(kind)]
    each = chunk_slices // len(kinds)
    number = int(np.ceil(max(map(len, kinds)) / each))
    rows = [spread(kind, seed).take(np.arange(number * each) % len(kind)) for kind in kinds]
    return [pd.concat([kind[k * each : (k + 1) * each] for kind in rows], ignore_index=True)
            for k in range(number)]


def balanced(slices, seed, most=400):
    """`most` slices, half of them with tumour, or all that there are, spread over patients and the
    length of the liver.
    """
    tumour, other = (spread(kind, seed)
                     for kind in (slices[slices.kind == "tumour"], slices[slices.kind != "tumour"]))
    tumour = tumour[: max(most // 2, most - len(other))]
    return (
        pd.concat([tumour, other[: most - len(tumour)]])
        .sort_values(["case", "z"])
        .reset_index(drop=True)
    )


def write(folder, train_chunks, validation, test):
    """Write train_chunk_NN.csv, val.csv and test.csv; chunks of an earlier deal are removed."""
    for old in training_files(folder):
        old.unlink()
    for k, chunk in enumerate(train_chunks, start=1):
        files.write_csv(folder / f"train_chunk_{k:02d}.csv", chunk)
    files.write_csv(folder / "val.csv", validation)
    files.write_csv(folder / "test.csv", test)


def training_files(folder):
    """The lists of the training chunks, in the order of their numbers."""
    return sorted(folder.glob("train_chunk_*.csv"), key=names.natural)


def audit(folder, cases, stores, duplicate_pairs=None):
    """Read the lists of a run back as written, and check them against the cases, the stores and
    each other.

    folder           with split.csv, train_chunk_NN.csv, val.csv, test.csv.
    cases            rows of cases.csv that are learnt from.
    stores           dict "liver" and "tumour" -> store.Store.
    duplicate_pairs  those of `patients.same_patient`, which must be on one side.
    returns  (DataFrame with a row per side: patients, cases, tumour_free, slices, tumour_slices,
             tumour_ml, lesions; sentences that say what is wrong, empty when nothing is; sentences
             worth knowing).
    """
    sides = pd.read_csv(folder / "split.csv", dtype=str, keep_default_na=False)
    side = dict(zip(sides.case, sides.split, strict=True))
    on = sides.groupby("group").split.unique()
    wrong = [
        f"patient {group} is on {len(s)} sides of the split ({', '.join(s)})"
        for group, s in on.items()
        if len(s) > 1
    ]
    wrong += [f"case {case} is listed twice in split.csv"
              for case in sides.case[sides.case.duplicated()]]
    wrong += [f"split.csv names {case}, which is no case of this run" for case in sides.case
              if case not in set(cases.case)]
    wrong += [f"split.csv lacks {case}" for case in cases.case if case not in side]
    for pair in [] if duplicate_pairs is None else duplicate_pairs.itertuples():
        if side.get(pair.case) and side.get(pair.other) and side[pair.case] != side[pair.other]:
            wrong.append(f"{pair.case} ({side[pair.case]}) and {pair.other} ({side[pair.other]}) "
                         "show the same scan")
    chunk_files = training_files(folder)
    by_name = {file.name: read(file)
               for file in [*chunk_files, folder / "val.csv", folder / "test.csv"]}
    for name, listed in by_name.items():
        expected = name.split("_")[0].removesuffix(".csv")
        wrong += _list_faults(name, listed, side, expected, stores)
        if expected == "train" and not len(listed):
            wrong.append(f"{name} is empty: a network can't be trained on it")
    if not any(len(by_name[file.name]) and (by_name[file.name].kind == "tumour").any()
               for file in chunk_files):
        wrong.append("no training slice shows tumour: the tumour network can't learn")
    table = _by_side(
        cases.assign(split=cases.case.map(side)).merge(sides[["case", "group"]], on="case")
    )
    known = [f"no {row.split} case shows tumour" for row in table.itertuples() if row.cases
             and not row.tumour_slices]
    return table, wrong, known


def read(file):
    """A list of slices: case as text, whatever it looks like ("007", "NA")."""
    return pd.read_csv(file, dtype={"case": str, "kind": str}, keep_default_na=False)


def _list_faults(name, listed, side, expected, stores):
    """What is wrong with one list of slices: cases of another side, slices that a store lacks."""
    for case, slices in listed.groupby("case"):
        if side.get(case) != expected:
            (yield f"{name} lists {case}, which split.csv has on the side "
                   f"{side.get(case, 'of nobody')}")
        for stage, rows in (("liver", slices), ("tumour", slices[slices.kind != "empty"])):
            try:
                first, count = (stores[stage].first_z(case),
                                len(stores[stage].mask(case)) if len(rows) else 0)
            except FileNotFoundError:
                first, count = 0, 0
            lacking = rows.z[(rows.z < first) | (rows.z >= first + count)]
            if len(lacking):
                (yield f"{name} lists slice {lacking.iloc[0]} of {case}, which the {stage} store "
                       "lacks; run 02_filtering again")


def _by_side(cases):
    """Counts a side from rows of cases.csv with the columns split and group."""
    sums = cases.groupby("split")[["slices", "tumour_slices", "tumour_ml", "lesions"]].sum()
    counts = cases.groupby("split").agg(patients=("group", "nunique"), cases=("case", "nunique"))
    free = (cases.tumour_slices == 0).groupby(cases.split).sum().rename("tumour_free")
    table = counts.join(free).join(sums).reindex([s for s in SPLITS if s in counts.index])
    whole = dict.fromkeys(table.columns.drop("tumour_ml"), int)
    return table.astype(whole).round({"tumour_ml": 1}).reset_index()


def read_lists(folder):
    """The chunks and the validation slices of a run, as 02 wrote them: (list of DataFrames,
    DataFrame).
    """
    chunk_files = training_files(folder)
    if not chunk_files:
        raise FileNotFoundError(f"{folder}: holds no train_chunk_*.csv; run 02_filtering first")
    return [read(file) for file in chunk_files], read(folder / "val.csv")
