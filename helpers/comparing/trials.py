"""A row of notebook 07 in one fold: a training by notebook 04, kept apart from the run's own, with its scores and its cost."""

import json
import math
import sys
import time
from dataclasses import dataclass

import pandas as pd

from helpers import files, jobs, origins, runs
from helpers.cascade import inference
from helpers.cascade.liver import largest_component
from helpers.cascade.precision import device_named, half_precision_supported
from helpers.cascade.weights import build, load_network
from helpers.comparing import timing
from helpers.intake import case_table
from helpers.scans import reading
from helpers.scans.volume import with_likely_spacing
from helpers.scoring import metrics
from helpers.slices import lists, recipe
from helpers.slices.pixels import level
from helpers.steps import Step


@dataclass(frozen=True)
class Trial:
    """One training of notebook 07.

    row         its name in the notebook's table.
    fold        runs.Run on whose validation patients it is judged.
    home        runs.Run whose lists and slices it learns from: the fold, or one of another size of slices beside it.
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
        """True when it has come to its end. Raises ValueError when its parameters, lists or slices are others now."""
        step = self.job().stage(self.home)
        if step.state != "done" or not self.weights.is_file():
            return False
        if reasons := step.changes():
            changes = "; ".join(reasons)
            raise ValueError(f"{self.folder}: was trained otherwise than is asked for now: {changes}; delete it to go on")
        return True

    def train(self, until=math.inf):
        """Train, or resume, until a moment of time.monotonic(); returns DONE, PAUSED or FAILED of `jobs`."""
        if self.finished():
            code = jobs.DONE
        elif (left := until - time.monotonic()) <= 0:
            code = jobs.PAUSED
        else:
            code, _ = jobs.carried_out(self.job(0.0 if left == math.inf else left / 60), self.home)
        if code == jobs.DONE:
            self.slim()
        return code

    def slim(self):
        """Remove what only resuming would need: a state of a large network takes a gigabyte or two."""
        if (self.folder / "validation.csv").is_file():
            for pattern in ("generation-*", "chunk_*.safetensors", "best.safetensors"):
                for file in self.folder.glob(pattern):
                    file.unlink(missing_ok=True)

    def missing_weights(self):
        """Why the weights that others trained can't be had; "" where they can, or none are needed any more."""
        encoder_weights = self.parameters.get("options", {}).get("encoder_weights")
        if encoder_weights and not self.weights.is_file():
            try:
                build(self.parameters["model"], 3, encoder_weights=encoder_weights)
            except RuntimeError as error:
                return str(error)
        return ""

    def scores(self):
        """DataFrame trial, case, score; for livers also all_components, the score before the largest one is chosen."""
        if self.stage != "liver":
            table = pd.read_csv(self.folder / "validation.csv", dtype={"case": str}, keep_default_na=False)
            return table.assign(trial=self.row)
        cases = case_table.read_table(self.fold.lists / "cases.csv")
        rows = cases[cases.case.isin(lists.read_lists(self.fold.lists)[1].case)]
        made_of = {"weights": files.sha256(self.weights), "scans": rows.bytes.tolist()}
        device = device_named(self.parameters["device"])
        record = self.folder / "liver_scores.json"
        dice = origins.remembered(record, made_of, lambda: liver_scores(self.weights, rows, device))
        table = pd.DataFrame({"score": dice["largest"], "all_components": dice["all"]}).rename_axis("case")
        return table.reset_index().assign(trial=self.row)

    def cost(self, steps):
        """What the training takes, as a row of the table: slices_seen, and what `speed` measures over some steps."""
        batch_size = files.read_json(self.folder / "final.json")["settings"]["batch_size"]
        slices_seen = int(pd.read_csv(self.folder / "history.csv").step.iloc[-1]) * batch_size
        made_of = {"weights": files.sha256(self.weights), "steps": steps}
        measured = origins.remembered(self.folder / "cost.json", made_of, lambda: speed(self.weights, self.home, steps))
        return {"trial": self.row, "slices_seen": slices_seen} | measured


def planned(row, changes, fold, budget, quick=False):
    """The Trial of a row in a fold.

    changes  parameters of notebook 04 that make the row; `size`, that of whole slices, needs a run of its own.
    budget   parameters that all rows share, with epochs, seed, validations and device: they are part of the trial's name, so
             that another budget is another training.
    quick    narrow networks and small pictures.
    """
    size = changes.get("size", 0) // (4 if quick else 1)
    parameters = {name: value for name, value in changes.items() if name != "size"} | budget | {"loggers": ""}
    parameters["precision"] = half_precision_supported(device_named(budget["device"]))
    parameters["trial"] = "{}.r{epochs}s{seed}v{validations}{}".format(row, "q" if quick else "", **budget)
    if quick:
        parameters["width"] = 4
    return Trial(row, fold, resized(fold, size) if size else fold, parameters)


