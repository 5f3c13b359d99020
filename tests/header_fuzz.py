"""Random changes of NIfTI headers and DICOM tags: what the intake takes has the voxels and, if not noted, the grid that nibabel
and pydicom read, and its mask lies on it; what it refuses it names.
"""

import logging
import random
import re
import shutil
import signal
import struct
import sys
import tempfile
import warnings
from collections import Counter
from gzip import compress
from pathlib import Path
from unittest import mock

import nibabel as nib
import numpy as np
import pydicom
from dicom_files import write_series

from helpers.intake import quality_control
from helpers.scans import reading, volume
from helpers.scans.folder import Case, in_words, scan_folder

SHAPE = (24, 20, 6)
AFFINE = np.diag([-12.0, -12.0, 25.0, 1.0])
LIMIT_S = 10  # of the processor's time, for a case
# bytes that mean something: dim, datatype, pixdim, offset with slope and intercept, the forms
MEANT = [*range(40, 56), *range(70, 74), *range(76, 92), *range(108, 120), *range(252, 328)]
TEXTS = ("", " ", "0", "1", "-1", "2", "1,5", "1.5", "nan", "inf", "1e400", "1e-9", "65536", "-32769", "x", "\\", "1\\2", "0\\0\\0",
         "1\\0\\0\\0\\1\\0", "0\\1\\0\\1\\0\\0", "12.0\\12.0", "12\\6", "0\\0\\40", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70",
         "1.2.840.10008.5.1.4.1.1.7", "1.2.3", "CT", "HU", "LOCALIZER", "\xe4\xff", "9" * 70)  # fmt: skip
