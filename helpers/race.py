"""The race of notebook 08: contestants learn for the same minutes from the same patients: python -m helpers.race.

Each contestant is a process of its own. Its clock counts learning only; at some moments it predicts the validation patients,
and every case's Dice goes into `reports/<run>/race-<minutes>.csv`. A contestant that is stopped goes on where it saved.
"""

import argparse
import functools
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np

from helpers import interrupts, layouts, metrics, paths, run_scores
from helpers.jobs import DONE, PAUSED, USAGE

NAMES = {"ours": "ours", "monai": "MONAI tutorial, 2-D", "smp": "smp Unet resnet34", "nnunet": "nnU-Net 2-D"}
COLUMNS = ["contestant", "moment", "minutes", "step", "case", "liver_dice", "tumour_dice"]


@dataclass(frozen=True)
class Race:
    """Who runs against whom is a matter of the table; this is the course.

    run      paths.Run with lists and stores by 01 and 02, and validation patients.
    minutes  of learning for each contestant; `moments` times along them, the end included, the patients are predicted.
    """

    run: paths.Run
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

        return pd.read_csv(self.table, dtype={"case": str}) if self.table.is_file() else pd.DataFrame(columns=COLUMNS)

    def next_moment(self, name):
        """The first moment at which this contestant hasn't been judged; None when it is through."""
        rows = self.rows()
        judged = set(rows.moment[rows.contestant == name])
        return next((k for k in range(1, self.moments + 1) if k not in judged), None)

    def cases(self, side):
        """Rows of cases.csv of the training or validation patients. Raises ValueError when there are none to validate on."""
        return run_scores.cases_of(self.run, side)

    def judge(self, name, moment, minutes, step, predict):
        """Predict the validation patients, score them, and write the rows of a moment: all of them, or none.

        predict  function of a Volume that gives labels uint8 (z, y, x).
        """
        import filelock
        import pandas as pd

        began, rows = time.monotonic(), []
        for row in self.cases("val").to_dict("records"):
            volume, reference = layouts.read_row(row)
            values = [name, moment, round(minutes, 3), step, row["case"], *dices(reference, predict(volume))]
            rows.append(dict(zip(COLUMNS, values, strict=True)))
        self.table.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.table.with_name(f".{self.table.name}.lock")):
            known = self.rows().to_dict("records")
            paths.write_csv(self.table, pd.DataFrame(known + rows, columns=COLUMNS))
        liver, tumour = (np.mean([row[f"{organ}_dice"] for row in rows]) for organ in metrics.CLASSES)
        print(f"{NAMES[name]}: {minutes:.1f} of {self.minutes:g} minutes, step {step:,}, liver {liver:.3f}, tumour {tumour:.3f} "
              f"(predicted in {time.monotonic() - began:.0f} s)", flush=True)  # fmt: skip


def dices(reference, prediction):
    """(liver, tumour) Dice of one case, as the project's scorer gives them."""
    confusion = metrics.confusion_by_slice(reference, prediction).sum(0)
    return [round(float(metrics.dice(*metrics.counts(confusion, organ))), 5) for organ in metrics.CLASSES]


def learn(race, name, contestant, over):
    """Let a contestant learn and be judged until it is through or has to pause; returns DONE or PAUSED.

    contestant  has step(share of the time gone), predict(volume, last moment or not), state_dict and load_state_dict.
    over        function that says whether to pause; the state is saved then, and at every moment.
    """
    import torch

    file, seconds, steps = race.folder(name) / "state.pt", 0.0, 0
    if file.is_file():
        state = torch.load(file, map_location="cpu", weights_only=True)
        contestant.load_state_dict(state["contestant"])
        seconds, steps = state["seconds"], state["steps"]
        print(f"{NAMES[name]}: goes on after {seconds / 60:.1f} minutes, {steps:,} steps", flush=True)

    def save():
        buffer = io.BytesIO()
        torch.save({"seconds": seconds, "steps": steps, "contestant": contestant.state_dict()}, buffer)
        with paths.written_whole(file) as beside:
            beside.write_bytes(buffer.getbuffer())

    while moment := race.next_moment(name):
        while seconds < 60 * race.minutes_at(moment):
            if over():
                save()
                return PAUSED
            began = time.monotonic()
            contestant.step(min(1.0, seconds / (60 * race.minutes)))
            seconds, steps = seconds + time.monotonic() - began, steps + 1
        save()
        predict = functools.partial(contestant.predict, last=moment == race.moments)
        race.judge(name, moment, seconds / 60, steps, predict)
    return DONE


