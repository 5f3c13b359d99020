"""The course of the race in notebook 08: its clock and moments, its validation patients, and the table of what they scored."""

import io
import time
from dataclasses import dataclass

import numpy as np

from helpers import files, runs
from helpers.jobs import DONE, PAUSED
from helpers.scans import reading
from helpers.scoring import metrics, run_scores, statistics
from helpers.slices.lists import training_files

NAMES = {"ours": "ours", "monai": "MONAI tutorial, 2-D", "smp": "smp Unet resnet34", "nnunet": "nnU-Net 2-D"}
SELDOM = {"nnunet"}  # judged half-way and at the end only: predicting takes it as long as learning does others
SAVED_SECONDS = 60.0
COLUMNS = ["contestant", "start", "moment", "minutes", "step", "case", "group", "liver_dice", "tumour_dice"]


@dataclass(frozen=True)
class Race:
    """The course: what every contestant of a race has in common.

    run      paths.Run with lists and stores by 01 and 02, and validation patients.
    minutes  of learning for each contestant; `moments` times along them, the end included, the patients are predicted.
    """

    run: runs.Run
    minutes: float
    moments: int = 8

    @property
    def scratch(self):
        """What contestants share between races."""
        return self.run.stores / "race"

    @property
    def table(self):
        return self.run.reports / f"race-{self.minutes:g}.csv"

    def folder(self, name):
        """A contestant's own state in this race."""
        return self.scratch / f"{self.minutes:g}-minutes" / name

    def minutes_at(self, moment):
        """Learning minutes after which a moment, counted from 1, has come."""
        return self.minutes * moment / self.moments

    def rows(self):
        """The table so far, empty before the first moment."""
        import pandas as pd

        if not self.table.is_file():
            return pd.DataFrame(columns=COLUMNS)
        return pd.read_csv(self.table, dtype={"case": str, "group": str, "start": str}, keep_default_na=False)

    def agree(self):
        """Note the lists, scans and moments that the race is run with, at its first start; later ones must have the same.

        Raises ValueError, naming what differs: patients would change sides between training and validation.
        """
        file = self.scratch / f"{self.minutes:g}-minutes" / "race.json"
        lists = [self.run.lists / "split.csv", self.run.lists / "recipe.json", *training_files(self.run.lists)]
        scans = {row.case: row.bytes for side in ("train", "val") for row in self.cases(side).itertuples()}
        now = {"moments": self.moments, "scans": scans} | {path.name: files.sha256(path)[:16] for path in lists}
        if not file.is_file():
            files.write_json(file, now)
        before = files.read_json(file)
        if differs := sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name)):
            raise ValueError(
                f"the race of {self.minutes:g} minutes began with other {', '.join(differs)}: put them back, or delete "
                f"{self.scratch}, {self.table} and everything of the runs {self.run.name}-race* to race afresh"
            )

    def next_moment(self, name):
        """The first moment at which this contestant hasn't been judged; None when it is through."""
        rows = self.rows()
        judged = set(rows.moment[rows.contestant == name])
        ahead = range(1, self.moments + 1) if name not in SELDOM else (self.moments // 2, self.moments)
        return next((k for k in ahead if k and k not in judged), None)

    def cases(self, side):
        """Rows of cases.csv of the training or validation patients. Raises ValueError when there are none to validate on."""
        return run_scores.cases_of(self.run, side)

    def judge(self, name, moment, minutes, step, predict, start=""):
        """Predict the validation patients, score them, and write the rows of a moment: all of them, or none.

        predict  function of a Volume that gives labels uint8 (z, y, x); start: what its weights were before the first step.
        """
        import filelock
        import pandas as pd

        began, rows = time.monotonic(), []
        for row in self.cases("val").to_dict("records"):
            volume, reference = reading.read_row(row)
            who = [row["case"], row["group"] or row["case"]]
            values = [name, start, moment, round(minutes, 3), step, *who, *dices(reference, predict(volume))]
            rows.append(dict(zip(COLUMNS, values, strict=True)))
        self.table.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.table.with_name(f".{self.table.name}.lock")):
            known = self.rows().to_dict("records")
            files.write_csv(self.table, pd.DataFrame(known + rows, columns=COLUMNS))
        liver, tumour = (np.mean([row[f"{organ}_dice"] for row in rows]) for organ in metrics.CLASSES)
        print(f"{NAMES[name]}: {minutes:.1f} of {self.minutes:g} minutes, step {step:,}, liver {liver:.3f}, tumour {tumour:.3f} "
              f"(predicted in {time.monotonic() - began:.0f} s)", flush=True)  # fmt: skip


def dices(reference, prediction):
    """(liver, tumour) Dice of one case, as the project's scorer gives them."""
    confusion = metrics.confusion_by_slice(reference, prediction).sum(0)
    return [round(float(metrics.dice(*metrics.counts(confusion, organ))), 5) for organ in metrics.CLASSES]


