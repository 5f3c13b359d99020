"""Which side of the split each patient is on; a case that has a side keeps it."""

import collections
import re

from helpers import files, origins
from helpers.slices.lists import SPLITS, draw

STRATA_ML = (0.0, 10.0, 100.0)  # tumour of a patient: none, up to 10 ml, up to 100 ml, more; fixed, so that no case moves another
LITS_NAME = re.compile(r"(?:volume-|liver_)(\d+)")
IRCADB = range(28, 49)  # about 20 LiTS scans between these come from the public set 3D-IRCADb; which ones is disputed


def stratum(tumour_ml):
    """0 without tumour, then 1 to 3 by STRATA_ML."""
    return sum(tumour_ml > edge for edge in STRATA_ML)


def split(cases, groups, seed, val_share=0.15, test_share=0.25, folds=0, fold=0, before=None, test=(), train=()):
    """Divide cases into train, val and test by patient group, never by slice, alike in tumour presence and size.

    A new patient goes to the side that is most short of patients with as much tumour; the order in which they come is a
    draw by seed and name. So one case more moves no other, and the same cases give the same split on every machine.

    cases       DataFrame with the columns case and tumour_ml.
    groups      dict case -> group.
    folds       0 draws val and test by their shares; k > 1 deals what is not test into k folds, and `fold` is val.
    before      dict case -> "train", "val", "test" or the number of a fold as text: where cases have been so far.
    test        cases of a given test set: their patients are the whole of it, and test_share means nothing.
    train       cases whose patients never validate or test, unless `test` or `before` say so.
    returns     DataFrame case, group, split, fold in the order of `cases`; fold is "" for patients that are in none.
    Raises ValueError for shares or folds that can't be, or too few patients for a part that was asked for.
    """
    import pandas as pd

    shares = _shares(val_share, test_share, folds, fold, bool(len(test)))
    table = pd.DataFrame({"case": cases.case, "group": cases.case.map(groups)})
    strata = cases.tumour_ml.fillna(0).groupby(table.group).max().map(stratum)
    part = _settled(table, before or {}, set(test), set(train))
    counted = [group for group in strata.index if part.get(group) in (None, *shares)]
    wanted = _wanted(collections.Counter(strata[group] for group in counted), shares)
    have = collections.Counter((strata[group], part[group]) for group in counted if group in part)
    for group in sorted(set(strata.index) - set(part), key=lambda group: draw(seed, group)):
        here = strata[group]
        short = {p: wanted[here, p] - have[here, p] for p in shares}
        overall = {p: sum(wanted[s, p] - have[s, p] for s in range(4)) for p in shares}
        part[group] = max(shares, key=lambda p: (short[p], overall[p]))
        have[here, part[group]] += 1
    missing = [p for p in shares if p not in part.values()]
    if len(test) and "test" not in part.values():
        raise ValueError(f"none of the {len(test)} cases of the given test set is among the {len(cases)} of this run")
    if missing:
        do = "change the shares or folds" + (", or delete split.csv to draw a new split" if before else "")
        raise ValueError(f"{len(strata)} patients are too few: none is left for {missing[0]}; {do}")
    return _as_table(table, part, folds, fold)


def _shares(val_share, test_share, folds, fold, test_given):
    """What part of the patients that are free to go anywhere each part gets: dict part -> share, adding up to 1."""
    if min(val_share, test_share) < 0 or (0 if folds else val_share) + test_share >= 1:
        raise ValueError(f"val_share {val_share} and test_share {test_share}: shares from 0, and something is left to train on")
    if folds and (folds < 2 or not 0 <= fold < folds):
        raise ValueError(f"fold {fold} of {folds}: folds is 0 or from 2, and fold counts from 0 to folds − 1")
    test_share = 0.0 if test_given else test_share
    if folds:
        shares = {str(k): (1 - test_share) / folds for k in range(folds)}
    else:
        shares = {"train": 1 - val_share - test_share, "val": val_share}
    return {part: share for part, share in (shares | {"test": test_share}).items() if share > 0}


def _settled(table, before, test, train):
    """dict group -> part of the patients whose place isn't drawn.

    Scans of one patient that were on several sides come together where they taught most: train before val before test,
    because what a network has learnt from can't be tested on; of several folds the one with most of them.
    """
    part = {}
    for group, members in table.groupby("group").case:
        so_far = collections.Counter(before[case] for case in members if case in before)
        order = {"train": 0, "test": 2}
        if test & set(members):
            part[group] = "test"
        elif so_far:
            part[group] = min(so_far, key=lambda p: (order.get(p, 1), -so_far[p], p))
        elif train & set(members):
            part[group] = "train"
    return part


