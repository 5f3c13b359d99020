"""Which side of the split each patient is on; a case that has a side keeps it."""

from collections import Counter

import pandas as pd

from helpers import files, origins
from helpers.slices.lists import SPLITS, draw
from helpers.slices.patients import read_cases

# tumour of a patient: none, up to 10 ml, up to 100 ml, more; fixed, so that no case moves another
STRATA_ML = (0.0, 10.0, 100.0)


def stratum(tumour_ml):
    """0 without tumour, then 1 to 3 by STRATA_ML."""
    return sum(tumour_ml > edge for edge in STRATA_ML)


def split(cases, groups, seed, val_share=0.15, test_share=0.25, folds=0, fold=0, before=None,
          test=(), train=()):
    """Divide cases into train, val and test by patient group, never by slice, alike in tumour
    presence and size.

    A new patient goes to the side that is most short of patients with as much tumour; the order in
    which they come is a draw by seed and name. So one case more moves no other, and the same cases
    give the same split on every machine.

    cases       DataFrame with the columns case and tumour_ml.
    groups      dict case -> group.
    folds       0 draws val and test by their shares; k > 1 deals what is not test into k folds, and
                `fold` is val.
    before      dict case -> "train", "val", "test" or the number of a fold as text: where cases
                have been so far.
    test        cases of a given test set: their patients are the whole of it, and test_share means
                nothing.
    train       cases whose patients never validate or test, unless `test` or `before` say so.
    returns     DataFrame case, group, split, fold in the order of `cases`; fold is "" for patients
                that are in none.
    Raises ValueError for shares or folds that can't be, or too few patients for a side.
    """
    shares = _shares(val_share, test_share, folds, fold, bool(len(test)))
    table = pd.DataFrame({"case": cases.case, "group": cases.case.map(groups)})
    strata = cases.tumour_ml.fillna(0).groupby(table.group).max().map(stratum)
    side = _settled(table, before or {}, set(test), set(train))
    counted = [group for group in strata.index if side.get(group) in (None, *shares)]
    wanted = _wanted(Counter(strata[group] for group in counted), shares)
    have = Counter((strata[group], side[group]) for group in counted if group in side)
    for group in sorted(set(strata.index) - set(side), key=lambda group: draw(seed, group)):
        stratum_of_it = strata[group]
        short = {p: wanted[stratum_of_it, p] - have[stratum_of_it, p] for p in shares}
        overall = {p: sum(wanted[s, p] - have[s, p] for s in range(4)) for p in shares}
        side[group] = max(shares, key=lambda p: (short[p], overall[p]))
        have[stratum_of_it, side[group]] += 1
    missing = [p for p in shares if p not in side.values()]
    if len(test) and "test" not in side.values():
        raise ValueError(f"none of the {len(test)} cases of the given test set is among the "
                         f"{len(cases)} of this run")
    if missing:
        do = "change the shares or folds" + (
            ", or delete split.csv to draw a new split" if before else ""
        )
        raise ValueError(f"{len(strata)} patients are too few: none is left for {missing[0]}; {do}")
    return _as_table(table, side, folds, fold)


def _shares(val_share, test_share, folds, fold, test_given):
    """Which share of the patients that are free to go anywhere each side gets: dict side -> share,
    adding up to 1.
    """
    if min(val_share, test_share) < 0 or (0 if folds else val_share) + test_share >= 1:
        raise ValueError(f"val_share {val_share} and test_share {test_share}: shares from 0, and "
                         "something is left to train on")
    if folds and (folds < 2 or not 0 <= fold < folds):
        raise ValueError(f"fold {fold} of {folds}: folds is 0 or from 2, and fold counts from 0 to "
                         "folds − 1")
    test_share = 0.0 if test_given else test_share
    if folds:
        shares = {str(k): (1 - test_share) / folds for k in range(folds)}
    else:
        shares = {"train": 1 - val_share - test_share, "val": val_share}
    return {side: share for side, share in (shares | {"test": test_share}).items() if share > 0}


def _settled(table, before, test, train):
    """dict group -> side of the patients whose side isn't drawn.

    Scans of one patient that were on several sides come together where they taught most: train
    before val before test, because what a network has learnt from can't be tested on; of several
    folds the one with most of them.
    """
    side = {}
    for group, members in table.groupby("group").case:
        so_far = Counter(before[case] for case in members if case in before)
        order = {"train": 0, "test": 2}
        if test & set(members):
            side[group] = "test"
        elif so_far:
            side[group] = min(so_far, key=lambda p: (order.get(p, 1), -so_far[p], p))
        elif train & set(members):
            side[group] = "train"
    return side


