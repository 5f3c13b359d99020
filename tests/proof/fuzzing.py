"""Ten thousand random changes of headers and tags, into a section of reports/proof.md."""

import sys
import tempfile
import time
from pathlib import Path

import sections

sys.path.insert(0, str(Path(__file__).parents[1]))
from header_fuzz import LIMIT_S, fuzz  # noqa: E402 (tests/ holds what the tests share with the proof)

COUNT, SEED = 10_000, 20


def main():
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        verdicts, faults = fuzz(COUNT, SEED, Path(folder))
    columns = [verdict for verdict in ("ok", "repaired", "quarantined", "left out", "hangs", "raises")
               if any(verdicts[kind, verdict] for kind in ("NIfTI", "DICOM"))]
    rows = [[kind, *(f"{verdicts[kind, verdict]:,}" for verdict in columns)] for kind in ("NIfTI", "DICOM")]
    text = f"""
{COUNT:,} scans of seed {SEED}, half of them NIfTI with a mask, half DICOM series of six slices; one to three bytes of a
header were changed, or tags left out, exchanged for other values or types, cut, in one slice, some or all. Each was judged as 01
judges it. Looked for: an error that is handed on, more than {LIMIT_S} s, a file that is neither in a case nor named, other voxels or
another grid than nibabel or pydicom read without a word about it, a mask that doesn't lie on its scan's grid.

{sections.table(["", *columns], rows)}

**Found: {len(faults) or "none"}.** {"; ".join(faults[:10])}

{sections.stamp((time.monotonic() - began) / 60)}
"""
    sections.write("fuzzing", "Random changes of headers and tags", text)
    print(text)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
