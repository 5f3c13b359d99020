"""Which scans the command line names: files, folders, series of a DICOM folder."""

import functools
import os
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.intake import case_records
from helpers.scans import names, reading, series
from helpers.scans.findings import FINDINGS
from helpers.scans.folder import Case, in_words, named_once, scan_folder


@dataclass(frozen=True)
class Item:
    """A scan to segment, and the file of its mask: what a row of cases.csv is to notebook 05.

    how   what else changes its voxels: window and channel of pictures.
    """

    scan: Case
    out: Path
    how: tuple = ()

    @property
    def case(self):
        return self.scan.name

    @property
    def image(self):
        return self.scan.image.absolute()

    @functools.cached_property
    def bytes(self):
        """What changes when its files do, or the way in which they are read."""
        how = list(self.how) if names.is_picture(self.image) else [self.scan.acquisition]
        return {"files": case_records.signatures(self.scan), "how": how}


def chosen_case(source, number=None, acquisition=""):
    """The Case to segment: the file itself, or series `number` (from 1) of a DICOM folder, and of
    that an acquisition. What a folder holds besides is printed.

    Raises ValueError when there is nothing to read, or when several series are there and none is
    chosen.
    """
    source = _readable(source)
    if not _is_folder(source):
        if number is not None:
            raise ValueError(f"{source}: is a file; --series chooses from a folder")
        case = reading.case_of(source)
        if acquisition and case.layout != "DICOM":
            raise ValueError(f"{source}: is no DICOM file; --acquisition chooses from a series")
        return replace(case, acquisition=acquisition)
    cases = [case for case in _cases_in(source) if case.layout == "DICOM"]
    if not cases:
        advice = "give one file, or all of them with -o FOLDER for the masks"
        raise ValueError(f"{source}: is a folder without a DICOM series; {advice}")
    if number is None and len(cases) > 1:
        listed = ""
        patients = [series.read_header(case.image).patient for case in cases]
        for n, case in enumerate(cases, start=1):
            whose = f"patient {patients[n - 1]}, " if len(set(patients)) > 1 else ""
            notes = "".join(f"; {FINDINGS[code][1]}: {detail}" for code, detail in case.notes)
            listed += f"\n  --series {n}  {case.name}  {whose}"
            listed += f"{series.description(case.image)}{notes}"
        raise ValueError(f"{source}: holds {len(cases)} series; choose one, or give -o FOLDER for "
                         f"a mask of each:{listed}")
    number = 1 if number is None else number
    if not 1 <= number <= len(cases):
        raise ValueError(f"--series {number}: {source} holds {len(cases)} series, counted from 1")
    return replace(cases[number - 1], acquisition=acquisition)


def all_cases(sources):
    """The cases of many files and folders, each once and with a name of its own.

    Of several files those that are named as masks are left out, and named.
    Raises ValueError for what isn't there or holds no scan.
    """
    cases, masks = {}, []
    for source in map(_readable, sources):
        if _is_folder(source):
            named = _cases_in(source)
        elif len(sources) > 1 and names.says_mask(names.stem(source)):
            masks.append(source)
            named = []
        else:
            named = [reading.case_of(source)]
        cases |= {series.scan_key(Path(os.path.realpath(case.image))): case for case in named}
    if masks:
        print(f"helpers.predict: left out: {in_words({'named as masks': masks})}", file=sys.stderr)
    if not cases:
        raise ValueError("there is no scan to segment")
    above = Path(os.path.commonpath([case.image.parent.absolute() for case in cases.values()]))
    absolute = [replace(case, image=case.image.absolute()) for case in cases.values()]
    return named_once(absolute, above)


def keep_names(cases, name_of):
    """The cases under the names that they had before, new ones under names that are free.

    name_of  dict of `series.scan_key` to name; new ones are added.
    """
    named, taken = [], set(name_of.values())
    for case in cases:
        key, name = series.scan_key(case.image.absolute()), case.name
        while key not in name_of and name in taken:
            name += "-again"
        named.append(replace(case, name=name_of.setdefault(key, name)))
        taken.add(name_of[key])
    return named


def _readable(source):
    """The file or folder; the folder where an index of DICOM files is given."""
    if source.name.upper() == "DICOMDIR" and source.is_file():
        return source.parent  # the index of what lies beside it
    if not os.path.lexists(source):
        raise ValueError(f"{source}: no such file")
    return source


def _is_folder(source):
    """False for files, for pipes and links that lead nowhere, and for a folder that is named like a
    scan: notebook 01's words refuse these.
    """
    return source.is_dir() and not source.name.lower().endswith(names.NIFTI)


def _cases_in(folder):
    """The cases of a folder; what is ignored is printed."""
    cases, ignored = scan_folder(folder)
    if ignored:
        print(f"helpers.predict: {folder}: ignored: {in_words(ignored)}", file=sys.stderr)
    patients = defaultdict(set)
    for case in (case for case in cases if case.layout == "DICOM"):
        patients[case.image.parent].add(series.read_header(case.image).patient)
    for parent in (parent for parent, several in patients.items() if len(several) > 1):
        print(f"helpers.predict: {parent}: its series are of {len(patients[parent])} patients; "
              "each is a scan of its own", file=sys.stderr)
    return cases
