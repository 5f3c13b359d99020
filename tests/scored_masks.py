"""Six small cases whose scores are known, for tests of summary, sentences and report."""

import numpy as np

from helpers.scoring import case_scores


def labels(tumour=((2, 10, 14),), shape=(8, 24, 24)):
    """A liver with square lesions (slice, first, last)."""
    out = np.zeros(shape, np.uint8)
    out[1:7, 4:20, 4:20] = 1
    for z, first, last in tumour:
        out[z : z + 2, first:last, first:last] = 2
    return out


def tables():
    """A case each: exact, poor, missed, clean, false, and one that failed and has an awkward name."""
    pairs = {
        "good": (labels(), labels()),
        "poor": (labels(), labels(((2, 12, 16),))),
        "missed": (labels(), labels(())),
        "clean": (labels(()), labels(())),
        "false": (labels(()), labels(((4, 5, 8),))),
    }
    how = {"tolerances_mm": (2.0, 2.5)}
    scored = [
        case_scores.score(name, *pair, (2.0, 1.0, 1.0), **how)[0] for name, pair in pairs.items()
    ]
    failed = case_scores.score(
        "<b>failed</b>", labels(), None, (2.0, 1.0, 1.0), failed="there is no prediction", **how
    )
    return case_scores.tables([*scored, failed[0]])


def one_case():
    """The tables of one case without any lesion."""
    return case_scores.tables(
        [case_scores.score("only", labels(()), labels(()), (2.0, 1.0, 1.0))[0]]
    )