def _wanted(groups_in, shares):
    """How many patients of each stratum each side gets: whole, within 1 of its share, and none
    empty where that can be.

    groups_in  Counter stratum -> patients.
    returns    Counter (stratum, side) -> patients.
    """
    wanted, exact, owed = Counter(), {}, dict.fromkeys(shares, 0.0)
    for s in range(4):
        exact |= {(s, p): share * groups_in[s] for p, share in shares.items()}
        wanted |= Counter({(s, p): int(exact[s, p] + 1e-9) for p in shares})
        rest = {p: exact[s, p] - wanted[s, p] for p in shares if exact[s, p] - wanted[s, p] > 1e-9}
        spare = groups_in[s] - sum(wanted[s, p] for p in shares)
        for p in sorted(rest, key=lambda p: -round(rest[p] + owed[p], 9))[:spare]:
            wanted[s, p] += 1
        # what rounding took comes back in the next stratum
        owed = {p: owed[p] + exact[s, p] - wanted[s, p] for p in shares}
    for empty in shares:
        total = {p: sum(wanted[s, p] for s in range(4)) for p in shares}
        givers = [(s, p) for s in range(4) for p in shares if total[p] > 1 and wanted[s, p]]
        if not total[empty] and givers:
            s, p = max(givers, key=lambda at: round(wanted[at] - exact[at], 9))
            wanted[s, p] -= 1
            wanted[s, empty] += 1
    return wanted


def _as_table(table, side, folds, fold):
    sides = table.group.map(side)
    in_fold = sides.where(~sides.isin(SPLITS), "")
    if folds:
        sides = sides.where(sides.isin(SPLITS),
                            (sides == str(fold)).map({True: "val", False: "train"}))
    return table.assign(split=sides, fold=in_fold)[["case", "group", "split", "fold"]]


def read_before(folder, made_with):
    """Where the cases of a run have been so far, as `split.csv` says, unless it was made with other
    settings.

    folder     of the run's lists; a split.csv put there by hand counts too.
    made_with  dict of the settings that decide about sides, as `write` got them.
    returns    (dict case -> side for `split`, sentences).
    Raises ValueError when split.csv can't be understood.
    """
    file, memory = folder / "split.csv", folder / "split.json"
    if not file.is_file():
        return {}, ["There is no split yet: it is drawn."]
    old = files.read_json(memory) if memory.is_file() else {"made_with": None, "absent": {}}
    table = read_cases(file, ("case", "split"))
    if old["made_with"] is None and made_with["folds"]:
        return {}, ["The split so far knows no folds: a new one is drawn."]
    if (old["made_with"] is not None
        and (reasons := origins.differences(old["made_with"], made_with))):
        return {}, [f"A new split is drawn, and cases change sides: {', '.join(reasons)}."]
    if wrong := sorted(set(table.split) - set(SPLITS)):
        raise ValueError(f"{file}: the sides are train, val and test, not {wrong[0]!r}; mend it, "
                         "or delete it")
    if table.case.duplicated().any():
        twice = table.case[table.case.duplicated()].iloc[0]
        raise ValueError(f"{file}: lists {twice} twice; mend it, or delete it")
    in_fold = (table.fold if "fold" in table and made_with["folds"]
               else table.split.map(dict.fromkeys(SPLITS, "")))
    sides = in_fold.where(in_fold != "", table.split)
    sentence = "The split so far is kept; new patients join it. Delete split.csv to draw another."
    return old["absent"] | dict(zip(table.case, sides, strict=True)), [sentence]


def sides_of(table):
    """dict case -> side of a split as `split` gives it, the number of its fold for a case in one:
    what `before` is.
    """
    return dict(zip(table.case, table.fold.where(table.fold != "", table.split), strict=True))


def remarks(table, before):
    """How a split differs from where its cases were before: a sentence each, empty when it
    doesn't.
    """
    now, sentences = sides_of(table), []
    if not before:
        return sentences
    for group, members in table.groupby("group").case:
        for case in (case for case in members if before.get(case, now[case]) != now[case]):
            with_it = [other for other in members if before.get(other) == now[case]]
            why = (f"because it is the same patient as {', '.join(with_it)}" if with_it
                   else "because the given test set says so")
            from_to = f"from {_in_words(before[case])} to {_in_words(now[case])}"
            sentences.append(f"{case} moves {from_to}, {why} (patient {group}).")
    for what, names in (
        ("new since the last split", [case for case in now if case not in before]),
        ("no longer there; a case that comes back gets its old side",
         [case for case in before if case not in now]),
    ):
        if names:
            sentences.append(f"{len(names)} of the cases are {what}: "
                             f"{', '.join(names[:8])}{' …' if len(names) > 8 else ''}.")
    return sentences


def _in_words(side):
    return side if side in SPLITS else f"fold {side}"


def write(folder, table, made_with, before):
    """Write split.csv and, beside it, split.json: the settings it was made with, and the sides of
    cases that have left.
    """
    files.write_csv(folder / "split.csv", table)
    absent = {case: side for case, side in before.items() if case not in set(table.case)}
    files.write_json(folder / "split.json", {"made_with": made_with, "absent": absent})