def _wanted(groups_in, shares):
    """How many patients of each stratum each part gets: whole, within 1 of its share, and none empty where that can be.

    groups_in  Counter stratum -> patients.
    returns    Counter (stratum, part) -> patients.
    """
    wanted, exact, owed = collections.Counter(), {}, dict.fromkeys(shares, 0.0)
    for s in range(4):
        exact |= {(s, p): share * groups_in[s] for p, share in shares.items()}
        wanted |= collections.Counter({(s, p): int(exact[s, p] + 1e-9) for p in shares})
        rest = {p: exact[s, p] - wanted[s, p] for p in shares if exact[s, p] - wanted[s, p] > 1e-9}
        spare = groups_in[s] - sum(wanted[s, p] for p in shares)
        for p in sorted(rest, key=lambda p: -round(rest[p] + owed[p], 9))[:spare]:
            wanted[s, p] += 1
        owed = {p: owed[p] + exact[s, p] - wanted[s, p] for p in shares}  # what rounding took comes back in the next stratum
    for empty in shares:
        total = {p: sum(wanted[s, p] for s in range(4)) for p in shares}
        givers = [(s, p) for s in range(4) for p in shares if total[p] > 1 and wanted[s, p]]
        if not total[empty] and givers:
            s, p = max(givers, key=lambda at: round(wanted[at] - exact[at], 9))
            wanted[s, p] -= 1
            wanted[s, empty] += 1
    return wanted


def _as_table(table, part, folds, fold):
    place = table.group.map(part)
    in_fold = place.where(~place.isin(SPLITS), "")
    if folds:
        place = place.where(place.isin(SPLITS), (place == str(fold)).map({True: "val", False: "train"}))
    return table.assign(split=place, fold=in_fold)[["case", "group", "split", "fold"]]


def read_test(test_csv, cases):
    """The cases that a given test set names, sorted; prints those that aren't among `cases` now."""
    named = sorted(set(read_cases(test_csv).case))
    unknown = [case for case in named if case not in set(cases)]
    if unknown:
        print(f"{test_csv}: {len(unknown)} of its cases aren't there, or can't be learnt from: {', '.join(unknown[:8])}")
    return named


def read_before(folder, made_with):
    """Where the cases of a run have been so far, as `split.csv` says, unless it was made with other settings.

    folder     of the run's lists; a split.csv put there by hand counts too.
    made_with  dict of the settings that decide about sides, as `write` got them.
    returns    (dict case -> part for `split`, sentences).
    Raises ValueError when split.csv can't be understood.
    """
    file, memory = folder / "split.csv", folder / "split.json"
    if not file.is_file():
        return {}, ["There is no split yet: it is drawn."]
    old = files.read_json(memory) if memory.is_file() else {"made_with": None, "absent": {}}
    table = read_cases(file, ("case", "split"))
    if old["made_with"] is None and made_with["folds"]:
        return {}, ["The split so far knows no folds: a new one is drawn."]
    if old["made_with"] is not None and (reasons := origins.differences(old["made_with"], made_with)):
        return {}, [f"A new split is drawn, and cases change sides: {', '.join(reasons)}."]
    if wrong := sorted(set(table.split) - set(SPLITS)):
        raise ValueError(f"{file}: the sides are train, val and test, not {wrong[0]!r}; mend it, or delete it")
    if table.case.duplicated().any():
        twice = table.case[table.case.duplicated()].iloc[0]
        raise ValueError(f"{file}: lists {twice} twice; mend it, or delete it")
    in_fold = table.fold if "fold" in table and made_with["folds"] else table.split.map(dict.fromkeys(SPLITS, ""))
    parts = in_fold.where(in_fold != "", table.split)
    sentence = "The split so far is kept; new patients join it. Delete split.csv to draw another."
    return old["absent"] | dict(zip(table.case, parts, strict=True)), [sentence]


def parts_of(table):
    """dict case -> part of a split as `split` gives it: the inverse of what `before` says."""
    return dict(zip(table.case, table.fold.where(table.fold != "", table.split), strict=True))


