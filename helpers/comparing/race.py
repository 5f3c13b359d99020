"""The race of notebook 08: contestants learn for the same minutes from the same patients: python -m helpers.comparing.race.

Each contestant is a process of its own. Its clock counts learning only; at some moments it predicts the validation patients,
and every case's Dice goes into `reports/<run>/race-<minutes>.csv`. A contestant that is stopped goes on where it saved.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from helpers import files, jobs, processes, runs
from helpers.cascade import inference, pipeline
from helpers.comparing import baseline_recipes, nnunet, race_curve
from helpers.comparing.race_curve import NAMES
from helpers.jobs import DONE, FAILED, PAUSED, USAGE
from helpers.learning import checkpoints
from helpers.slices import lists

SHARES = {"gate": 0.04, "liver": 0.60, "tumour": 0.36}  # of the learning minutes
KEPT = 48  # validations in a training: each keeps the newest weights, so those judged are at most 2 % of it old
TRIAL_STEPS = 40
DEVICE = "cpu"  # where the other contestants learn, too


def entered(name, race):
    """The contestant, ready at the start; raises ModuleNotFoundError where its library is missing."""
    if name == "nnunet":

        return nnunet.Contestant(race.scratch / "nnunet", race.cases("train"))

    recipe = files.read_json(race.run.lists / "recipe.json")["recipe"]
    items = baseline_recipes.slices_of(race.scratch / "slices", race.cases("train"), recipe["size"])
    if name == "monai":
        return baseline_recipes.monai(items, recipe["size"])
    return baseline_recipes.smp(items, recipe["size"], recipe["windows"][0])


def called(name, race, python=""):
    """Run a contestant as a process of its own, showing what it says; returns DONE or PAUSED.

    python  with nnunetv2, for nnU-Net; empty takes this one. Raises RuntimeError when the contestant fails.
    """
    words = ["-m", "helpers.comparing.race", name, "--run", race.run.name, "--minutes", race.minutes, "--moments", race.moments]
    command = [python or sys.executable, *words]
    env = os.environ | {"CASCADE_LIVER_ROOT": str(runs.ROOT), "PYTHONPATH": str(runs.HERE), "PYTHONUNBUFFERED": "1"}
    said, piped = [], {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([str(w) for w in command], text=True, cwd=runs.HERE, env=env, **piped) as process:
        for line in process.stdout:
            said = [*said[-40:], line]
            if line.startswith(NAMES[name]):
                print(line, end="", flush=True)
    if process.returncode not in (DONE, PAUSED):
        raise RuntimeError(f"the race: {NAMES[name]} ended with {process.returncode}: {''.join(said)}")
    return process.returncode


def main(words=None):
    """Run the command line `words`; returns the exit code."""
    ask = argparse.ArgumentParser("python -m helpers.comparing.race", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ask.add_argument("name", choices=list(NAMES))
    ask.add_argument("--run", required=True, help="a run with lists, stores and validation patients, made by 01 and 02")
    ask.add_argument("--minutes", type=float, default=60.0, help="of learning; default 60")
    ask.add_argument("--moments", type=int, default=8, help="how often the validation patients are predicted; default 8")
    ask.add_argument("--sitting", type=float, default=0.0, help="pause after so many minutes with exit code 75; 0 for no limit")
    asked = ask.parse_args(words)
    try:
        race = race_curve.Race(runs.Run(asked.run), asked.minutes, asked.moments)
        race.cases("val")
        race.agree()
    except (ValueError, FileNotFoundError) as error:
        print(f"helpers.comparing.race: {error}", file=sys.stderr)
        return USAGE
    if race.next_moment(asked.name) is None:
        print(f"{NAMES[asked.name]}: is through")
        return DONE
    import filelock

    try:
        with filelock.FileLock(race.folder(asked.name).with_suffix(".lock"), timeout=0):
            return raced(asked, race)
    except filelock.Timeout:
        print(f"helpers.comparing.race: {NAMES[asked.name]} is racing in another process; wait for it", file=sys.stderr)
        return FAILED


def raced(asked, race):
    """Let one contestant learn, as the command line `asked` for; returns DONE, PAUSED or FAILED."""
    began = time.monotonic()
    contestant = None if asked.name == "ours" else entered(asked.name, race)
    with processes.collected() as signals:  # not before: workers that nnU-Net prepares with have to obey SIGTERM
        left = (lambda: 60 * asked.sitting - time.monotonic() + began) if asked.sitting else (lambda: float("inf"))
        if asked.name == "ours":

            code = learn(race, left, signals)
        else:
            code = race_curve.learn(race, asked.name, contestant, lambda: bool(signals) or left() <= 0)
    if code == PAUSED:
        print(f"{NAMES[asked.name]}: paused; run again to go on")
    return code


def learn(race, left, signals):
    """Train in turns until all moments are judged, or it has to pause; returns DONE, PAUSED or FAILED.

    left     function that gives the seconds left of this sitting.
    signals  list that isn't empty any more when the process shall end.
    """
    run = own_run(race)
    while moment := race.next_moment("ours"):
        for stage, share in SHARES.items():
            code = _turn(run, stage, share * race.minutes, share * race.minutes_at(moment), left, signals)
            if code != jobs.DONE:
                return code
        states = [_state(run, stage) for stage in SHARES]
        loaded = inference.load(run.checkpoints, DEVICE, unfinished=True)
        minutes, steps = sum(state["minutes"] for state in states), sum(state["step"] for state in states)
        race.judge("ours", moment, minutes, steps, lambda volume, nets=loaded: pipeline.segment(volume, nets).labels)
    return jobs.DONE


def own_run(race):
    """A run of its own beside the race's, whose lists hold the same training slices and no validation patients."""
    run = runs.Run(f"{race.run.name}-race{race.minutes:g}")
    for stage in ("liver", "tumour"):
        _linked(race.run.stores / stage, run.stores / stage)
    split = (race.run.lists / "split.csv").read_text(encoding="utf8")
    if (run.lists / "split.csv").is_file():
        if (run.lists / "split.csv").read_text(encoding="utf8") != split:
            raise ValueError(f"{run.lists} is of another split than {race.run.lists}: delete it, and {run.checkpoints}")
        return run
    run.lists.mkdir(parents=True, exist_ok=True)
    for file in [*lists.training_files(race.run.lists), race.run.lists / "cases.csv", race.run.lists / "recipe.json"]:
        files.write_text(run.lists / file.name, file.read_text(encoding="utf8"))
    heading = (race.run.lists / "val.csv").read_text(encoding="utf8").partition("\n")[0]
    files.write_text(run.lists / "val.csv", heading + "\n")
    files.write_text(run.lists / "split.csv", split)  # the last: all is there
    return run


