"""What a folder of scans holds: which files are scans, and which masks belong to them."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.files import as_text, not_text
from helpers.scans import kinds, label_meaning, names, organs, pictures, series

MOST_NAMES = 10  # of files that a line holds
OF_SEVERAL = "masks of a folder with several series: name them like one of those"


@dataclass(frozen=True)
class Case:
    """One scan on disk.

    image   a NIfTI file, the first picture of a stack, or the first file of a DICOM series: enough
            to read all of it again.
    mask    a NIfTI file, the first picture of a stack of masks, or None.
    notes   findings that only a look at the whole folder gives: pairs (code, text) as in
            findings.FINDINGS.
    acquisition  name of the one that is read where a DICOM series holds several.
    """

    name: str
    layout: str
    image: Path
    mask: Path | None
    notes: tuple = ()
    acquisition: str = ""


def with_acquisitions(cases, chosen):
    """The cases, of DICOM series that hold several acquisitions with the chosen one.

    chosen   dict case -> name of the acquisition, a text or a number.
    Raises ValueError for a case that isn't there, or isn't DICOM.
    """
    series_names = {case.name for case in cases if case.layout == "DICOM"}
    if strange := sorted(set(chosen) - series_names):
        raise ValueError(f"acquisitions: there is no DICOM case {', '.join(strange)}")
    return [replace(case, acquisition=str(chosen.get(case.name, ""))) for case in cases]


def cases_in(folder):
    """The cases below a folder in natural order: `scan_folder` without what it ignores."""
    return scan_folder(folder)[0]


def scan_folder(folder):
    """Recognise the cases below a folder, and say what isn't one.

    Layouts: "LiTS pairs" (volume-N, segmentation-N, in one folder or several), "MSD" (imagesTr,
    labelsTr), "pairs by name" (images/a.nii with masks/a.nii, a_ct.nii with a_seg.nii), "DICOM",
    "2-D slices" (images/volume-V_slice_Z.jpg with masks/ of the same names), "scans without
    labels".

    returns   (list of Case, dict: why files are ignored -> those files).
    Raises FileNotFoundError for a missing folder, ValueError for one without any scan.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give the folder that holds the scans")
    if not_text(folder.absolute()):
        raise ValueError(f"{as_text(folder.absolute())}: its name is no UTF-8; rename it")
    of_kind, ignored = kinds.files_by_kind(folder)
    all_series, others = series.find(of_kind["DICOM"])
    masks = [s for s in all_series if names.holds_mask(s.files[0], folder)]
    # nothing but a folder called "labels", say: they are the scans
    masks = masks if len(masks) < len(all_series) else []
    others["masks as DICOM, which aren't read"] = [f for s in masks for f in s.files]
    ignored |= {why: [*ignored.get(why, ()), *files] for why, files in others.items()}
    stacks, spare = pictures.find(of_kind["picture"], folder)
    cases, lonely = _volumes(of_kind["NIfTI"], [s for s in all_series if s not in masks], folder)
    cases += [Case(volume, "2-D slices", first, mask) for volume, first, mask in stacks]
    ignored |= {"pictures that aren't slices of a scan": spare,
                **lonely, kinds.OTHER: ignored.pop(kinds.OTHER, [])}
    ignored = {why: files for why, files in ignored.items() if files}
    if not cases:
        raise ValueError(
            f"{folder}: no scans found; expected volume-N.nii(.gz), imagesTr/*.nii.gz, "
            "images/volume-V_slice_Z.jpg, DICOM series or any other .nii(.gz) below it (there is "
            f"{in_words(ignored) or 'no file that could be one'})")
    cases = [label_meaning.with_meaning(case, folder) for case in named_once(cases, folder)]
    return cases, ignored


def in_words(ignored):
    """What `scan_folder` ignores, in one line: "2 × pictures that … (a.png, b.png)"."""

    def named(files):
        if len(files) > MOST_NAMES:
            return f"{files[0].name} … {files[-1].name}"
        return ", ".join(file.name for file in files)

    return "; ".join(f"{len(files)} × {why} ({named(files)})" for why, files in ignored.items())


