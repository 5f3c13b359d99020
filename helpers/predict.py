"""Segment one scan: python -m helpers.predict INPUT. The mask lies on the scan's own grid."""

import argparse
import os
import sys
from pathlib import Path

from helpers import files, runs
from helpers.intake import checks, quality_control
from helpers.parameters import of_type, unknown, values_given
from helpers.scans import names, pictures, reading, series
from helpers.scans.findings import FINDINGS, Unfit, advised
from helpers.scans.folder import cases_in
from helpers.scans.volume import is_own_mask, write_mask

DONE, FAILED, USAGE = 0, 1, 2
SHIPPED = "lits18"  # trained on 18 LiTS scans of 14 patients; its cards say how, and what it can't do
EXPLAINED = """
INPUT is a NIfTI file, a folder with a DICOM series (or one of its files), or one 2-D picture (JPEG or PNG) whose grey values
are an intensity window.
exit codes: 0 done, 1 failed (the message says what and where), 2 wrong usage.
examples:
  python -m helpers.predict scan.nii.gz                          writes segmentation-scan.nii.gz here
  python -m helpers.predict scan.nii.gz --run mine -o mask.nii.gz
  python -m helpers.predict scans/patient7                       a DICOM folder; writes segmentation-patient7.nii.gz
  python -m helpers.predict scans/patient7 --series 2            the second of several series, in the order it lists
  python -m helpers.predict scan.nii.gz --set max_fat_fraction=1 'neck_widths_mm=[]'   other rules than notebook 05's
  python -m helpers.predict slice.png --window -40 160           writes segmentation-slice.png (0, 127 liver, 255 tumour)
"""


def main(words=None):
    """Run the command line `words`; returns the exit code."""
    ask = argparse.ArgumentParser("python -m helpers.predict", description=__doc__, epilog=EXPLAINED,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    ask.add_argument("input", type=Path, help="NIfTI file, DICOM folder or 2-D picture")
    ask.add_argument("--run", default=SHIPPED, help=f"whose trained networks are used (default {SHIPPED}, which came along)")
    ask.add_argument("-o", "--out", type=Path, help="file to write; default segmentation-NAME beside you")
    ask.add_argument("--series", type=int, metavar="N", help="which series of a DICOM folder, counted from 1")
    ask.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="cuda is an NVIDIA GPU")
    ask.add_argument("--window", type=float, nargs=2, default=(-40.0, 160.0), help="HU that grey 0 and 255 of a picture mean")
    ask.add_argument("--channel", type=int, default=1, help="of a colour picture: 0 blue, 1 green, 2 red")
    ask.add_argument("--unfinished", action="store_true", help="also take the best weights so far of a paused training")
    rules = "rules of the cascade, named as in notebook 05"
    ask.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=rules)
    asked = ask.parse_args(words)
    try:
        case = chosen_case(asked.input, asked.series)
        out = checked_output(case, asked.out)
        folder = checked_run(asked.run)
        rules = checked_rules(asked.set)
    except ValueError as error:
        print(f"helpers.predict: {error}", file=sys.stderr)
        return USAGE
    try:
        log = predict(case, folder, out, asked.device, asked.window, asked.channel, asked.unfinished, rules)
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        print(f"helpers.predict: {advised(error) or f'{asked.input}: there is not enough memory'}", file=sys.stderr)
        return FAILED
    print(f"{case.name}: {log.sentence}")
    print(f"{out}  ({log.seconds['all']:.1f} s)")
    return DONE


def chosen_case(source, number=None):
    """The Case to segment: the file itself, or series `number` (from 1) of a DICOM folder.

    Raises ValueError when there is nothing to read, or when several series are there and none is chosen.
    """
    if source.is_file():
        if number is not None:
            raise ValueError(f"{source}: is a file; --series chooses from a folder")
        return reading.case_of(source)
    if not source.is_dir():
        there = os.path.lexists(source)  # a link that leads nowhere, a pipe, a device
        raise ValueError(f"{source}: " + ("leads to no file; give one that holds a scan" if there else "no such file"))
    cases = [case for case in cases_in(source) if case.layout == "DICOM"]
    if not cases:
        raise ValueError(f"{source}: is a folder without a DICOM series; give one file, or the folder to helpers.run --data")
    if number is None and len(cases) > 1:
        listed = ""
        for n, case in enumerate(cases, start=1):
            odd = "".join(f"; {FINDINGS[code][1]}: {seen}" for code, seen in case.notes)
            listed += f"\n  --series {n}  {case.name}  {series.description(case.image)}{odd}"
        raise ValueError(f"{source}: holds {len(cases)} series; choose one:{listed}")
    if not 1 <= (number or 1) <= len(cases):
        raise ValueError(f"--series {number}: {source} holds {len(cases)} series, counted from 1")
    return cases[(number or 1) - 1]


