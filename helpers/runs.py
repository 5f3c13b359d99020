"""Where the files of a run live."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
NOTEBOOKS = HERE / "notebooks"
# tests point this at a folder of their own
ROOT = Path(os.environ.get("CASCADE_LIVER_ROOT", HERE)).resolve()
PHANTOMS = ROOT / "data" / "phantoms"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a run


class Predictions:
    """The files of each case in a folder of masks, `self.predictions`."""

    def prediction(self, case):
        """The mask of a case: "volume-3" becomes segmentation-3.nii.gz, as LiTS names them."""
        return self._beside("segmentation", case)

    def log(self, case):
        """What the cascade decided about a case, as JSON."""
        return self.predictions / f"{case}.json"

    def probability(self, case, organ):
        """Probability of "liver" or "tumour" as uint8 (255 is certain) on the scan's own grid."""
        return self._beside(f"{organ}-probability", case)

    def tta_std(self, case):
        """How far the tumour probabilities of mirrored views lie apart, uint8 (255 is 1) on the
        scan's own grid.
        """
        return self._beside("tumour-tta-std", case)

    def preview(self, case):
        """A few slices of a case with its mask on them."""
        return self._beside("preview", case, ".png")

    def dicom_seg(self, case):
        """The mask of a case as DICOM-SEG."""
        return self._beside("segmentation", case, ".dcm")

    def _beside(self, what, case, ending=".nii.gz"):
        return self.predictions / f"{what}-{case.removeprefix('volume-')}{ending}"


@dataclass(frozen=True)
class Folder(Predictions):
    """Masks in a folder of their own, of no run."""

    predictions: Path


@dataclass(frozen=True)
class Run(Predictions):
    """One end-to-end attempt and its folders; `name` is letters, digits, dot, dash and underscore.

    Raises ValueError for any other name, so that a run can't write outside its folders.
    """

    name: str

    def __post_init__(self):
        if not NAME.fullmatch(str(self.name)):
            raise ValueError(f"run name {self.name!r}: use letters, digits, '.', '-' and '_', "
                             "beginning with a letter or digit")

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
        """Where the trainings of a run lie, a folder a stage; those of a trial lie apart, and its
        name obeys the run's rules.
        """
        return self.checkpoints / "trials" / Run(trial).name if trial else self.checkpoints

    @property
    def reports(self):
        return ROOT / "reports" / self.name

    @property
    def predictions(self):
        return self.reports / "predictions"

    @property
    def figures(self):
        return self.reports / "figures"

    @property
    def stores(self):
        return ROOT / "data" / "stores" / self.name

    def known(self):
        """True when any stage has written something under this name."""
        return any(folder.is_dir() for folder in (self.lists, self.checkpoints, self.reports))


def from_root(root, work, *arguments, **more):
    """work(…) in a process of another machine, whose runs lie below `root`, too."""
    global ROOT
    ROOT = root
    return work(*arguments, **more)


def known_runs():
    """Names of the runs that have checkpoints, sorted."""
    return sorted(p.name for p in (ROOT / "checkpoints").glob("*") if p.is_dir())


def weights_folder(name):
    """The folder of weights that a run's name, or the path of a folder, means.

    Raises ValueError, naming the runs that there are, when there is none.
    """
    of_run = [Run(name).checkpoints] if NAME.fullmatch(name) else []
    for folder in (*of_run, Path(name).expanduser(), absolute(name)):
        if name and folder.is_dir():
            return folder.absolute()
    known = ", ".join(known_runs())
    advice = f"there are {known}" if known else "train one (make demo), or name a folder"
    raise ValueError(f"run {name!r} has no checkpoints; {advice}")


def relative(path):
    """The path as written in lists: relative to the project where it can be, else absolute; always
    with '/'.
    """
    path = Path(os.path.abspath(path))  # without following links, which may lead out of the project
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()


def absolute(text):
    """The path that `relative` wrote, back as a Path."""
    path = Path(text)
    return path if path.is_absolute() else ROOT / path
