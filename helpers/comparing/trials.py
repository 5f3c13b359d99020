"""A row of notebook 07 in one fold: a training by notebook 04, kept apart from the run's own."""

import contextlib
import io
import math
import time
from dataclasses import dataclass

import pandas as pd

from helpers import files, origins, runs
from helpers.cascade.precision import device_named, half_precision_supported
from helpers.cascade.weights import build
from helpers.comparing import benchmark, trial_scores
from helpers.intake import case_table
from helpers.learning.plans import liver_weights
from helpers.running import jobs
from helpers.running.steps import Step
from helpers.slices import lists


@dataclass(frozen=True)
class Trial:
    """One training of notebook 07.

    row         its name in the notebook's table.
    fold        runs.Run on whose validation patients it is judged.
    home        runs.Run whose lists and slices it learns from: the fold, or one beside it whose
                slices have another size.
    parameters  what notebook 04 is given beside its defaults.
    """

    row: str
    fold: runs.Run
    home: runs.Run
    parameters: dict

    @property
    def stage(self):
        return self.parameters["stage"]

    @property
    def folder(self):
        return self.home.training(self.parameters["trial"]) / self.stage

    @property
    def weights(self):
        return self.folder / "final.safetensors"

    def job(self, minutes=0.0):
        """The jobs.Job that trains it, for so many minutes; 0 for no limit."""
        return jobs.training(self.home, **self.parameters, chunk_minutes=float(minutes))

    def finished(self):
        """True when it has come to its end.

        Raises ValueError when its parameters, lists or slices are others now.
        """
        step = self.job().stage(self.home)
        if step.state != "done" or not self.weights.is_file():
            return False
        if reasons := step.changes():
            changes = f"was trained otherwise than is asked for now: {'; '.join(reasons)}"
            raise ValueError(f"{self.folder}: {changes}; delete it to resume")
        return True

    def train(self, until=math.inf):
        """Train until a moment of time.monotonic(); returns DONE, PAUSED or FAILED of `jobs`."""
        if self.finished():
            code = jobs.DONE
        elif (left := until - time.monotonic()) <= 0:
            code = jobs.PAUSED
        else:
            minutes = 0.0 if left == math.inf else left / 60
            with contextlib.redirect_stdout(io.StringIO()):  # its notebook keeps what it says
                code, _ = jobs.carried_out(self.job(minutes), self.home)
        if code == jobs.DONE:
            self.slim()
        return code

    def slim(self):
        """Remove what only resuming would need: a large network's state takes a gigabyte or two."""
        if (self.folder / "validation.csv").is_file():
            for pattern in ("generation-*", "chunk_*.safetensors", "best.safetensors"):
                for file in self.folder.glob(pattern):
                    file.unlink(missing_ok=True)

    def missing_weights(self):
        """Why the weights that others trained can't be had; "" where they can, or needn't."""
        named = self.parameters.get("options", {}).get("encoder_weights")
        if named and not self.weights.is_file():
            try:
                build(self.parameters["model"], 3, encoder_weights=named)
            except RuntimeError as error:
                return str(error)
        return ""

    def scores(self):
        """DataFrame trial, case, score; all_components: a liver's before the largest is chosen."""
        if self.stage != "liver":
            file = self.folder / "validation.csv"
            table = pd.read_csv(file, dtype={"case": str}, keep_default_na=False)
            return table.assign(trial=self.row)
        cases = case_table.read_table(self.fold.lists / "cases.csv")
        rows = cases[cases.case.isin(lists.read_lists(self.fold.lists)[1].case)]
        dice = origins.remembered(
            self.folder / "liver_scores.json",
            {"weights": files.sha256(self.weights), "scans": rows.bytes.tolist()},
            lambda: trial_scores.liver_dice(self.weights, rows, self.parameters["device"]),
        )
        table = pd.DataFrame({"score": dice["largest"], "all_components": dice["all"]})
        return table.rename_axis("case").reset_index().assign(trial=self.row)

    def cost(self, steps):
        """What the training takes: dict of trial, slices_seen, and what some steps measure."""
        batch_size = files.read_json(self.folder / "final.json")["settings"]["batch_size"]
        done = int(pd.read_csv(self.folder / "history.csv").step.iloc[-1])
        measured = origins.remembered(
            self.folder / "cost.json",
            {"weights": files.sha256(self.weights), "steps": steps},
            lambda: benchmark.rehearsed(self.weights, self.home, steps),
        )
        return {"trial": self.row, "slices_seen": done * batch_size} | measured


def planned(row, changes, fold, budget, quick=False):
    """The Trial of a row in a fold.

    changes  parameters of notebook 04 that make the row; `size`, that of whole slices, and
             `patients`, how many to learn from, need a run of its own.
    budget   parameters that all rows share, with epochs, seed, validations and device: they are
             part of the trial's name, so that another budget is another training.
    quick    narrow networks and small pictures.
    """
    size = changes.get("size", 0) // (4 if quick else 1)
    parameters = {k: v for k, v in changes.items() if k not in ("size", "patients")} | budget
    parameters |= {"precision": half_precision_supported(device_named(budget["device"]))}
    name = "{}.r{epochs}s{seed}v{validations}".format(row, **budget) + "q" * quick
    parameters |= {"trial": name, "loggers": ""} | (
        {"width": 4} if quick and "start_from" not in changes else {})
    return Trial(row, fold, beside(fold, size, changes.get("patients", 0)), parameters)