def _volumes(nifti, all_series, root):
    """(cases of NIfTI files and DICOM series, dict: why masks belong to none of them -> those)."""
    says = {path: names.holds_mask(path, root) for path in nifti}
    # nothing but files in a folder called "labels", say: they are the scans
    if all(says.values()) and not all_series:
        says = {path: names.says_mask(names.stem(path)) for path in nifti}
    named, undecided = _named_series(all_series, root)
    scans, masks, partner = _matched(says, named, root)
    used = set(partner.values())
    if strays := [m for m in masks if m not in used and not names.says_mask(names.stem(m))
                  and names.says_scan(names.stem(m))]:
        # no_mask/volume-3.nii is a scan
        scans, masks, partner = _matched(says | dict.fromkeys(strays, False), named, root)
    parts = organs.parts_of(nifti)
    partner |= (of_organs := organs.match(nifti, parts, named, partner, root))
    joined = {file for mask in of_organs.values() for file in parts[mask]}
    cases = [Case(_name(path), _layout(path, partner.get(path)), path, partner.get(path))
             for path in scans if path not in joined]
    for s, (name, _) in named.items():
        more = ", ".join(f"more slices in {path.relative_to(root)}" for path in s.elsewhere[:3])
        cases.append(Case(name, "DICOM", s.files[0], partner.get(s.files[0]),
                          (("series-split", more),) if more else ()))
    lonely = defaultdict(list)
    used = {file for mask in partner.values() for file in parts.get(mask, [mask])}
    # its scan is missing: a case that says so
    for mask in (mask for mask in masks if mask not in used):
        image = _image_of(mask)
        if undecided & names.keys(mask, root):
            lonely[OF_SEVERAL].append(mask)
        elif image is None:
            lonely["masks whose scan is missing"].append(mask)
        else:
            cases.append(Case(_name(image), _layout(image, mask), image, mask))
    return sorted(cases, key=lambda case: names.natural(Path(case.name))), lonely


def _matched(says, named, root):
    """(scans, masks, dict scan -> its mask), from whether each NIfTI file says mask."""
    scans, masks = ([path for path, yes in says.items() if yes == kind] for kind in (False, True))
    keyed = {path: names.keys(path, root) for path in scans}
    keyed |= {s.files[0]: keys for s, (_, keys) in named.items()}
    return scans, masks, names.match(keyed, {path: names.keys(path, root) for path in masks})


def _name(path):
    name = names.stem(path)
    return name.removesuffix("_0000") if path.parent.name.startswith("images") else name


def _layout(path, mask):
    if path.parent.name in ("imagesTr", "imagesTs"):
        return "MSD"
    if mask is None:
        return "scans without labels"
    return "LiTS pairs" if names.stem(mask).lower().startswith("segmentation-") else "pairs by name"


def _image_of(mask):
    """Where the scan of a mask would lie in LiTS and MSD; None in other layouts."""
    if mask.parent.name == "labelsTr":
        return mask.parent.parent / "imagesTr" / mask.name
    if names.stem(mask).startswith("segmentation-"):
        return mask.with_name(mask.name.replace("segmentation-", "volume-", 1))
    return None


def _named_series(all_series, root):
    """(dict Series -> its name and the keys of its mask, keys of masks that may be of several).

    The name is its folder's, and where that holds several, the number of the series or the end of
    its UID follows. A mask lies beside the folder or in it: a/p7/*.dcm with
    a/segmentation-p7.nii.gz, a/p7_mask.nii.gz or a/p7/mask.nii.gz; of several series that of most
    axial slices has it.
    """
    per_folder = defaultdict(list)
    for s in all_series:
        per_folder[s.folder].append(s)
    named, undecided = {}, set()
    for folder, together in per_folder.items():
        parts, home = (folder.relative_to(root).parts,
                       (folder if folder != root else root.resolve()).name)
        of_folder = {names.place(*parts), names.place(*parts[:-1], home)}
        if len(together) == 1:
            named[together[0]] = home, of_folder
            continue
        numbers = Counter(s.header.number for s in together)
        sizes = sorted((s.header.plane == "axial", len(s.files)) for s in together)
        for s in together:
            alone = s.header.number and numbers[s.header.number] == 1
            name = f"{home}-{s.header.number if alone else f'{s.header.uid[-6:]}-{s.header.plane}'}"
            keys = {names.place(*parts, name), names.place(*parts[:-1], name)}
            largest = (s.header.plane == "axial", len(s.files)) == sizes[-1] > sizes[-2]
            named[s] = name, keys | of_folder if largest else keys
        undecided |= of_folder if sizes[-1] == sizes[-2] else set()
    return named, undecided


def named_once(cases, folder):
    """Names of letters, digits, '.', '_' and '-', each once: two alike get their folders in front.

    "volume-3" and "3" are alike: their masks would be written to one file.
    """

    def plain(text):
        return names.shortened(re.sub(r"[^\w.-]+", "_", text))

    def key(name):
        # macOS and Windows take "Scan" and "scan" for one
        return name.casefold().removeprefix("volume-")

    named = {}
    short = [plain(case.name) for case in cases]
    often = Counter(map(key, short))
    for case, name in zip(cases, short, strict=True):
        if often[key(name)] > 1:
            above = (case.image.parent.parent if case.layout == "DICOM"
                     and case.image.parent != folder else case.image.parent)
            name = plain("-".join((*above.relative_to(folder).parts, name)))
        if key(name) in named:  # one folder, two endings
            ending = case.image.name.removeprefix(names.stem(case.image)).strip(".")
            name = plain(f"{name}-{ending}")
        while key(name) in named:
            name += "-again"
        named[key(name)] = replace(case, name=name)
    return list(named.values())