def resized(run, size):
    """The run's own lists with whole slices of another size, as a run of its own: "fold1" at 384 pixels is "fold1-384".

    Split and chunks stay: notebook 02 runs with the parameters it had, but for the size. A run of this size is given back.
    Raises FileNotFoundError when 02 hasn't run, RuntimeError when it fails, ValueError when a person has made a run of this name.
    """
    step = Step("02_filtering", run, {})
    if step.state != "done":
        raise FileNotFoundError(f"02_filtering has not come to its end for run '{run.name}': run it first")
    if files.read_json(run.lists / "recipe.json")["recipe"]["size"] == size:
        return run
    other = runs.Run(f"{run.name}-{size}")
    mark, split = other.lists / "resized.json", other.lists / "split.csv"
    if other.known() and not mark.is_file():
        raise ValueError(f"the run '{other.name}' is there, and slices of {size} pixels need its name: give it another one")
    files.write_json(mark, {"of": run.name})
    if split.is_file() and files.sha256(split) != files.sha256(run.lists / "split.csv"):
        Step("02_filtering", other, {}).stamp.unlink(missing_ok=True)  # 02 runs again: its lists are of another split
    for name in ("cases.csv", "split.csv", "split.json"):
        files.write_text(other.lists / name, (run.lists / name).read_text(encoding="utf8"))
    settings = files.read_json(step.stamp)["settings"] | {"size": size, "run": other.name, "interactive": False}
    if jobs.carried_out(jobs.Job("02_filtering", settings), other)[0] != jobs.DONE:
        raise RuntimeError(f"the slices of {size} pixels for run '{run.name}' could not be made; see what 02_filtering said")
    return other


def judged_cases(folds):
    """The validation cases of each fold: dict of run name -> list. Raises ValueError for a case that two folds judge."""
    judged = {fold.name: lists.read_lists(fold.lists)[1].case.unique().tolist() for fold in folds}
    cases = [case for of_fold in judged.values() for case in of_fold]
    if twice := sorted({case for case in cases if cases.count(case) > 1}):
        raise ValueError(f"runs={','.join(judged)}: {', '.join(twice)} validate in two of them; take the folds of one split")
    return judged


def judged_alike(trials):
    """Raise ValueError when tumour trials of one fold were judged in regions that different liver networks had predicted."""
    livers = {}
    for trial in trials:
        if trial.stage == "tumour":
            liver = files.read_json(trial.folder / "final.json")["made_with"].get("liver") or "none, the references"
            livers.setdefault(trial.fold, {})[trial.folder] = liver
    for liver_of in livers.values():
        if len(set(liver_of.values())) > 1:
            named = "; ".join(f"{folder}: {liver}" for folder, liver in liver_of.items())
            raise ValueError(f"these trainings were judged in regions of different liver networks, delete the older ones: {named}")


def liver_scores(weights, rows, device):
    """Dice of the liver on the scan's own grid, so that networks of different input sizes compare: over all of its slices.

    weights  file of a liver network; rows: rows of cases.csv; device: torch.device that predicts.
    returns  {"all": {case: Dice of all that was found}, "largest": {case: Dice of the largest 3-D component}}.
    """
    network = load_network(weights, device)
    scores = {"all": {}, "largest": {}}
    for _, row in rows.iterrows():
        volume, labels = reading.read_row(row)
        volume = with_likely_spacing(volume)
        liver = inference.probability(network, recipe.whole_slices(volume, network.recipe)) >= level(0.5)
        reference = labels >= 1
        for name, mask in (("all", liver), ("largest", largest_component(liver)[0])):
            scores[name][row.case] = float(metrics.dice(reference.sum(), mask.sum(), (reference & mask).sum()))
    return scores


def speed(weights, run, steps):
    """What a training of these weights' network costs, measured in a process of its own on the run's lists and stores.

    returns  dict: parameters_m and learnt_m (millions), slices_per_second of one core by the processor's clock, so that other
             programs disturb it little, peak_gib.
    """
    rehearse = [sys.executable, "-m", "helpers.comparing.benchmark", "rehearse", weights, "--run", run.name, "--steps", steps]
    done = timing.of_process(rehearse)
    printed = [line for line in done["output"].splitlines() if line.startswith("{")]
    return json.loads(printed[-1]) | {"peak_gib": done["peak_gib"]}
