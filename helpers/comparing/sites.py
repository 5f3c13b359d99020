"""Hospitals to judge by: folders of scans with masks, or the validation scans of folds."""

from dataclasses import dataclass
from pathlib import Path

from helpers import runs
from helpers.scans import reading
from helpers.scans.folder import scan_folder
from helpers.scans.volume import with_likely_spacing
from helpers.scoring import run_scores
from helpers.slices.patients import patient_groups


@dataclass(frozen=True)
class Scan:
    """A scan with a reference, and whose networks segment it.

    group    its patient; several scans of one are drawn together.
    weights  checkpoint folder of networks that never saw this patient.
    row      what `reading.read_row` needs.
    """

    site: str
    case: str
    group: str
    weights: Path
    row: dict

    def read(self):
        """(Volume with its likely spacing, labels uint8 (z, y, x)); raises ValueError or
        OSError."""
        volume, labels = reading.read_row(self.row)
        return with_likely_spacing(volume), labels


def of_folder(name, folder, weights, window=(-40.0, 160.0), channel=1):
    """(the Scans of a folder that have a mask, names of those without).

    A mask may be all zero, a body without liver, or hold the liver only. Patients are the scans, or
    what a groups.csv in the folder says, with columns case and group.
    window, channel  of pictures, as `helpers.predict` takes them.
    Raises what `scan_folder` raises, and ValueError for a folder without any mask.
    """
    cases = scan_folder(folder)[0]
    groups_csv = Path(folder) / "groups.csv"
    groups = patient_groups([case.name for case in cases],
                            groups_csv if groups_csv.is_file() else "")
    how = {"window_low": window[0], "window_high": window[1], "channel": channel}
    scans = [
        Scan(name, case.name, groups[case.name], weights,
             {"image": str(case.image.absolute()), "mask": str(case.mask.absolute())} | how)
        for case in cases if case.mask
    ]
    if not scans:
        raise ValueError(f"{folder}: none of its {len(cases)} scans has a mask; a body without "
                         "liver needs one that is all 0")
    return scans, [case.name for case in cases if not case.mask]


def of_folds(name, folds, split="val"):
    """The Scans of a cross-validation, each with the networks of the run that didn't learn from it.

    folds  list of Run. Raises what `run_scores.cases_of_all` raises.
    """
    rows = run_scores.cases_of_all(folds, split).to_dict("records")
    return [Scan(name, row["case"], row["group"] or row["case"], runs.Run(row["run"]).checkpoints,
                 row) for row in rows]