def remarks(table, before):
    """How a split differs from where its cases were before: a sentence each, empty when it doesn't."""
    now, said = parts_of(table), []
    if not before:
        return said
    for group, members in table.groupby("group").case:
        for case in (case for case in members if before.get(case, now[case]) != now[case]):
            with_it = [other for other in members if before.get(other) == now[case]]
            why = f"because it is the same patient as {', '.join(with_it)}" if with_it else "because the given test set says so"
            said.append(f"{case} moves from {_told(before[case])} to {_told(now[case])}, {why} (patient {group}).")
    new, gone = [case for case in now if case not in before], [case for case in before if case not in now]
    for names, what in ((new, "new since the last split"), (gone, "no longer there; a case that comes back gets its old side")):
        if names:
            said.append(f"{len(names)} of the cases are {what}: {', '.join(names[:8])}{' …' if len(names) > 8 else ''}.")
    return said


def _told(part):
    return part if part in SPLITS else f"fold {part}"


def write(folder, table, made_with, before):
    """Write split.csv and, beside it, split.json: the settings it was made with, and the sides of cases that have left."""
    files.write_csv(folder / "split.csv", table)
    absent = {case: part for case, part in before.items() if case not in set(table.case)}
    files.write_json(folder / "split.json", {"made_with": made_with, "absent": absent})


def patient_groups(cases, groups_csv="", pattern="", alike=None):
    """Which patient each case belongs to: every source speaks, and what any of them joins stays together.

    cases       names.
    groups_csv  a file with columns case and group; it wins over the pattern for the cases that it names.
    pattern     a regular expression whose first group in the case's name is the patient.
    alike       pairs of `same_patient`: both of a pair are one patient.
    returns     dict case -> group; a case that nothing is said of is a patient of its own.
    Raises ValueError when the file lacks a column or says two things of one case, or the pattern has no group.
    """
    named = _named(groups_csv) if groups_csv else {}
    compiled = re.compile(pattern) if pattern else None
    if compiled and compiled.groups < 1:
        raise ValueError(f"group_pattern {pattern!r}: needs a group in parentheses that catches the patient")
    groups = {}
    for case in cases:
        match = compiled.search(case) if compiled else None
        groups[case] = named.get(case) or (match[1] if match and match[1] else case)
    one = {group: group for group in groups.values()}  # which name the patients that belong together go by
    for pair in [] if alike is None else alike.itertuples():
        if pair.case in groups and pair.other in groups:
            a, b = sorted(one[groups[case]] for case in (pair.case, pair.other))
            one = {group: a if name == b else name for group, name in one.items()}
    return {case: one[group] for case, group in groups.items()}


def same_patient(alike, groups_csv=""):
    """The pairs of `twins.pairs` that are one patient: all, but for near-duplicates to which groups_csv gives two groups."""
    named = _named(groups_csv) if groups_csv else {}
    a, b = alike.case.map(named), alike.other.map(named)
    return alike[~((alike.kind == "near-duplicate") & a.notna() & b.notna() & (a != b))]


def _named(groups_csv):
    """dict case -> group of a file; rows without a group are left out."""
    table = read_cases(groups_csv, ("case", "group"))
    twice = table.case[table.duplicated("case", keep=False) & ~table.duplicated(["case", "group"], keep=False)]
    if len(twice):
        raise ValueError(f"{groups_csv}: puts {twice.iloc[0]} into two groups; leave one")
    return {case: group for case, group in zip(table.case, table.group, strict=True) if group}


def read_cases(path, columns=("case",)):
    """A CSV that names cases, all as text without blanks around; raises ValueError when it lacks a column."""
    import pandas as pd

    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    if not set(columns) <= set(table.columns):
        raise ValueError(f"{path}: needs the columns {' and '.join(columns)}, has {list(table.columns)}")
    return table.apply(lambda column: column.str.strip())


def ircadb_block(cases):
    """The cases that LiTS took over from 3D-IRCADb, when the data set looks like LiTS; else an empty list.

    They are scans of one hospital, so they belong on one side of any split. Names alone could be chance: of the scans that
    carry a spacing, half or more must have the 1 × 1 × 1 mm that these have in LiTS.

    cases   DataFrame with the columns case, layout and spacing_z_mm, spacing_y_mm, spacing_x_mm.
    """
    number = cases.case.map(lambda case: int(m[1]) if (m := LITS_NAME.fullmatch(case)) else -1)
    block = cases[number.isin(IRCADB)]
    carried = block[block.layout != "2-D slices"].filter(like="spacing_")
    if len(block) < 2 or (len(carried) and (carried == 1).all(axis=1).mean() < 0.5):
        return []
    return block.case.tolist()
