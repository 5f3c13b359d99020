"""Segment one scan: python -m helpers.predict INPUT. The mask lies on the scan's own grid."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from helpers import files, processes, runs
from helpers.cascade.rules import Rules
from helpers.intake import checks, quality_control
from helpers.parameters import of_type, unknown, values_given
from helpers.scans import names, pictures, reading, series
from helpers.scans.findings import FINDINGS, advised
from helpers.scans.folder import in_words, scan_folder
from helpers.scans.volume import is_own_mask, write_mask

DONE, FAILED, USAGE = 0, 1, 2
# trained on 18 LiTS scans of 14 patients; its cards say how, and what it can't do
SHIPPED = "lits18"
EXPLAINED = """
INPUT is a NIfTI file, a folder with a DICOM series (or one of its files), or one 2-D picture
(JPEG or PNG) whose grey values are an intensity window.
exit codes: 0 done, 1 failed (the message says what and where), 2 wrong usage.
examples:
  python -m helpers.predict scan.nii.gz                writes segmentation-scan.nii.gz here
  python -m helpers.predict scan.nii.gz --run mine -o mask.nii.gz
  python -m helpers.predict scans/patient7             a DICOM folder; segmentation-patient7.nii.gz
  python -m helpers.predict scans/patient7 --series 2  the second of several, in the order it lists
  python -m helpers.predict scans/patient7 --acquisition 1   of a series that holds several phases
  python -m helpers.predict scan.nii.gz --set tumour_threshold=0.5 'neck_widths_mm=[]'
                                                       other rules than notebook 05's
  python -m helpers.predict slice.png --window -40 160
                                 writes segmentation-slice.png (0, 127 liver, 255 tumour)
"""


def main(words=None):
    """Run the command line `words`; returns the exit code."""
    processes.print_any_letter()
    options = parsed(words)
    try:
        case = chosen_case(options.input, options.series, options.acquisition)
        out = checked_output(case, options.out)
        folder = checked_run(options.run)
        rules = checked_rules(options.set)
    except ValueError as error:
        print(f"helpers.predict: {error}", file=sys.stderr)
        return USAGE
    try:
        files.check_writable(out)  # before the networks have their say
        log = predict(case, folder, out, rules, options)
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        print("helpers.predict: "
              f"{advised(error) or f'{options.input}: there is not enough memory'}",
              file=sys.stderr)
        return FAILED
    print(f"{case.name}: {log.sentence}")
    print(f"{out}  ({log.seconds['all']:.1f} s)")
    return DONE


def parsed(words):
    """The command line as a namespace; argparse itself exits with 2 for words it doesn't know."""
    parser = argparse.ArgumentParser(
        "python -m helpers.predict", description=__doc__, epilog=EXPLAINED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input", type=Path, help="NIfTI file, DICOM folder or 2-D picture")
    add("--run", default=SHIPPED,
        help=f"whose trained networks are used (default {SHIPPED}, which came along)")
    add("-o", "--out", type=Path, help="file to write; default segmentation-NAME beside you")
    add("--series", type=int, metavar="N", help="which series of a DICOM folder, counted from 1")
    add("--acquisition", default="", metavar="NAME",
        help="which acquisition of a DICOM series that holds several, as it lists them")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="cuda is an NVIDIA GPU")
    add("--window", type=float, nargs=2, default=(-40.0, 160.0),
        help="HU that grey 0 and 255 of a picture mean")
    add("--channel", type=int, default=1, help="of a colour picture: 0 blue, 1 green, 2 red")
    add("--unfinished", action="store_true",
        help="also take the best weights so far of a paused training")
    rules = "rules of the cascade, named as in notebook 05"
    add("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=rules)
    return parser.parse_args(words)


def chosen_case(source, number=None, acquisition=""):
    """The Case to segment: the file itself, or series `number` (from 1) of a DICOM folder, and of
    that an acquisition. What a folder holds besides is printed.

    Raises ValueError when there is nothing to read, or when several series are there and none is
    chosen.
    """
    if source.name.upper() == "DICOMDIR" and source.is_file():
        source = source.parent  # the index of what lies beside it
    if source.is_file():
        if number is not None:
            raise ValueError(f"{source}: is a file; --series chooses from a folder")
        case = reading.case_of(source)
        if acquisition and case.layout != "DICOM":
            raise ValueError(f"{source}: is no DICOM file; --acquisition chooses from a series")
        return replace(case, acquisition=acquisition)
    if not source.is_dir():
        exists = os.path.lexists(source)  # a link that leads nowhere, a pipe, a device
        raise ValueError(f"{source}: " + ("leads to no file; give one that holds a scan" if exists
                                          else "no such file"))
    cases, ignored = scan_folder(source)
    if ignored:
        print(f"helpers.predict: {source}: ignored: {in_words(ignored)}", file=sys.stderr)
    cases = [case for case in cases if case.layout == "DICOM"]
    if not cases:
        advice = "give one file, or the folder to helpers.run --data"
        raise ValueError(f"{source}: is a folder without a DICOM series; {advice}")
    if number is None and len(cases) > 1:
        listed = ""
        for n, case in enumerate(cases, start=1):
            notes = "".join(f"; {FINDINGS[code][1]}: {detail}" for code, detail in case.notes)
            listed += f"\n  --series {n}  {case.name}  {series.description(case.image)}{notes}"
        raise ValueError(f"{source}: holds {len(cases)} series; choose one:{listed}")
    if not 1 <= (number or 1) <= len(cases):
        raise ValueError(f"--series {number}: {source} holds {len(cases)} series, counted from 1")
    return replace(cases[(number or 1) - 1], acquisition=acquisition)


def checked_output(case, out):
    """The file to write; raises ValueError when it is of the wrong kind."""
    endings = (".png",) if names.is_picture(case.image) else (".nii.gz", ".nii")
    if out is None:
        out = Path(f"segmentation-{names.shortened(case.name.removeprefix('volume-'))}{endings[0]}")
        if out.exists() and not is_own_mask(out):
            raise ValueError(f"{out}: is there already and no mask of ours, perhaps a reference; "
                             "name another file with -o")
        return out
    if not out.name.endswith(endings):
        raise ValueError(f"{out}: the mask of {case.image.name} is written as "
                         f"{' or '.join(endings)}")
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
        advice = f"there are {known}" if known else "train one first: make demo"
        raise ValueError(f"run {name!r} has no checkpoints; {advice}")
    return folder


def checked_rules(words):
    """The cascade's rules that NAME=VALUE words ask for, a dict; raises ValueError for what they
    can't mean.
    """
    known, values = vars(Rules()), values_given(words)
    for name in values.keys() - known.keys():
        raise ValueError(f"--set: {unknown(name, sorted(known), 'the cascade has no rule')}")
    return {name: of_type(name, text, known[name]) for name, text in values.items()}


def predict(case, folder, out, rules, options):
    """Segment one case with the networks of a checkpoint folder and write its mask whole; returns
    the CascadeLog.

    rules    what differs from `pipeline.Rules`, a dict.
    options  device, window, channel and unfinished, as the command line has them.
    Raises ValueError or OSError, naming the file and what is wrong with it.
    """
    volume, hu_ends = sound_scan(case, options)
    import torch  # after the scan: reading and learning that it is damaged take no torch

    from helpers.cascade import pipeline, weights

    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no NVIDIA GPU here; take --device cpu, or "
                         "leave it out")
    networks = weights.load_networks(folder, options.device, options.unfinished)
    result = pipeline.segment(volume, networks, Rules(**rules))
    for code, detail in checks.orientation(volume, *hu_ends, result.labels)[0] if hu_ends else []:
        print(f"helpers.predict: {case.image}: {FINDINGS[code][1]}: {detail}", file=sys.stderr)
    if names.is_picture(case.image):
        write_picture(result.labels[0], out)
    else:
        write_mask(result.labels, volume, out)
    return result.log


