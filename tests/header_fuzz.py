"""Random changes of NIfTI headers: what the intake takes has the voxels and, if not noted, the grid that nibabel reads."""

import random
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
from corpus import AFFINE, body

from helpers.intake import quality_control
from helpers.scans import nifti
from helpers.scans.folder import Case

# bytes that mean something: dim, datatype, pixdim, offset with slope and intercept, the forms
MEANT = [*range(40, 56), *range(70, 74), *range(76, 92), *range(108, 120), *range(252, 328)]


def fuzz(count, seed, folder):
    """Examine `count` changed pairs of a scan and its mask.

    returns  (Counter of verdicts, a sentence for each case that was taken otherwise than nibabel reads it, or raised).
    """
    rng, verdicts, faults = random.Random(seed), Counter(), []
    whole = [_file(array[::2, ::2]) for array in body(3)]
    case = Case("volume-0", "LiTS pairs", folder / "volume-0.nii", folder / "segmentation-0.nii")
    for number in range(count):
        scan, mask = map(bytearray, whole)
        changed = scan if rng.random() < 0.7 else mask
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.choice(MEANT) if rng.random() < 0.5 else rng.randrange(352)
            changed[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        case.image.write_bytes(scan)
        case.mask.write_bytes(mask)
        row, *_ = quality_control.examine(case)
        verdicts[row["verdict"]] += 1
        if fault := _fault(row, case.image):
            faults.append(f"{number} of seed {seed}: {fault}; {row['findings']}")
    return verdicts, faults


def _file(array):
    header = nib.Nifti1Image(array, AFFINE).header
    header.set_qform(AFFINE, 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return header.binaryblock + bytes(4) + array.tobytes(order="F")


def _fault(row, scan):
    if "unreadable" in row["findings"].split():
        return row["reason"]
    if row["verdict"] == "quarantined":
        return ""
    noted = {"header-mended", "forms-differ"} & set(row["findings"].split())
    array, affine, _ = nifti.load(scan)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            theirs = nib.load(scan)
            voxels = np.asarray(theirs.dataobj).reshape(array.shape)
        except Exception as error:
            return "" if noted else f"nibabel refuses it: {error}"
        if not np.allclose(voxels, array, rtol=1e-4, atol=1e-2):
            return "other voxels"
        return "" if noted or np.allclose(theirs.affine, affine, atol=1e-3) else "another grid"


if __name__ == "__main__":  # python tests/header_fuzz.py COUNT [SEED]
    with tempfile.TemporaryDirectory() as folder:
        print(*fuzz(int(sys.argv[1]), int((*sys.argv, 0)[2]), Path(folder)), sep="\n")