def learn(race, name, contestant, over):
    """Let a contestant learn and be judged until it is through or has to pause; returns DONE or PAUSED.

    contestant  has step(share of the time gone), predict(volume), start, state_dict and load_state_dict.
    over        function that says whether to pause; the state is saved then, at every moment, and every SAVED_SECONDS.
    """
    import torch

    file, seconds, steps = race.folder(name) / "state.pt", 0.0, 0
    if file.is_file():
        state = torch.load(file, map_location="cpu", weights_only=True)
        contestant.load_state_dict(state["contestant"])
        seconds, steps = state["seconds"], state["steps"]
        if state["start"] != contestant.start:
            raise ValueError(
                f"{NAMES[name]}: it began from {state['start']} and finds {contestant.start} now; let it find the same again, "
                f"or delete {file.parent} and its rows of {race.table}"
            )
        print(f"{NAMES[name]}: goes on after {seconds / 60:.1f} minutes, {steps:,} steps", flush=True)

    def save():
        buffer = io.BytesIO()
        torch.save({"seconds": seconds, "steps": steps, "start": contestant.start, "contestant": contestant.state_dict()}, buffer)
        with files.written_whole(file) as beside:
            beside.write_bytes(buffer.getbuffer())

    saved = seconds
    while moment := race.next_moment(name):
        while seconds < 60 * race.minutes_at(moment):
            if over():
                save()
                return PAUSED
            began = time.monotonic()
            contestant.step(min(1.0, seconds / (60 * race.minutes)))
            seconds, steps = seconds + time.monotonic() - began, steps + 1
            if seconds - saved > SAVED_SECONDS:
                save()
                saved = seconds
        save()
        race.judge(name, moment, seconds / 60, steps, contestant.predict, contestant.start)
    return DONE


def over_time(table):
    """Means over the patients at every moment: DataFrame contestant, minutes, step, liver_dice, tumour_dice."""
    means = table.groupby(["contestant", "moment"])[["minutes", "step", "liver_dice", "tumour_dice"]].mean()
    return means.reset_index().sort_values(["contestant", "moment"])


def at_the_end(table):
    """The rows of the last moment at which all were judged, none before there is one: nobody is compared with another's past."""
    judged = table.groupby("moment").contestant.nunique()
    return table[table.moment == judged.index[judged == table.contestant.nunique()].max()]


def means(table):
    """A row a contestant, in the order of NAMES: minutes, steps, scans, patients, and of both Dice scores the mean over scans
    with its interval, in which whole patients are drawn."""
    import pandas as pd

    rows, last = [], at_the_end(table)
    for name in NAMES:
        own = last[last.contestant == name]
        if own.empty:
            continue
        row = {"contestant": NAMES[name], "start": own.start.iloc[0], "minutes": own.minutes.iloc[0], "steps": own.step.iloc[0],
               "scans": len(own), "patients": own.group.nunique()}  # fmt: skip
        for organ in metrics.CLASSES:
            values = own[f"{organ}_dice"].to_numpy(float)
            row[organ] = values.mean()
            row[f"{organ}_low"], row[f"{organ}_high"] = statistics.bootstrap_ci(values, groups=own.group)
        rows.append(row)
    return pd.DataFrame(rows or {"contestant": []}).set_index("contestant")


def by_case(table, organ):
    """Dice of every scan at the end, a column a contestant."""
    wide = at_the_end(table).pivot(index="case", columns="contestant", values=f"{organ}_dice")
    return wide[[name for name in NAMES if name in wide]].rename(columns=NAMES)


def sentence(table):
    """What the race says about ours, from its numbers: beside the best of the others on each score, paired over the scans."""
    last = at_the_end(table)
    ours = last[last.contestant == "ours"]
    others = {name: last[last.contestant == name] for name in NAMES if name != "ours" and (last.contestant == name).any()}
    if ours.empty or not others:
        return "There is nothing to compare yet."
    places, said = {}, []
    for organ in metrics.CLASSES:
        column = f"{organ}_dice"
        best = max(others, key=lambda name: others[name][column].mean())
        found = statistics.paired_difference(others[best], ours, column)
        places.setdefault("ahead" if found["mean"] > 0 else "behind" if found["mean"] < 0 else "level", []).append(organ)
        spread = "" if found["low"] is None else f", 95 % interval {found['low']:+.3f} to {found['high']:+.3f}"
        scores = f"{ours[column].mean():.3f} beside {others[best][column].mean():.3f} of {NAMES[best]}"
        of = f"{found['cases']} scans of {found['patients']} patients"
        said.append(f"{organ} {scores}, the best of the others ({found['mean']:+.3f}{spread}, {of})")
    placed = " and ".join(f"{place} on {' and '.join(organs)}" for place, organs in places.items())
    return f"After {ours.minutes.iloc[0]:.1f} minutes of learning ours is {placed}: {'; '.join(said)}."