def sound_scan(case, options):
    """(Volume, the (lowest, highest) HU of its windows, None where values are no HU) of a case.

    What was repaired or looks odd is printed. Raises ValueError, with the words of notebook 01, for
    a scan that it would quarantine.
    """
    volume = low = high = None
    try:
        if names.is_picture(case.image):
            print(f"helpers.predict: {case.image}: {FINDINGS['spacing-stand-in'][1]}",
                  file=sys.stderr)
            return pictures.stack([case.image], options.window, options.channel), None
        volume = reading.read_scan(case.image, acquisition=case.acquisition)
        findings, low, high, _ = quality_control.scan_findings(case, volume)
    except Exception as error:  # whatever a bad file makes a reader do
        findings = [quality_control.fault(error, case)]
    source = case.image.parent if case.layout == "DICOM" else case.image
    row = quality_control.judged({}, findings)
    if row["verdict"] == "quarantined":
        to_do = f"; what to do: {row['to_do']}" if row["to_do"] else ""
        raise ValueError(f"{source}: {row['reason']}{to_do}")
    for finding in findings:
        print(f"helpers.predict: {source}: {quality_control.judged({}, [finding])['reason']}",
              file=sys.stderr)
    in_hu = not quality_control.NOT_HU.intersection(code for code, _ in findings)
    return volume, (low, high) if in_hu else None


def write_picture(labels, out):
    """Write labels (y, x) as grey PNG: 0 background, 127 liver, 255 tumour."""
    _, data = cv2.imencode(".png", np.array([0, 127, 255], np.uint8)[labels])
    with files.written_whole(out) as beside:
        data.tofile(beside)


if __name__ == "__main__":
    sys.exit(main())