def beside(run, size=0, patients=0):
    """The run's own lists with whole slices of another size, or with fewer patients to learn from,
    a run like "fold1.384px" or "fold1.3patients"; the run itself where neither is asked for.

    Who validates stays: notebook 02 runs with the parameters it had, but for the size. A run of
    this size is given back. Raises FileNotFoundError when 02 hasn't run, RuntimeError when it
    fails, ValueError when a person has made a run of this name, or there aren't so many patients.
    """
    if not size and not patients:
        return run
    step = Step("02_filtering", run, {})
    if step.state != "done":
        unfinished = f"{step.name} has not come to its end for run '{run.name}'"
        raise FileNotFoundError(f"{unfinished}: run it first")
    made = files.read_json(run.lists / "recipe.json")["recipe"]["size"]
    if size == made and not patients:
        return run
    what = f"{size}px" if size else f"{patients}patients"
    other = runs.Run(f"{run.name}.{what}")
    mark, split = other.lists / "resized.json", other.lists / "split.csv"
    if other.known() and not mark.is_file():
        need = f"{what} of '{run.name}' need its name: give it another one"
        raise ValueError(f"the run '{other.name}' is there, and {need}")
    files.write_json(mark, {"of": run.name})
    as_text = {"dtype": str, "keep_default_na": False}
    of_split, of_cases = (
        pd.read_csv(run.lists / f"{name}.csv", **as_text) for name in ("split", "cases")
    )
    settings = files.read_json(step.stamp)["settings"]
    deciding = files.read_json(run.lists / "split.json")
    if patients:
        # so few don't fill all folds: who trains and who validates is known without them
        of_split = with_few(of_split, of_cases, patients).assign(fold="")
        of_cases = of_cases[of_cases.case.isin(of_split.case)]
        settings |= {"folds": 0, "fold": 0}
        deciding["made_with"]["folds"] = 0
    before = split.read_bytes() if split.is_file() else None
    files.write_csv(split, of_split)
    files.write_csv(other.lists / "cases.csv", of_cases)
    files.write_json(other.lists / "split.json", deciding)
    if (liver := liver_weights(run)).is_file():  # in whose regions tumours are judged
        liver_weights(other).parent.mkdir(parents=True, exist_ok=True)
        liver_weights(other).unlink(missing_ok=True)
        files.link(liver, liver_weights(other))
    if split.read_bytes() != before:
        Step(step.name, other, {}).stamp.unlink(missing_ok=True)  # its lists are of another split
    settings |= {"size": size or made, "run": other.name, "interactive": False}
    if jobs.carried_out(jobs.Job(step.name, settings), other)[0] != jobs.DONE:
        failed = f"the run '{other.name}' ({what} of '{run.name}') could not be made"
        raise RuntimeError(f"{failed}; see what {step.name} said")
    return other


def with_few(split, cases, patients):
    """split.csv with so many of its training patients that show tumour, drawn by their names.

    Raises ValueError where there are fewer.
    """
    shown = cases.case[pd.to_numeric(cases.tumour_ml) > 0]
    train = split[(split.split == "train") & split.case.isin(shown)]
    drawn = sorted(train.group.unique(), key=lambda group: lists.draw(0, group))[:patients]
    if len(drawn) < patients:
        raise ValueError(f"{patients} patients to learn from: {len(drawn)} of the split 'train' "
                         "show tumour")
    return split[(split.split != "train") | split.group.isin(drawn)]


def judged_cases(folds):
    """The validation cases of each fold: dict of run name -> list.

    Raises ValueError for a case that two folds judge.
    """
    judged = {fold.name: lists.read_lists(fold.lists)[1].case.unique().tolist() for fold in folds}
    cases = [case for of_fold in judged.values() for case in of_fold]
    if twice := sorted({case for case in cases if cases.count(case) > 1}):
        named = f"{', '.join(twice)} validate in two of them"
        raise ValueError(f"runs={','.join(judged)}: {named}; take the folds of one split")
    return judged


def judged_alike(trials):
    """Raise ValueError when a fold's tumour trials were judged in different livers' regions."""
    livers = {}
    for trial in trials:
        if trial.stage == "tumour":
            card = files.read_json(trial.folder / "final.json")
            liver = card["made_with"].get("liver") or "none, the references"
            livers.setdefault(trial.fold, {})[trial.folder] = liver
    for liver_of in livers.values():
        if len(set(liver_of.values())) > 1:
            named = "; ".join(f"{folder}: {liver}" for folder, liver in liver_of.items())
            raise ValueError(
                "these trainings were judged in regions of different liver networks, "
                f"delete the older ones: {named}"
            )
