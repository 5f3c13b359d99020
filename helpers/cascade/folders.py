"""Masks of many scans in a folder of their own: where they may go, what is there already stays."""

import contextlib
import functools
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import filelock

from helpers import crews, files, processes, runs
from helpers.cascade.cohort import TABLE, check_table, write_table
from helpers.processes import progress
from helpers.scans import names, reading, series
from helpers.scans.volume import is_own_mask

MASKS = (".nii.gz", ".nii", ".png")
ELSEWHERE = "choose another folder for the masks"
KEPT = "kept"  # of a scan that is done


def is_folder(out):
    """True where masks of several scans can be meant to go."""
    return out is not None and not out.name.lower().endswith(MASKS) and (
        out.is_dir() or not out.suffix)


def checked_folder(out, sources):
    """The runs.Folder for the masks of what is in `sources`; raises ValueError for one that won't
    do.
    """
    if out is None or out.is_file() or out.name.lower().endswith(MASKS):
        named = "-o FOLDER" if out is None else f"{out} is a file"
        raise ValueError(f"{named}: the masks of several scans go to a folder; give one with -o")
    for source in sources:
        if out.resolve().is_relative_to(source.resolve()) or (
                source.is_file() and out.resolve() == source.resolve().parent):
            raise ValueError(f"{out}: holds the input, or lies in it ({source}); {ELSEWHERE}")
    return runs.Folder(out)


def checked_output(case, out):
    """The file to write; raises ValueError when it is of the wrong kind."""
    endings = MASKS[2:] if names.is_picture(case.image) else MASKS[:2]
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
    if os.path.realpath(out) == os.path.realpath(case.image):  # resolve() fails for a circle
        raise ValueError(f"{out}: is the input itself")
    return out


def mask_of(case, folder):
    """The file of a folder.Case's mask in a runs.Folder: a picture that stands for itself gets a
    picture.
    """
    if case.layout == reading.ONE_PICTURE:
        return folder.predictions / f"segmentation-{case.name}.png"
    return folder.prediction(case.name)


@dataclass
class Done:
    """What became of many scans: how many were segmented, kept and left, which failed, and why,
    and from which of them the networks had learnt.
    """

    segmented: int = 0
    kept: int = 0
    left: int = 0
    failed: dict = field(default_factory=dict)
    learnt: list = field(default_factory=list)


class Segmenter:
    """Called with an inputs.Item it segments it, where it isn't done; returns "", KEPT or what is
    wrong. It travels to other processes, and each loads the networks once.

    cohort_of  function (folder) -> Cohort, of a module, or a partial of one.
    threads    for torch, 0 for its own choice.
    """

    def __init__(self, cohort_of, folder, threads=0):
        self.cohort_of, self.folder, self.threads = cohort_of, folder, threads

    @functools.cached_property
    def cohort(self):
        """The Cohort, of this process."""
        cohort = self.cohort_of(self.folder)
        torch = sys.modules.get("torch")  # an engine can do without
        if self.threads and torch:
            torch.set_num_threads(self.threads)
        return cohort

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "cohort"}

    def __call__(self, item):
        if self.cohort.is_done(item):
            return KEPT
        return foreign(item, self.folder) or self.cohort.segment(item)


def segment_all(segmenter, items, signals, workers=1, scheduler=""):
    """Segment inputs.Items until `signals` holds something; gives Done.

    Each mask is written last of its scan's files, so whatever ends this, the next call resumes.
    workers, scheduler  as `crews.spread` takes them.
    """
    folder, done = segmenter.folder, Done(left=len(items))
    results = crews.spread(segmenter, items, workers, scheduler, needed_bytes)
    for k, outcome in progress(results, "scans", "scan", len(items)):
        done.left -= 1
        if isinstance(outcome, processes.WorkerDied):
            outcome = f"{items[k].image}: {outcome.sentence}"
            log = {"case": items[k].case, "image": str(items[k].image), "outcome": "failed"}
            files.write_json(folder.log(items[k].case), log | {"sentence": outcome})
        if outcome == KEPT:
            done.kept += 1
        elif outcome:
            done.failed[items[k].case] = outcome
        else:
            done.segmented += 1
            learnt = files.recorded(folder.log(items[k].case)).get("learnt_from")
            done.learnt += [items[k].case] if learnt else []
        if signals:
            break
    write_table(folder)
    return done


def needed_bytes(item):
    """Memory that a process takes for networks, one scan and its masks."""
    return 0.9 * crews.GIB + 4 * reading.voxels_of(item.image)


def foreign(item, folder):
    """Why a scan's files must not be written, because another's are there; "" where they may."""
    file = folder.log(item.case)
    log = files.recorded(file)
    before = Path(log.get("image", item.image))
    if before != item.image and series.scan_key(before) != series.scan_key(item.image):
        return f"{item.image}: {item.out} is of {log['image']}; {ELSEWHERE}"
    if file.exists() and "case" not in log:
        return f"{item.image}: {file} is there already and no log of ours; {ELSEWHERE}"
    if item.out.exists() and not log and not is_own_mask(item.out):
        return (f"{item.image}: {item.out} is there already and no mask of ours, perhaps a "
                f"reference; {ELSEWHERE}")
    return ""


def names_before(folder):
    """The names that scans have in a runs.Folder, as `inputs.keep_names` takes them."""
    logs = map(files.recorded, folder.predictions.glob("*.json"))
    return {series.scan_key(Path(log["image"])): log["case"]
            for log in logs if log.keys() >= {"image", "case"}}


@contextlib.contextmanager
def held(folder):
    """A runs.Folder for this process alone, tidied after processes that were killed in it.

    Raises RuntimeError where another one holds it, ValueError where a table of that name isn't
    ours.
    """
    check_table(folder)
    files.check_writable(folder.predictions / TABLE)
    folder.predictions.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder.predictions / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RuntimeError(f"{folder.predictions}: another helpers.predict writes its masks there; "
                           "wait for it, or choose another folder") from None
    try:
        files.remove_leftovers(folder.predictions)
        yield
    finally:
        lock.release()