WORDS = (0, 1, 2, 7, 8, 12, 15, 16, 20, 24, 32, 255, 4095, 32768, 65535)
TYPES = (b"US", b"SS", b"UL", b"DS", b"IS", b"LO", b"UN", b"SQ", b"OB", b"OW", b"FD", b"AT", b"ZZ", b"\0\0")
LONG = {b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC"}  # types whose length has four bytes
PIXELS = 0x7FE00010


class Hangs(BaseException):
    """A case took more than LIMIT_S."""


def fuzz(count, seed, folder):
    """Examine `count` changed scans, NIfTI with a mask and DICOM in turn.

    returns  (Counter of (kind, verdict), a sentence for each that isn't as it should be).
    """
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    rng, verdicts, faults = random.Random(seed), Counter(), []
    hu, labels = drawn(np.random.default_rng(0))
    kinds = {"NIfTI": _nifti([_file(hu), _file(labels)]), "DICOM": _dicom(write_series(folder / "sound", hu, AFFINE, change=_as_scanners_write))}
    signal.signal(signal.SIGPROF, _hangs)
    for number in range(count):
        kind, at = list(kinds)[number % 2], folder / str(number)
        at.mkdir()
        kinds[kind](rng, at)
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                verdict, fault = _examined(at, kind)
        except Hangs:
            verdict, fault = "hangs", f"takes more than {LIMIT_S} s"
        except Exception as error:
            verdict, fault = "raises", f"{type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        verdicts[kind, verdict] += 1
        faults += [f"{kind} {number} of seed {seed}: {fault}"] if fault else []
        shutil.rmtree(at)
    return verdicts, faults


def _hangs(number, frame):
    raise Hangs


def drawn(rng):
    """A body with a liver and noise: (hu int16, labels uint8), file axes to the left, back and head."""
    i, j, k = np.indices(SHAPE)
    inside = ((i - 11.5) / 10) ** 2 + ((j - 9.5) / 8) ** 2 < 1
    labels = (((i - 7) / 4) ** 2 + ((j - 9) / 4) ** 2 + ((k - 3) / 2.5) ** 2 < 1).astype(np.uint8)
    labels[7:9, 9:11, 3] = 2
    hu = np.where(inside, rng.normal(20, 60, SHAPE), -1000)
    hu[labels > 0], hu[10:13, 15:17] = 110, 500
    return np.rint(hu + 5 * (labels == 0) * rng.normal(0, 1, SHAPE)).astype(np.int16), labels


def _file(array):
    header = nib.Nifti1Image(array, AFFINE).header
    header.set_qform(AFFINE, 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return header.binaryblock + bytes(4) + array.tobytes(order="F")


def _nifti(whole):
    """A function that writes a scan, compressed now and then, and its mask, with one to three bytes of one's header changed."""

    def write(rng, folder):
        scan, mask = map(bytearray, whole)
        changed = scan if rng.random() < 0.7 else mask
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.choice(MEANT) if rng.random() < 0.5 else rng.randrange(352)
            changed[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        if packed := rng.random() < 0.2:
            scan = bytearray(compress(scan, 1))
            if rng.random() < 0.3:
                scan[rng.randrange(len(scan))] ^= 1 << rng.randrange(8)
        (folder / f"volume-0.nii{'.gz' * packed}").write_bytes(scan)
        (folder / "segmentation-0.nii").write_bytes(mask)

    return write


def _as_scanners_write(ds, k):
    ds.AcquisitionNumber, ds.AcquisitionTime, ds.KVP, ds.ConvolutionKernel = 1, f"1015{k:02d}", 120, "B30f"
    ds.PatientID, ds.ContrastBolusAgent, ds.WindowCenter, ds.PixelPaddingValue = "p7", "none", [40, 400], -2000
    inner = pydicom.Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    ds.ReferencedImageSequence = [inner]
    ds.private_block(0x0019, "SCANNER", create=True).add_new(0x10, "LO", "a private word")


def _dicom(paths):
    """A function that writes a series of which one slice, some or all have changed tags, or one has changed bytes."""
    slices = [_elements(path.read_bytes()) for path in paths]

    def write(rng, folder):
        chosen = rng.choice(([rng.randrange(len(slices))], range(len(slices)), range(rng.randrange(1, len(slices)))))
        changes = [(rng.randrange(len(slices[0][1]) - 1), rng.randrange(6), rng.random()) for _ in range(rng.choice((1, 1, 2)))]
        for k, (start, elements) in enumerate(slices):
            elements = list(elements)
            if k in chosen:
                for which, how, number in changes:
                    elements[which] = elements[which] and _changed(*elements[which], how, number)
            data = bytearray(start + b"".join(_written(*element) for element in elements if element))
            if len(chosen) == 1 and k in chosen and rng.random() < 0.4:
                for _ in range(rng.randrange(1, 4)):
                    data[rng.randrange(128, len(data) - 2 * SHAPE[0] * SHAPE[1])] = rng.randrange(256)
                if rng.random() < 0.1:
                    del data[rng.randrange(len(data)) :]
            (folder / f"{k}.dcm").write_bytes(data)

    return write


def _elements(data):
    """(the bytes before a data set, its elements (tag, type, value) in order) of an explicit little endian file."""
    group_length = struct.unpack("<I", data[140:144])[0]
    at, elements = 144 + group_length, []
    start = data[:at]
    while at < len(data):
        group, element, kind = struct.unpack("<HH2s", data[at : at + 6])
        long = kind in LONG
        size = struct.unpack("<I", data[at + 8 : at + 12])[0] if long else struct.unpack("<H", data[at + 6 : at + 8])[0]
        at += 12 if long else 8
        elements.append((group << 16 | element, kind, data[at : at + size]))
        at += size
    assert elements[-1][0] == PIXELS
    return start, elements


def _changed(tag, kind, value, how, number):
    """An element with another value or type, or None: it is left out."""
    text = TEXTS[int(number * len(TEXTS))].encode("latin-1")
    if how == 0:
        return None
    if how == 1:
        return tag, TYPES[int(number * len(TYPES))], value
    if how == 2:
        return tag, kind, value + text
    if how == 3:
        return tag, kind, value[: int(number * (len(value) + 1))]
    if kind == b"US":
        return tag, kind, struct.pack("<H", WORDS[int(number * len(WORDS))])
    return tag, kind, text + b" " * (len(text) % 2)


def _written(tag, kind, value):
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind
    return head + (struct.pack("<HI", 0, len(value)) if kind in LONG else struct.pack("<H", len(value) & 0xFFFF)) + value


def _examined(folder, kind):
    """(the worst verdict, what isn't as it should be or "") of a folder."""
    if kind == "NIfTI":
        cases = [Case("volume-0", "LiTS pairs", next(folder.glob("v*")), folder / "segmentation-0.nii")]
    else:
        try:
            cases, ignored = scan_folder(folder)
        except ValueError as error:  # nothing that is a scan
            return "left out", "" if "no scans found" in str(error) and ".dcm" in str(error) else str(error)
        files = [file for case in cases for file in reading.files_of(case.image)] + [file for some in ignored.values() for file in some]
        if sorted(files) != sorted(folder.iterdir()):
            return "left out", f"files are in no case and unnamed, or in two: {in_words(ignored)}"
    verdicts = set()
    for case in cases:
        with mock.patch.object(quality_control, "scan_findings", wraps=quality_control.scan_findings) as seen:
            row, *_ = quality_control.examine(case)
        verdicts.add(row["verdict"])
        if fault := _fault(row, case, kind, *(call.args[1] for call in seen.call_args_list)):
            return row["verdict"], f"{fault}; {row['findings']}: {row['reason']}"
    return max(verdicts, key=("ok", "repaired", "quarantined").index), ""


def _fault(row, case, kind, scan=None):
    if re.search(r"\b[A-Z]\w*(Error|Exception|Interrupt)\b", row["reason"]) or kind == "NIfTI" and "unreadable" in row["findings"].split():
        return "what a reader raises is handed on"
    if row["verdict"] == "quarantined":
        return ""
    mask = case.image.parent / "mask.nii"
    volume.write_mask(scan.hu > 50, scan, mask)
    written = nib.load(mask)
    voxels = volume.to_file_axes(scan.hu, scan.affine)
    if written.shape != voxels.shape or not np.array_equal(np.asarray(written.dataobj), voxels > 50):
        return "its mask lies on another grid"
    if not np.allclose(written.affine, scan.affine, rtol=1e-5, atol=1e-3):
        return "its mask has another affine"
    return (_unlike_nibabel if kind == "NIfTI" else _unlike_pydicom)(row, case, scan, voxels)


def _unlike_nibabel(row, case, scan, voxels):
    noted = {"header-mended", "forms-differ"} & set(row["findings"].split())
    try:
        theirs = nib.load(case.image)
        values = np.asarray(theirs.dataobj).reshape(voxels.shape)
    except Exception as error:
        return "" if noted else f"nibabel refuses it: {error}"
    if not np.allclose(np.clip(values, *volume.HU_RANGE), voxels, rtol=1e-4, atol=0.51):
        return "other voxels"
    return "" if noted or np.allclose(theirs.affine, scan.affine, atol=1e-3) else "another grid"


def _unlike_pydicom(row, case, scan, voxels):
    """What is taken without a note has the values and the heights that pydicom gives its files."""
    if row["verdict"] != "ok":
        return ""
    planes = []
    for file in reading.files_of(case.image):
        ds = pydicom.dcmread(file, force=True)
        if "TransferSyntaxUID" not in ds.file_meta:
            ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        slope, intercept = (float(ds.get(name) or default) for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
        normal = np.cross(*np.reshape(np.float64(ds.ImageOrientationPatient), (2, 3)))
        height = float(normal @ np.float64(ds.ImagePositionPatient))
        planes.append((height, (ds.pixel_array * slope + intercept).T))
    planes.sort(key=lambda plane: plane[0])
    if len(planes) != voxels.shape[2]:
        return f"{len(planes)} files, {voxels.shape[2]} slices"
    values = np.stack([plane for _, plane in planes], axis=2)
    if values.shape != voxels.shape or not np.allclose(np.clip(values, *volume.HU_RANGE), voxels, atol=0.51):
        return "other voxels"
    steps = np.diff([height for height, _ in planes])
    away = abs(np.linalg.norm(scan.affine[:3, 2]) - steps.mean()) if len(steps) else 0
    return f"slices are {steps.mean():g} mm apart" if away > 0.1 else ""


if __name__ == "__main__":  # python tests/header_fuzz.py COUNT [SEED]
    with tempfile.TemporaryDirectory() as place:
        print(*fuzz(int(sys.argv[1]), int((*sys.argv, 0)[2]), Path(place)), sep="\n")
