"""What all entrants of a race have in common: moments along the minutes, patients, the judge, and the table of scores."""

import time
from dataclasses import dataclass

import filelock
import pandas as pd

from helpers import files, origins, runs
from helpers.comparing.race_curve import NAMES
from helpers.scans import reading
from helpers.scoring import metrics, run_scores
from helpers.slices.lists import training_files

SELDOM = {"nnunet"}  # judged half-way and at the end only: predicting takes it as long as learning does others
COLUMNS = ["entrant", "start", "moment", "minutes", "step", "case", "group", "liver_dice", "tumour_dice"]


@dataclass(frozen=True)
class Race:
    """What every entrant of a race has in common.

    run      runs.Run with lists and stores by 01 and 02, and validation patients.
    minutes  of learning for each entrant; `moments` times along them, the end included, the patients are predicted.
    """

    run: runs.Run
    minutes: float
    moments: int = 8

    @property
    def scratch(self):
        """What entrants share between races."""
        return self.run.stores / "race"

    @property
    def table(self):
        return self.run.reports / f"race-{self.minutes:g}.csv"

    def folder(self, name):
        """An entrant's own state in this race."""
        return self.scratch / f"{self.minutes:g}-minutes" / name

    def minutes_at(self, moment):
        """Learning minutes after which a moment, counted from 1, has come."""
        return self.minutes * moment / self.moments

    def rows(self):
        """The table so far, empty before the first moment."""
        if not self.table.is_file():
            return pd.DataFrame(columns=COLUMNS)
        return pd.read_csv(self.table, dtype={"case": str, "group": str, "start": str}, keep_default_na=False)

    def agree(self):
        """Note the lists, scans and moments that the race is run with, at its first start; later ones must have the same.

        Raises ValueError, naming what differs: patients would change sides between training and validation.
        """
        file = self.folder("race.json")
        lists = [self.run.lists / "split.csv", self.run.lists / "recipe.json", *training_files(self.run.lists)]
        scans = {row.case: row.bytes for side in ("train", "val") for row in self.cases(side).itertuples()}
        now = {"columns": COLUMNS, "moments": self.moments, "scans": scans}
        now |= {path.name: files.sha256(path)[:16] for path in lists}
        if not file.is_file():
            files.write_json(file, now)
        if differs := origins.differing(origins.recorded(file), now):
            raise ValueError(
                f"the race of {self.minutes:g} minutes began with other {', '.join(differs)}: put them back, or delete "
                f"{self.scratch}, {self.table} and everything of the runs {self.run.name}-race* to race afresh"
            )

    def next_moment(self, name):
        """The first moment at which this entrant hasn't been judged; None when it is through."""
        rows = self.rows()
        judged = set(rows.moment[rows.entrant == name])
        ahead = range(1, self.moments + 1) if name not in SELDOM else (self.moments // 2, self.moments)
        return next((k for k in ahead if k and k not in judged), None)

    def cases(self, side):
        """Rows of cases.csv of the training or validation patients. Raises ValueError when there are none to validate on."""
        return run_scores.cases_of(self.run, side)

    def judge(self, name, moment, minutes, step, predict, start=""):
        """Predict the validation patients, score them, and write the rows of a moment: all of them, or none.

        predict  function of a Volume that gives labels uint8 (z, y, x); start: what its weights were before the first step.
        """
        began, rows = time.monotonic(), []
        for row in self.cases("val").to_dict("records"):
            volume, reference = reading.read_row(row)
            confusion = metrics.confusion_by_slice(reference, predict(volume)).sum(0)
            dice = [round(float(metrics.dice(*metrics.counts(confusion, organ))), 5) for organ in metrics.CLASSES]
            patient = row["group"] or row["case"]
            rows.append([name, start, moment, round(minutes, 3), step, row["case"], patient, *dice])
        rows = pd.DataFrame(rows, columns=COLUMNS)
        self.table.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.table.with_name(f".{self.table.name}.lock")):
            known = self.rows()
            files.write_csv(self.table, pd.concat([known, rows]) if len(known) else rows)
        seconds, scores = time.monotonic() - began, f"liver {rows.liver_dice.mean():.3f}, tumour {rows.tumour_dice.mean():.3f}"
        at = f"{minutes:.1f} of {self.minutes:g} minutes, step {step:,}"
        print(f"{NAMES[name]}: {at}, {scores} (predicted in {seconds:.0f} s)", flush=True)
