"""Which scans belong together: those of one patient, those of one hospital, those of a given test
set.
"""

import io
import re
from pathlib import Path

import pandas as pd

from helpers.scans import names

LITS_NAME = re.compile(r"(?:volume-|liver_)(\d+)")
# about 20 LiTS scans between these come from the public set 3D-IRCADb; which ones is disputed
IRCADB = range(28, 49)


def patient_groups(cases, groups_csv="", pattern="", duplicate_pairs=None):
    """Which patient each case belongs to: by all sources; what any of them joins stays together.

    cases            names.
    groups_csv       a file with columns case and group; it wins over the pattern for the cases that
                     it names.
    pattern          a regular expression whose first group in the case's name is the patient.
    duplicate_pairs  those of `same_patient`: both of a pair are one patient.
    returns          dict case -> group; a case that no source names is a patient of its own.
    Raises ValueError when the file lacks a column, says two things of one case or means cases by
    other names than theirs, or the pattern has no group.
    """
    named = _named(groups_csv) if groups_csv else {}
    absent = checked_names(groups_csv, named, cases)
    if absent and len(absent) == len(named):
        raise ValueError(f"{groups_csv}: none of its {len(named)} names is a case, {absent[0]!r} "
                         f"for one; a case here is {next(iter(cases), None)!r}")
    if absent:
        print(f"{groups_csv}: {len(absent)} of its cases aren't there: {', '.join(absent[:8])}")
    compiled = re.compile(pattern) if pattern else None
    if compiled and compiled.groups < 1:
        raise ValueError(f"group_pattern {pattern!r}: needs a group in parentheses that catches "
                         "the patient")
    groups = {}
    for case in cases:
        match = compiled.search(case) if compiled else None
        groups[case] = named.get(case) or (match[1] if match and match[1] else case)
    joined = {group: group for group in groups.values()}  # the name of all that are one patient
    for pair in [] if duplicate_pairs is None else duplicate_pairs.itertuples():
        if pair.case in groups and pair.other in groups:
            a, b = sorted(joined[groups[case]] for case in (pair.case, pair.other))
            joined = {group: a if name == b else name for group, name in joined.items()}
    return {case: joined[group] for case, group in groups.items()}


def same_patient(pairs, groups_csv=""):
    """The `duplicates.duplicate_pairs` that are one patient: not near-duplicates to which
    groups_csv gives two groups.
    """
    named = _named(groups_csv) if groups_csv else {}
    a, b = pairs.case.map(named), pairs.other.map(named)
    return pairs[~((pairs.kind == "near-duplicate") & a.notna() & b.notna() & (a != b))]


def _named(groups_csv):
    """dict case -> group of a file; rows without a group say nothing."""
    table = read_cases(groups_csv, ("case", "group"))
    twice = table.case[table.duplicated("case", keep=False)
                       & ~table.duplicated(["case", "group"], keep=False)]
    if len(twice):
        raise ValueError(f"{groups_csv}: puts {twice.iloc[0]} into two groups; leave one")
    return {case: group for case, group in zip(table.case, table.group, strict=True) if group}


def read_cases(path, columns=("case",)):
    """A CSV that names cases, all as text without blanks around; raises ValueError when it lacks a
    column.
    """
    text = _decoded(Path(path).read_bytes())
    header = text.partition("\n")[0]
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False,
                            sep=max(",;\t", key=header.count), skipinitialspace=True)
    except ValueError as error:  # pandas' own errors are some
        raise ValueError(f"{path}: can't be read as a table ({error})") from error
    table.columns = table.columns.str.strip()
    if not set(columns) <= set(table.columns):
        raise ValueError(f"{path}: needs the columns {' and '.join(columns)}, has "
                         f"{list(table.columns)}")
    return table.apply(lambda column: column.str.strip())


def _decoded(data):
    """The text of a file as spreadsheets and editors save it: UTF-8, UTF-16, or Windows' cp1252."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def checked_names(path, named, cases):
    """The names in a list that no case has, sorted.

    Raises ValueError where one of them is likely to mean a case that the list doesn't name: the
    same words and numbers written otherwise (7 for 007, volume-3.nii.gz), or a slip in its letters.
    """
    cases = set(cases)
    absent = sorted(set(named) - cases)
    free = sorted(cases - set(named))
    meant = {name: case for name in absent if (case := names.likeliest(name, free))}
    if meant:
        shown = ", ".join(f"{name!r} (perhaps {case!r})" for name, case in list(meant.items())[:8])
        shown += " …" if len(meant) > 8 else ""
        raise ValueError(f"{path}: {len(absent)} of its {len(set(named))} names fit no case: "
                         f"{shown}; write them as cases.csv does; a "
                         "spreadsheet keeps leading zeros in columns of the type text only")
    return absent


def ircadb_block(cases):
    """The cases that LiTS took over from 3D-IRCADb, when the data set looks like LiTS; else an
    empty list.

    They are scans of one hospital, so they belong on one side of any split. Names alone could be
    chance: of the scans that carry a spacing, half or more must have the 1 × 1 × 1 mm that these
    have in LiTS.

    cases   DataFrame with the columns case, layout and spacing_z_mm, spacing_y_mm, spacing_x_mm.
    """
    number = cases.case.map(lambda case: int(m[1]) if (m := LITS_NAME.fullmatch(case)) else -1)
    block = cases[number.isin(IRCADB)]
    carried = block[block.layout != "2-D slices"].filter(like="spacing_")
    if len(block) < 2 or (len(carried) and (carried == 1).all(axis=1).mean() < 0.5):
        return []
    return block.case.tolist()


def read_test(test_csv, cases):
    """The cases that a given test set names, sorted; prints those that aren't among `cases` now.

    Raises ValueError where some are likely to mean cases by other names than theirs.
    """
    named = sorted(set(read_cases(test_csv).case))
    if unknown := checked_names(test_csv, named, cases):
        print(f"{test_csv}: {len(unknown)} of its cases aren't there, or can't be learnt from: "
              f"{', '.join(unknown[:8])}")
    return named
