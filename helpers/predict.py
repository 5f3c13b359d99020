"""Segment scans: python -m helpers.predict INPUT … Masks lie on the scans' own grids."""

import argparse
import functools
import sys
import time
from dataclasses import replace
from pathlib import Path

from helpers import files, processes, runs
from helpers.cascade import engines, folders
from helpers.cascade.cohort import TABLE, Cohort, write_table
from helpers.cascade.decisions import lap
from helpers.cascade.rules import Rules
from helpers.intake import admission, inputs
from helpers.intake.arrivals import Arrivals
from helpers.intake.inputs import Item
from helpers.parameters import of_type, unknown, values_given
from helpers.processes import DONE, FAILED, PAUSED, USAGE
from helpers.scans import series
from helpers.scans.findings import advised, counted

# its cards say what it learnt from and how, checkpoints/README.md what it can't do
SHIPPED = "lits102"
EXPLAINED = """
INPUT is a NIfTI file, a folder with a DICOM series (or one of its files), or one 2-D picture
(JPEG or PNG) whose grey values are an intensity window. With -o FOLDER there can be many, and
folders that hold any of these: the networks are loaded once, a scan that can't be segmented costs
no other and is named at the end, and what is there already, made of the same scan, weights and
rules, or corrected by hand since, stays. FOLDER/predictions.csv has a line for each, NAME.json all
that was decided about it.
exit codes: 0 done, 1 failed (the message says what and where), 2 wrong usage, 75 stopped with scans
left: run again to resume.
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
  python -m helpers.predict scans more/*.nii.gz -o masks --preview
  python -m helpers.predict scans/patient7 --dicom-seg         segmentation-patient7.dcm as well
  python -m helpers.predict scan.nii.gz --engine onnx --run mine   after helpers.export --run mine
  python -m helpers.predict --watch inbox -o masks     each scan when it has arrived whole
"""


def main(words=None):
    """Run the command line `words`; returns the exit code."""
    processes.print_any_letter()
    options = parsed(words)
    try:
        if options.watch:
            work = functools.partial(watch, options, checked_folder(options))
        elif len(options.inputs) > 1 or folders.is_folder(options.out):
            folder = checked_folder(options)
            cases, before = inputs.all_cases(options.inputs), folders.names_before(folder)
            keys = {series.scan_key(case.image) for case in cases}
            before = {key: name for key, name in before.items() if key in keys}
            items = items_of(inputs.keep_names(cases, before), options, folder)
            work = functools.partial(segment_many, options, items, folder)
        else:
            case = inputs.chosen_case(options.inputs[0], options.series, options.acquisition)
            item = Item(case, folders.checked_output(case, options.out))
            work = functools.partial(segment_one, options, item)
        cohort_of = functools.partial(loaded, options, runs.weights_folder(options.run),
                                      checked_rules(options.set))
    except (ValueError, OSError) as error:
        print(f"helpers.predict: {error}", file=sys.stderr)
        return USAGE
    try:
        return work(cohort_of)
    except KeyboardInterrupt:
        print("helpers.predict: stopped; what is written is whole, run again for the rest",
              file=sys.stderr)
        return PAUSED
    except (ValueError, OSError, MemoryError, RuntimeError, ImportError) as error:
        named = " ".join(map(str, options.inputs or [options.watch]))
        print(f"helpers.predict: {advised(error) or f'{named}: there is not enough memory'}",
              file=sys.stderr)
        return FAILED


