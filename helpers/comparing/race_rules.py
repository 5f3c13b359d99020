"""What all entrants of a race share: moments, patients, judge, and the table of scores."""

import time
from dataclasses import dataclass

import filelock
import pandas as pd

from helpers import files, origins, runs
from helpers.comparing.race_curve import NAMES
from helpers.scans import reading
from helpers.scoring import metrics, run_scores
from helpers.slices.lists import training_files

SELDOM = {"nnunet"}  # judged half-way and at the end only: it predicts as long as others learn
COLUMNS = ["entrant", "start", "moment", "minutes", "step", "case", "group"]
COLUMNS += [f"{organ}_dice" for organ in metrics.CLASSES]


@dataclass(frozen=True)
class Race:
    """What every entrant of a race has in common.

    run      runs.Run with lists and stores by 01 and 02, and validation patients.
    minutes  of learning for each entrant.
    moments  how often along them, the end included, the patients are predicted.
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
        texts = dict.fromkeys(("case", "group", "start"), str)
        return pd.read_csv(self.table, dtype=texts, keep_default_na=False)

    def agree(self):
        """Note at the race's first start with what it is run; later starts must have the same.

        Raises ValueError, naming the lists, scans or moments that differ: patients would change
        sides between training and validation.
        """
        file, folder = self.folder("race.json"), self.run.lists
        cases = pd.concat([self.cases("train"), self.cases("val")])
        now = {"columns": COLUMNS, "moments": self.moments}
        now |= {"scans": dict(zip(cases.case, cases.bytes, strict=True))}
        for path in (folder / "split.csv", folder / "recipe.json", *training_files(folder)):
            now[path.name] = files.short_hash(path)
        if not file.is_file():
            files.write_json(file, now)
        if differs := origins.differing(files.recorded(file), now):
            raise ValueError(
                f"the race of {self.minutes:g} minutes began with other {', '.join(differs)}: "
                f"put them back, or delete {self.scratch}, {self.table} and everything of the runs "
                f"{self.run.name}-race* to race afresh"
            )

    def next_moment(self, name):
        """The first moment at which this entrant hasn't been judged; None when it is through."""
        rows = self.rows()
        judged = set(rows.moment[rows.entrant == name])
        seldom = (self.moments // 2, self.moments)
        ahead = seldom if name in SELDOM else range(1, self.moments + 1)
        return next((k for k in ahead if k and k not in judged), None)

    def cases(self, side):
        """Rows of cases.csv of the "train" or "val" patients. Raises ValueError for none."""
        return run_scores.cases_of(self.run, side)

    def judge(self, name, moment, minutes, step, predict, start=""):
        """Predict the validation patients, and write the rows of a moment: all of them, or none.

        predict  function of a Volume that gives labels uint8 (z, y, x).
        start    what the weights were before the first step.
        """
        began, rows = time.monotonic(), []
        for row in self.cases("val").to_dict("records"):
            volume, reference = reading.read_row(row)
            dice = metrics.dice_per_organ(reference, predict(volume)).values()
            rounded = [round(value, 5) for value in dice]
            patient = row["group"] or row["case"]
            rows.append([name, start, moment, round(minutes, 3), step, row["case"], patient,
                         *rounded])
        rows = pd.DataFrame(rows, columns=COLUMNS)
        self.table.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.table.with_name(f".{self.table.name}.lock")):
            known = self.rows()
            files.write_csv(self.table, pd.concat([known, rows]) if len(known) else rows)
        at = f"{minutes:.1f} of {self.minutes:g} minutes, step {step:,}"
        scores = f"liver {rows.liver_dice.mean():.3f}, tumour {rows.tumour_dice.mean():.3f}"
        seconds = f"predicted in {time.monotonic() - began:.0f} s"
        print(f"{NAMES[name]}: {at}, {scores} ({seconds})", flush=True)
