"""What a scan alone tells, what a reader's error is, and the verdict with its sentence."""

import os

import numpy as np

from helpers.intake import checks
from helpers.scans import names, pictures
from helpers.scans.findings import FINDINGS, verdict_of
from helpers.scans.volume import body_width_mm, with_likely_spacing

# findings that say that grey values have another meaning
NOT_HU = {"constant", "not-hu", "not-rescaled"}


def scan_findings(case, volume):
    """What a scan alone tells: (findings, lowest HU, highest HU, every 8th voxel `counted`)."""
    low, high, counts = (int(volume.hu.min()), int(volume.hu.max()),
                         checks.counted(volume.hu[::2, ::2, ::2]))
    picture = names.is_picture(case.image)
    values = checks.intensities(volume, low, high, counts, pictures=picture)
    if not picture and not NOT_HU.intersection(code for code, _ in values):
        values = values + checks.axes_exchanged(volume, low)
    return [*case.notes, *volume.notes, *_grid(volume, case), *values], low, high, counts


def _grid(volume, case):
    findings = [("one-slice", "")] if len(volume.hu) == 1 else []
    if not names.is_picture(case.image):
        if not np.allclose(volume.spacing_mm, 1, atol=1e-6):
            return findings
        likely = with_likely_spacing(volume).spacing_mm
        text = f"the body would be {body_width_mm(volume.hu, volume.spacing_mm):.0f} mm wide"
        text += (", too wide: networks take {2} × {1} × {0} mm".format(*likely)
                 if likely != volume.spacing_mm else ", which can be")
        return [*findings, ("spacing-1-1-1", text)]
    of_stack = pictures.pictures_of(case.image) if len(volume.hu) > 1 else ()
    steps = np.diff([pictures.slice_number(path) for path in of_stack])
    if len(steps) and steps.max() > steps.min():
        gaps = f"{np.count_nonzero(steps > steps.min())} gaps"
        lone = "; most slices have no neighbour and stand for themselves"
        findings.append(("slices-missing", gaps + (lone if volume.is_scattered else "")))
    return [*findings, ("spacing-stand-in",
                        "{2} × {1} × {0} mm assumed".format(*volume.spacing_mm))]


def fault(error, case):
    """The finding, (code, text), that an error of a reader is."""
    if isinstance(error, MemoryError):
        return "killed", f"not enough memory: {error}"
    if not isinstance(error, (ValueError, OSError)):
        return "unreadable", _by_name(f"{type(error).__name__}: {error}", case)
    code = getattr(error, "code", "no-access" if isinstance(error, OSError) else "unreadable")
    # the column `to_do` says that
    return code, _by_name(str(error), case).removesuffix(f"; {FINDINGS[code][2]}")


def _by_name(text, case):
    """A message on one line with the files' names only: the table has their folders."""
    for path in filter(None, (case.image, case.mask)):
        text = text.replace(f"{path.parent}{os.sep}", "")
        text = text.replace(str(path.parent), path.parent.name)
    return " ".join(text.split())


def judged(row, findings):
    """The row, a dict, with its verdict, and in words why (`reason`) and what to do (`to_do`)."""
    codes = list(dict.fromkeys(code for code, _ in findings))
    reason = "; ".join(FINDINGS[code][1] + (f": {text}" if text else "") for code, text in findings)
    to_do = "; ".join(FINDINGS[code][2] for code in codes if FINDINGS[code][2])
    return row | {"verdict": verdict_of(codes), "findings": " ".join(codes), "reason": reason,
                  "to_do": to_do}


def with_findings(row, more):
    """A row of `judged` with findings added to those that it has."""
    added = judged(row, more)
    texts = {"findings": " ", "reason": "; ", "to_do": "; "}
    joined = {name: between.join(filter(None, (row[name], added[name])))
              for name, between in texts.items()}
    return row | joined | {"verdict": verdict_of(joined["findings"].split())}
