"""What the labels of a mask mean, as the dataset.json of MSD and nnU-Net says."""

import re
from collections import defaultdict
from dataclasses import replace

from helpers import files

# in the name of a label; words such as "class" say nothing against it
LIVER = re.compile("liver|hepar|leber|foie|organ|label|class|foreground", re.IGNORECASE)
TUMOUR = re.compile("tumou?r|cancer|lesion|metast|mets|hcc|label|class", re.IGNORECASE)


def with_meaning(case, root):
    """The Case, noting when dataset.json says that 1 isn't liver, or 2 isn't tumour."""
    if case.mask is None or not case.mask.is_relative_to(root):
        return case
    depth = len(case.mask.relative_to(root).parts)
    for above in case.mask.parents[:depth]:
        if meaning := _labels_of(above / "dataset.json"):
            wrong = [f"{value} is {meaning[value]!r}" for value, word in ((1, LIVER), (2, TUMOUR))
                     if value in meaning and not word.search(meaning[value])]
            note = ("labels-other", ", ".join(wrong))
            return replace(case, notes=(*case.notes, note)) if wrong else case
    return case


def _labels_of(file):
    """dict label -> its names, as a dataset.json of MSD or nnU-Net gives them; empty for none."""
    record = files.recorded(file).get("labels")
    meaning = defaultdict(list)
    for one, other in record.items() if isinstance(record, dict) else ():
        # {"1": "liver"} of MSD, {"liver": 1} and {"liver": [1, 2]} of nnU-Net
        name, values = (other, one) if str(one).isdecimal() else (one, other)
        for value in values if isinstance(values, list) else [values]:
            if str(value).isdecimal():
                meaning[int(value)].append(str(name))
    return {value: ", ".join(its_names) for value, its_names in meaning.items()}
