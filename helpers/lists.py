"""Who is trained on, who is validated on, who is tested; and which slices make up a chunk."""

import hashlib
import re

import numpy as np

SPLITS = ("train", "val", "test")


def draw(seed, *words):
    """A number in [0, 1) that depends on the seed and the words only, on every machine and in every version."""
    digest = hashlib.sha256(":".join(map(str, (seed, *words))).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def patient_groups(cases, groups_csv="", pattern=""):
    """Which patient each case belongs to.

    cases       names.
    groups_csv  a file with columns case and group; cases that it doesn't name are patients of their own.
    pattern     a regular expression whose first group in the case's name is the patient.
    returns     dict case -> group.
    Raises ValueError when both are given, the file lacks a column, or the pattern has no group.
    """
    import pandas as pd

    if groups_csv and pattern:
        raise ValueError("give either groups_csv or group_pattern, not both")
    if groups_csv:
        table = pd.read_csv(groups_csv, dtype=str)
        if not {"case", "group"} <= set(table.columns):
            raise ValueError(f"{groups_csv}: needs the columns case and group, has {list(table.columns)}")
        named = dict(zip(table.case, table.group, strict=True))
        return {case: named.get(case, case) for case in cases}
    if pattern:
        compiled = re.compile(pattern)
        if compiled.groups < 1:
            raise ValueError(f"group_pattern {pattern!r}: needs a group in parentheses that catches the patient")
        return {case: (m[1] if (m := compiled.search(case)) else case) for case in cases}
    return {case: case for case in cases}


def split(cases, groups, seed, val_share=0.15, test_share=0.25, folds=0, fold=0):
    """Divide cases into train, val and test by patient group, never by slice, alike in tumour presence.

    cases    DataFrame with the columns case and tumour_ml.
    groups   dict case -> group.
    folds    0 draws val and test by their shares; k > 1 makes fold `fold` of k the val set, after test is taken out.
    returns  DataFrame case, group, split in the order of `cases`.
    Raises ValueError when there are too few groups for a part that was asked for.
    """
    import pandas as pd

    table = pd.DataFrame({"case": cases.case, "group": cases.case.map(groups), "tumour_ml": cases.tumour_ml.fillna(0)})
    burden = table.groupby("group").tumour_ml.sum()
    side = {}
    left_over = {"val": 0.0, "test": 0.0}  # what rounding took from one stratum goes to the next
    position = 0
    for stratum in (burden[burden > 0], burden[burden == 0]):
        order = sorted(stratum.index, key=lambda group: draw(seed, group))
        wanted = {}
        for part, share in (("test", test_share), ("val", 0 if folds else val_share)):
            exact = share * len(order) + left_over[part]
            wanted[part] = int(exact + 0.5)
            left_over[part] = exact - wanted[part]
        for k, group in enumerate(order):
            side[group] = "test" if k < wanted["test"] else "val" if k < wanted["test"] + wanted["val"] else "train"
            if folds and side[group] == "train":
                side[group] = "val" if position % folds == fold else "train"
                position += 1
    table["split"] = table.group.map(side)
    for part, needed in (("train", True), ("val", bool(folds) or val_share > 0), ("test", test_share > 0)):
        if needed and not (table.split == part).any():
            raise ValueError(f"{len(burden)} patients are too few: none is left for {part}; change the shares or folds")
    return table[["case", "group", "split"]]


def spread(slices, seed):
    """Order slices so that every stretch of the order holds each patient in its share of the whole."""
    keyed = slices.assign(_lot=[draw(seed, c, z) for c, z in zip(slices.case, slices.z, strict=True)])
    rank = keyed.groupby("case")._lot.rank(method="first") - 1
    count = keyed.groupby("case")._lot.transform("size")
    start = keyed.case.map({case: draw(seed, case) for case in keyed.case.unique()})
    return keyed.assign(_key=(rank + start) / count).sort_values("_key").drop(columns=["_lot", "_key"])


def select(slices, empty_share, seed):
    """All slices with tumour, all with liver, and so many empty ones that they make up `empty_share` of the selection."""
    import pandas as pd

    shown, empty = slices[slices.kind != "empty"], slices[slices.kind == "empty"]
    wanted = round(empty_share / (1 - empty_share) * len(shown)) if empty_share < 1 else len(empty)
    return pd.concat([shown, spread(empty, seed)[:wanted]], ignore_index=True)


def chunks(slices, chunk_slices, seed):
    """Deal selected slices into chunks, each half tumour and half not, and stratified over patients.

    The rarer kind is dealt again from the start until every slice of the other has been dealt once.

    slices        DataFrame from `select`.
    chunk_slices  slices a chunk, at least 2.
    returns       list of DataFrames.
    """
    import pandas as pd

    if slices.empty or chunk_slices < 2:
        raise ValueError(f"no chunks can be made of {len(slices)} slices, {chunk_slices} at a time")
    kinds = [part for part in (slices[slices.kind == "tumour"], slices[slices.kind != "tumour"]) if len(part)]
    each = chunk_slices // len(kinds)
    number = int(np.ceil(max(len(part) for part in kinds) / each))
    dealt = [spread(part, seed).take(np.arange(number * each) % len(part)) for part in kinds]
    return [pd.concat([part[k * each : (k + 1) * each] for part in dealt], ignore_index=True) for k in range(number)]


def balanced(slices, seed, most=400):
    """As many slices with tumour as without, `most` at the most, spread over patients and the length of the liver."""
    import pandas as pd

    tumour, other = slices[slices.kind == "tumour"], slices[slices.kind != "tumour"]
    each = min(most // 2, len(tumour) or most, len(other) or most)
    parts = [spread(part, seed)[:each] for part in (tumour, other)]
    return pd.concat(parts).sort_values(["case", "z"]).reset_index(drop=True)


def audit(split_table, slices):
    """Check the lists as written for leakage, and count what is on each side.

    returns  (DataFrame with a row per side: patients, cases, slices, tumour_slices, tumour_px; list of sentences that
             say what is wrong, empty when nothing is).
    """
    merged = slices.merge(split_table, on="case")
    sides = split_table.groupby("split").agg(patients=("group", "nunique"), cases=("case", "nunique"))
    counted = merged.groupby("split").agg(
        slices=("z", "size"), tumour_slices=("kind", lambda k: int((k == "tumour").sum())), tumour_px=("tumour_px", "sum")
    )
    wrong = []
    on = split_table.groupby("group").split.nunique()
    wrong += [f"patient {group} is on {n} sides of the split" for group, n in on[on > 1].items()]
    wrong += [f"case {case} is listed twice" for case in split_table.case[split_table.case.duplicated()]]
    if not (merged[merged.split == "train"].kind == "tumour").any():
        wrong.append("no training slice shows tumour: the tumour network can't learn")
    table = sides.join(counted).reindex([s for s in SPLITS if s in sides.index]).fillna(0).astype(int).reset_index()
    return table, wrong
