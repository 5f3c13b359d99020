"""Masks of one organ each, as liver.nii.gz and liver_tumor.nii.gz: whose, and which together."""

import re
from collections import defaultdict

from helpers.scans import names

# one word of a mask that holds one organ: "liver", "tumor", "livertumor01"
LIVER = re.compile(r"(liver|hepar)(mask)?")
TUMOUR = re.compile(r"(liver)?(tumou?rs?|lesions?|metastas[ei]s|mets)(mask)?\d*")


def organ_of(text):
    """ "liver" or "tumour" for the name of a mask that holds only that; "" for other names."""
    its_words = names.words(text)
    return ("tumour" if any(map(TUMOUR.fullmatch, its_words))
            else "liver" if any(map(LIVER.fullmatch, its_words)) else "")


def without_organ(text):
    """What is left of a name without the words for organ, scan and mask."""
    return names.place("-".join(word for word in names.words(text)
                          if not (LIVER.fullmatch(word) or TUMOUR.fullmatch(word))))


def masks_of(mask, beside=None):
    """The masks beside a NIfTI mask that hold an organ each and belong to it, the liver's first;
    itself alone where it isn't one of several.

    beside   the files to look among; None for all of its folder.
    """
    if not organ_of(names.stem(mask)):
        return [mask]
    rest = without_organ(names.stem(mask))
    beside = [path for path in beside or mask.parent.iterdir()
              if path.name.lower().endswith(names.NIFTI)
              and organ_of(names.stem(path)) and without_organ(names.stem(path)) == rest]
    beside.sort(key=lambda path: (organ_of(names.stem(path)), names.natural(path)))
    both = {organ_of(names.stem(path)) for path in beside} == {"liver", "tumour"}
    return beside if both else [mask]


def parts_of(nifti):
    """dict file whose name says an organ -> the masks that it is one of (`masks_of`)."""
    beside = defaultdict(list)
    for path in nifti:
        if organ_of(names.stem(path)):
            beside[path.parent, without_organ(names.stem(path))].append(path)
    return {path: masks_of(path, group) for group in beside.values() for path in group}


def match(nifti, parts, named, partner, root):
    """Masks that hold one organ each: dict scan -> the first of its masks.

    The scan has the same name but for the organ, or is the only one in the folder above:
    p7/ct.nii.gz with p7/segmentations/liver.nii.gz and liver_tumor.nii.gz. A liver alone counts in
    a folder that says mask: elsewhere "liver" is but a name.
    nifti    all files; parts as `parts_of` gives them; named: dict Series -> its name and keys.
    partner  dict scan -> mask of those that are matched already.
    """
    taken = {*partner, *partner.values()}
    free = {path: path.parent for path in nifti if path not in taken
            and not organ_of(names.stem(path)) and not names.holds_mask(path, root)}
    free |= {s.files[0]: s.folder for s in named if s.files[0] not in taken}
    keys_of = {s.files[0]: keys for s, (_, keys) in named.items()}
    of_place, of_folder = defaultdict(list), defaultdict(list)
    for scan, folder in free.items():
        for key in keys_of.get(scan) or names.keys(scan, root):
            of_place[key].append(scan)
        of_folder[folder].append(scan)
    joined = {}
    for path, together in parts.items():
        alone = len(together) == 1
        if path != together[0] or path in taken or alone and not names.holds_mask(path, root):
            continue
        rest = without_organ(names.stem(path))
        scans = of_place[names.place(*path.relative_to(root).parts[:-1], *rest)]
        if not scans and not rest:
            scans = of_folder[path.parent.parent]
        if len(scans) == 1 and scans[0] not in joined:
            joined[scans[0]] = path
    return joined
