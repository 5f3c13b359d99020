"""Where the files of a run live, and how one is written so that no half of it is ever seen."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)  # what an OSError of a full disk says
HERE = Path(__file__).resolve().parent.parent
NOTEBOOKS = HERE / "notebooks"
ROOT = Path(os.environ.get("CASCADE_LIVER_ROOT", HERE)).resolve()  # tests point this at a folder of their own


@dataclass(frozen=True)
class Run:
    """One end-to-end attempt and its folders; `name` is letters, digits, dot, dash and underscore.

    Raises ValueError for any other name, so that a run can't write outside its folders.
    """

    name: str

    def __post_init__(self):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", str(self.name)):
            raise ValueError(f"run name {self.name!r}: use letters, digits, '.', '-' and '_', beginning with a letter or digit")

    @property
    def lists(self):
        return ROOT / "data_lists" / self.name

    @property
    def intake(self):
        """What 01 found out about each case, a file each."""
        return self.lists / "intake"

    @property
    def checkpoints(self):
        return ROOT / "checkpoints" / self.name

    def training(self, trial=""):
        """Where the trainings of a run lie, a folder a stage; those of a trial lie apart, and its name obeys the run's rules."""
        return self.checkpoints / "trials" / Run(trial).name if trial else self.checkpoints

    @property
    def reports(self):
        return ROOT / "reports" / self.name

    @property
    def predictions(self):
        return self.reports / "predictions"

    def prediction(self, case):
        """The mask that 05 writes for a case: "volume-3" becomes segmentation-3.nii.gz, as LiTS names them."""
        return self.predictions / f"segmentation-{case.removeprefix('volume-')}.nii.gz"

    def log(self, case):
        """What the cascade decided about a case, as JSON."""
        return self.predictions / f"{case}.json"

    def probability(self, case, organ):
        """Probability of "liver" or "tumour" as uint8 (255 is certain) on the scan's own grid."""
        return self.predictions / f"{organ}-probability-{case.removeprefix('volume-')}.nii.gz"

    def spread(self, case):
        """How far the tumour probabilities of mirrored views lie apart, uint8 (255 is 1) on the scan's own grid."""
        return self.predictions / f"tumour-spread-{case.removeprefix('volume-')}.nii.gz"

    @property
    def figures(self):
        return self.reports / "figures"

    @property
    def stores(self):
        return ROOT / "data" / "stores" / self.name

    def known(self):
        """True when any stage has written something under this name."""
        return any(folder.is_dir() for folder in (self.lists, self.checkpoints, self.reports))


PHANTOMS = ROOT / "data" / "phantoms"


def known_runs():
    """Names of the runs that have checkpoints, sorted."""
    return sorted(p.name for p in (ROOT / "checkpoints").glob("*") if p.is_dir())


def shown(path):
    """The path as written in lists: relative to the project where it can be, else absolute; always with '/'."""
    path = Path(os.path.abspath(path))  # without following links, which may lead out of the project
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()


def found(text):
    """The path that `shown` wrote, back as a Path."""
    path = Path(text)
    return path if path.is_absolute() else ROOT / path


def files_below(folder, closed=lambda error: None):
    """Every file below a folder but hidden ones; linked folders are followed, each folder is visited once.

    closed  called with the OSError of a folder that can't be opened.
    """
    visited = set()
    for here, folders, files in os.walk(folder, followlinks=True, onerror=closed):
        if (real := os.path.realpath(here)) in visited:  # a link that leads back up
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(here, name) for name in files if not name.startswith("."))


@contextlib.contextmanager
def written_whole(path):
    """Give a temporary path beside `path`; on leaving, flush it to disk and rename it, or remove it after an error.

    The temporary name keeps the suffixes (".nii.gz"), because writers choose the format by them, and says which process
    writes it, so that `remove_leftovers` knows the files of killed ones.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.part.{path.name}")
    try:
        yield beside
        _flush(beside, os.O_RDWR)
        os.replace(beside, path)
        if os.name != "nt":  # Windows can't open folders, and writes their entries through by itself
            _flush(path.parent, os.O_RDONLY)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(beside)):
            raise
        full = "; make room, then run again" if error.errno in FULL else ""
        raise OSError(error.errno, f"{error.strerror}{full}", str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def _flush(path, mode):
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder):
    """Remove the temporary files in a folder whose processes were killed while writing them; returns their names."""
    import psutil

    leftovers = []
    for file in Path(folder).glob(".*-*.part.*"):
        process = file.name[1:].partition("-")[0]
        if process.isdigit() and (int(process) == os.getpid() or not psutil.pid_exists(int(process))):
            file.unlink(missing_ok=True)
            leftovers.append(file.name)
    return leftovers


def link(source, target):
    """Give a file a second name, or copy it where the disk has no links."""
    try:
        os.link(source, target)  # there at once and whole, so nothing is flushed: it is done for thousands of files
    except OSError:
        with written_whole(target) as beside:
            shutil.copyfile(source, beside)


def write_text(path, text):
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf8")


def write_json(path, value):
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf8"))


def write_csv(path, frame):
    """Write a pandas DataFrame without its index."""
    with written_whole(path) as beside:
        frame.to_csv(beside, index=False)


def signs(path):
    """Size, times and inode of a file as text, "missing" for none.

    The time of change (ctime) and the inode differ for a file that was put in place of another, even one of the same size
    whose time of modification was copied with it (`cp -p`, `rsync -t`).
    """
    try:
        seen = os.stat(path)
    except OSError:  # also a link that leads nowhere
        return "missing"
    return f"{seen.st_size}-{seen.st_mtime_ns}-{seen.st_ctime_ns}-{seen.st_ino}"


def sha256(path):
    """Hex digest of a file's bytes, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