def entered(name, race):
    """The contestant, ready at the start; raises ModuleNotFoundError where its library is missing."""
    if name == "nnunet":
        from helpers import nnunet

        return nnunet.Contestant(race.scratch / "nnunet", race.cases("train"))
    from helpers import contestants

    recipe = json.loads((race.run.lists / "recipe.json").read_text(encoding="utf8"))["recipe"]
    items = contestants.slices_of(race.scratch / "slices", race.cases("train"), recipe["size"])
    if name == "monai":
        return contestants.monai(items, recipe["size"])
    return contestants.smp(items, recipe["size"], recipe["windows"][0])


def called(name, race, sitting_minutes=0.0, python=""):
    """Run a contestant as a process of its own, showing what it says; returns DONE or PAUSED.

    python  with nnunetv2, for nnU-Net; empty takes this one. Raises RuntimeError when the contestant fails.
    """

    words = ["-m", "helpers.race", name, "--run", race.run.name, "--minutes", race.minutes, "--moments", race.moments]
    command = [python or sys.executable, *words, "--sitting", sitting_minutes]
    env = os.environ | {"CASCADE_LIVER_ROOT": str(paths.ROOT), "PYTHONPATH": str(paths.HERE), "PYTHONUNBUFFERED": "1"}
    said = []
    with subprocess.Popen([str(w) for w in command], stdout=-1, stderr=-2, text=True, cwd=paths.HERE, env=env) as process:
        for line in process.stdout:
            said = [*said[-40:], line]
            if line.startswith(NAMES[name]):
                print(line, end="", flush=True)
    if process.returncode not in (DONE, PAUSED):
        raise RuntimeError(f"the race: {NAMES[name]} ended with {process.returncode}: {''.join(said)}")
    return process.returncode


def main(words=None):
    """Run the command line `words`; returns the exit code."""
    ask = argparse.ArgumentParser("python -m helpers.race", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ask.add_argument("name", choices=list(NAMES))
    ask.add_argument("--run", required=True, help="a run with lists, stores and validation patients, made by 01 and 02")
    ask.add_argument("--minutes", type=float, default=60.0, help="of learning; default 60")
    ask.add_argument("--moments", type=int, default=8, help="how often the validation patients are predicted; default 8")
    ask.add_argument("--sitting", type=float, default=0.0, help="pause after so many minutes with exit code 75; 0 for no limit")
    asked = ask.parse_args(words)
    try:
        race = Race(paths.Run(asked.run), asked.minutes, asked.moments)
        race.cases("val")
    except (ValueError, FileNotFoundError) as error:
        print(f"helpers.race: {error}", file=sys.stderr)
        return USAGE
    if race.next_moment(asked.name) is None:
        print(f"{NAMES[asked.name]}: is through")
        return DONE
    began = time.monotonic()
    contestant = None if asked.name == "ours" else entered(asked.name, race)
    with interrupts.collected() as signals:  # not before: workers that nnU-Net prepares with have to obey SIGTERM
        left = (lambda: 60 * asked.sitting - time.monotonic() + began) if asked.sitting else (lambda: float("inf"))
        if asked.name == "ours":
            from helpers import turns

            code = turns.learn(race, left, signals)
        else:
            code = learn(race, asked.name, contestant, lambda: bool(signals) or left() <= 0)
    if code == PAUSED:
        print(f"{NAMES[asked.name]}: paused; run again to go on")
    return code


if __name__ == "__main__":
    sys.exit(main())