def _linked(source, folder):
    """The files of a store in another folder, without another copy of them where the disk allows it."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if not (folder / file.name).exists():
            files.link(file, folder / file.name)


def _turn(run, stage, whole, until, left, signals):
    """Train a stage until it has learnt for `until` minutes of `whole`; returns DONE when it has, else PAUSED or FAILED."""
    if signals or left() <= 0:
        return jobs.PAUSED
    trial, epochs = run.checkpoints / f"{stage}-epochs.json", 1
    if whole >= 1 and not trial.is_file():  # how fast is it here? Thrown away, and not counted
        shutil.rmtree(run.checkpoints / stage, ignore_errors=True)
        if code := _sitting(run, stage, 1, steps=TRIAL_STEPS):
            return code
        epochs = epochs_in(_state(run, stage), whole, from_the_start=True)
        shutil.rmtree(run.checkpoints / stage)
        files.write_json(trial, epochs)
    if (state := _state(run, stage)) and state["step"] >= TRIAL_STEPS:  # enough for a speed
        epochs = epochs_in(state, whole)
    elif trial.is_file():
        epochs = files.read_json(trial)
    minutes = until - state.get("minutes", 0.0)
    if minutes < 0.001 or state and state["step"] >= state["total_steps"]:
        return jobs.DONE
    code = _sitting(run, stage, epochs, min(minutes, max(0.001, left() / 60)))
    return code or (jobs.PAUSED if signals or left() <= 0 else jobs.DONE)


def _sitting(run, stage, epochs, minutes=0.0, steps=0):
    """Notebook 04 for so many minutes or steps; DONE when they are up or the training is finished."""
    pause = {"chunk_minutes": float(minutes), "chunk_steps": steps}
    job = jobs.training(run, stage=stage, epochs=epochs, validations=KEPT, loggers="", device=DEVICE, **pause)
    before = _state(run, stage).get("minutes", 0.0)
    code, asked = jobs.carried_out(job, run)
    if code == jobs.PAUSED and not asked and (steps or _state(run, stage)["minutes"] - before > 0.9 * minutes):
        return jobs.DONE
    return jobs.PAUSED if asked else code  # a file `stop` ends a turn before its time


def _state(run, stage):
    """The newest state of a stage's training, {} before the first."""
    return checkpoints.read_newest(Path(run.checkpoints / stage))[0] or {}


def epochs_in(state, whole, from_the_start=False):
    """Whole epochs over all chunks that a stage will have gone through when its minutes are up, at the speed so far.

    state  of a training: step, minutes, total_steps, and epochs in its settings.
    whole  minutes that the stage has in all; they begin anew for a trial that is thrown away, `from_the_start`.
    """
    step, minutes, per_epoch = state["step"], state["minutes"], state["total_steps"] // state["settings"]["epochs"]
    left = whole if from_the_start else max(0.0, whole - minutes)
    reached = step / minutes * left + (0 if from_the_start else step)
    return max(1, round(reached / per_epoch), step // per_epoch + 1)


if __name__ == "__main__":
    sys.exit(main())