def checked_output(case, out):
    """The file to write; raises ValueError when it is of the wrong kind."""
    endings = (".png",) if names.is_picture(case.image) else (".nii.gz", ".nii")
    if out is None:
        out = Path(f"segmentation-{names.shortened(case.name.removeprefix('volume-'))}{endings[0]}")
        if out.exists() and not is_own_mask(out):
            raise ValueError(f"{out}: is there already and no mask of ours, perhaps a reference; name another file with -o")
        return out
    if not out.name.endswith(endings):
        raise ValueError(f"{out}: the mask of {case.image.name} is written as {' or '.join(endings)}")
    if out.is_dir():
        raise ValueError(f"{out}: is a folder; name the file to write")
    if out.resolve() == case.image.resolve():
        raise ValueError(f"{out}: is the input itself")
    return out


def checked_run(name):
    """The checkpoint folder of a run; raises ValueError when there is none."""
    folder = runs.Run(name).checkpoints
    if not folder.is_dir():
        known = ", ".join(runs.known_runs())
        raise ValueError(f"run {name!r} has no checkpoints; " + (f"there are {known}" if known else "train one first: make demo"))
    return folder


def checked_rules(words):
    """The cascade's rules that NAME=VALUE words ask for, a dict; raises ValueError for what they can't mean."""
    if not words:
        return {}
    from helpers.cascade import pipeline

    known, given = vars(pipeline.Rules()), values_given(words)
    for name in set(given) - set(known):
        raise ValueError(f"--set: {unknown(name, sorted(known), 'the cascade has no rule')}")
    return {name: of_type(name, text, known[name]) for name, text in given.items()}


def predict(case, folder, out, device="auto", window=(-40.0, 160.0), channel=1, unfinished=False, rules=None):
    """Segment one case and write its mask whole; returns the cascade's log.

    rules  what differs from `cascade.Rules`, a dict.
    Raises ValueError or OSError, naming the file and what is wrong with it.
    """
    volume = _read(case, window, channel)
    picture = names.is_picture(case.image)
    found, low, high, _ = ([], *window, None) if picture else quality_control.scan_findings(case, volume)
    in_hu = not picture and not quality_control.NOT_HU.intersection(code for code, _ in found)
    for code, seen in found:
        verdict, meaning, _ = FINDINGS[code]
        said = f"{case.image.parent if case.layout == 'DICOM' else case.image}: {meaning}" + (f": {seen}" if seen else "")
        if verdict == "quarantined":
            raise Unfit(code, said)
        print(f"helpers.predict: {said}", file=sys.stderr)
    import torch  # after the scan: reading and learning that it is damaged take no torch

    from helpers.cascade import pipeline, weights

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no NVIDIA GPU here; take --device cpu, or leave it out")
    loaded = weights.load_networks(folder, device, unfinished)
    result = pipeline.segment(volume, loaded, pipeline.Rules(**(rules or {})))
    for code, seen in checks.orientation(volume, low, high, result.labels)[0] if in_hu else []:
        print(f"helpers.predict: {case.image}: {FINDINGS[code][1]}: {seen}", file=sys.stderr)
    if picture:
        write_picture(result.labels[0], out)
    else:
        write_mask(result.labels, volume, out)
    return result.log


def _read(case, window, channel):
    try:
        return pictures.stack([case.image], window, channel) if names.is_picture(case.image) else reading.read_scan(case.image)
    except (ValueError, OSError, MemoryError):
        raise
    except Exception as error:  # whatever else a bad file makes a reader do
        raise Unfit("unreadable", f"{case.image}: can't be read ({type(error).__name__}: {error})") from error


def write_picture(labels, out):
    """Write labels (y, x) as grey PNG: 0 background, 127 liver, 255 tumour."""
    import cv2
    import numpy as np

    _, data = cv2.imencode(".png", np.array([0, 127, 255], np.uint8)[labels])
    with files.written_whole(out) as beside:
        data.tofile(beside)


if __name__ == "__main__":
    sys.exit(main())