def parsed(words):
    """The command line as a namespace; argparse itself exits with 2 for words it doesn't know."""
    parser = argparse.ArgumentParser(
        "python -m helpers.predict", description=__doc__, epilog=EXPLAINED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", type=Path, nargs="*", metavar="INPUT",
        help="NIfTI file, DICOM folder or 2-D picture; with -o FOLDER any number, and folders")
    add("--run", default=SHIPPED,
        help="whose trained networks are used: a run, or a folder of weights (default "
             f"{SHIPPED}, which came along)")
    add("-o", "--out", type=Path,
        help="file to write, or the folder for many; default segmentation-NAME beside you")
    add("--watch", type=Path, metavar="FOLDER", help="segment what arrives there, until stopped")
    add("--every", type=pause, default=5.0, metavar="SECONDS",
        help="how often a watched folder is looked at; a file has arrived when it hasn't changed "
             "meanwhile (default 5)")
    add("--workers", type=int, default=1, metavar="N",
        help="processes for many scans, each with networks and a scan in memory (default 1)")
    add("--scheduler", default="", metavar="ADDRESS",
        help="of a Dask cluster that segments them: its workers (--nthreads 1) have this project "
             "and the same files")
    add("--probabilities", action="store_true", help="also write what the networks said")
    add("--preview", action="store_true", help="also write a picture, preview-NAME.png")
    add("--dicom-seg", action="store_true",
        help="of a DICOM series also write a DICOM-SEG that refers to it, segmentation-NAME.dcm")
    add("--json", action="store_true",
        help="of one scan also write all that was decided, NAME.json; of many it always is")
    add("--time", action="store_true", help="of one scan also print where the seconds went")
    add("--series", type=int, metavar="N", help="which series of a DICOM folder, counted from 1")
    add("--acquisition", default="", metavar="NAME",
        help="which acquisition of a DICOM series that holds several, as it lists them")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="cuda is an NVIDIA GPU")
    add("--engine", choices=engines.ENGINES,
        help="onnx takes what helpers.export wrote, without torch; default: what --run holds")
    add("--window", type=float, nargs=2, default=(-40.0, 160.0),
        help="HU that grey 0 and 255 of a picture mean")
    add("--channel", type=int, default=1, help="of a colour picture: 0 blue, 1 green, 2 red")
    add("--unfinished", action="store_true",
        help="also take the best weights so far of a paused training")
    rules = "rules of the cascade, named as in notebook 05"
    add("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=rules)
    options = parser.parse_args(words)
    if bool(options.inputs) == bool(options.watch):
        parser.error("give an INPUT, or else --watch FOLDER")
    if options.scheduler and not (options.out and folders.is_folder(options.out)):
        parser.error("--scheduler is for many scans: name a folder with -o")
    if options.scheduler:
        options.out = options.out.absolute()  # workers have folders of their own to work in
    return options


def pause(text):
    """Seconds above 0 that a word of the command line means; raises ValueError."""
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{text}: seconds above 0 are needed")
    return seconds


def checked_folder(options):
    """The runs.Folder for the masks of many scans; raises ValueError for one that won't do."""
    if options.series is not None or options.acquisition:
        raise ValueError("--series and --acquisition are of one scan; name a file with -o")
    if options.watch and not options.watch.is_dir():
        raise ValueError(f"{options.watch}: no such folder to watch")
    return folders.checked_folder(options.out, options.inputs or [options.watch])


def checked_rules(words):
    """The cascade's rules that NAME=VALUE words ask for, a dict; raises ValueError for what they
    can't mean.
    """
    known, values = vars(Rules()), values_given(words)
    for name in values.keys() - known.keys():
        raise ValueError(f"--set: {unknown(name, sorted(known), 'the cascade has no rule')}")
    return {name: of_type(name, text, known[name]) for name, text in values.items()}


def loaded(options, checkpoints, rules, folder):
    """The Cohort of a runs.Folder, its networks loaded."""
    # torch takes seconds: after whatever can be refused without it
    networks, defaults = engines.load_networks(checkpoints, options.engine, options.device,
                                               options.unfinished)
    draw = None
    if options.preview:
        try:
            from helpers.looking import preview
        except ImportError as error:
            raise ValueError(f"--preview: {error}; pip install matplotlib seaborn") from error
        draw = preview.save
    read = functools.partial(read_item, window=options.window, channel=options.channel)
    return Cohort(folder, networks, replace(defaults, **rules), options.probabilities, read, draw,
                  options.dicom_seg)


def read_item(item, window, channel):
    """The Admitted of an Item."""
    return admission.admitted(item.scan, window, channel)


def segment_one(options, item, cohort_of):
    """Segment one scan into one file; returns the exit code."""
    files.check_writable(item.out)  # before the networks have their say
    files.remove_leftovers(item.out.parent)
    if options.json and (message := folders.foreign(item, runs.Folder(item.out.parent))):
        raise ValueError(f"--json: {message}")
    lap(spent := {}, "start")
    # before torch: reading a scan, and learning that it is damaged, is quick
    scan = read_item(item, options.window, options.channel)
    source, known = admission.source_of(item.scan), len(scan.remarks)
    for remark in scan.remarks:
        print(f"helpers.predict: {source}: {remark}", file=sys.stderr)
    lap(spent, "reading")
    cohort = cohort_of(runs.Folder(item.out.parent))
    lap(spent, "loading")
    volume, result, log = cohort.segmented(item, scan)
    spent |= {step: seconds for step, seconds in log["seconds"].items() if step != "all"}
    lap(spent, "checks")
    for remark in log["remarks"][known:]:
        print(f"helpers.predict: {source}: {remark}", file=sys.stderr)
    cohort.write(item, volume, result, log if options.json else None)
    lap(spent, "writing")
    for name, seconds in (spent | {"all": sum(spent.values())}).items() if options.time else ():
        print(f"{name:<12}{seconds:6.2f} s")
    print(f"{item.case}: {result.log.sentence}")
    print(f"{item.out}  ({result.log.seconds['all']:.1f} s)")
    return DONE


def segment_many(options, items, folder, cohort_of):
    """Segment many scans into a folder, where they aren't there yet; returns the exit code."""
    workers = min(options.workers, len(items))
    threads = max(1, processes.cores() // workers) if workers > 1 else 0
    segmenter = folders.Segmenter(cohort_of, folder, threads)
    with folders.held(folder), processes.collected(impatient=True) as signals:
        done = folders.segment_all(segmenter, items, signals, workers, options.scheduler)
    for case, message in done.failed.items():
        print(f"helpers.predict: {case}: {message}", file=sys.stderr)
    if done.learnt:
        print(f"helpers.predict: the networks learnt from {', '.join(done.learnt)}: their masks "
              "look better than those of others will", file=sys.stderr)
    left = f"left by {signals[0]}, run again to resume" if signals else "left"
    counts = {"segmented": done.segmented, "there already": done.kept, "failed": len(done.failed),
              left: done.left}
    counts = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
    print(f"{counted(len(items), 'scan')}: {counts}; {folder.predictions / TABLE}")
    return PAUSED if done.left else FAILED if done.failed else DONE


def watch(options, folder, cohort_of):
    """Segment each scan that arrives in a folder, until a signal ends it; returns the exit code."""
    arrivals, failed = Arrivals(options.watch, folders.names_before(folder)), set()
    with folders.held(folder), processes.collected(impatient=True) as signals:
        segment = folders.Segmenter(cohort_of, folder)
        cohort = segment.cohort
        print(f"watching {options.watch}; Ctrl-C ends it after the scan in hand", flush=True)
        while not signals:
            if not options.watch.is_dir():
                raise OSError(f"{options.watch}: the watched folder is gone")
            for item in items_of(arrivals.whole(), options, folder):
                if signals or cohort.is_tried(item):
                    continue
                began = time.monotonic()
                message = segment(item)
                failed = failed | {item.case} if message else failed - {item.case}
                sentence = f"failed. {message}" if message else cohort.log(item.case)["sentence"]
                print(f"{item.case}: {sentence} ({time.monotonic() - began:.1f} s)", flush=True)
                write_table(folder)
            until = time.monotonic() + options.every
            while time.monotonic() < until and not signals:
                time.sleep(min(0.2, options.every))
    return FAILED if failed else DONE


def items_of(cases, options, folder):
    """The Items of cases whose masks go to a folder."""
    how = (*options.window, options.channel)
    return [Item(case, folders.mask_of(case, folder), how) for case in cases]


if __name__ == "__main__":
    sys.exit(main())
