"""Our own entrant of the race: notebook 04 trains the stages in turns, the cascade predicts."""

import shutil

from helpers import files, runs
from helpers.cascade import pipeline
from helpers.cascade.weights import load_networks
from helpers.learning import checkpoints
from helpers.processes import DONE, PAUSED
from helpers.running import jobs
from helpers.slices import lists

SHARES = {"gate": 0.04, "liver": 0.60, "tumour": 0.36}  # of the learning minutes
KEPT = 48  # validations: each keeps the newest weights, so those judged are at most 2 % of it old
TRIAL_STEPS = 40
DEVICE = "cpu"  # where the other entrants learn, too


def learn(race, left, signals):
    """Train in turns until all moments are judged; returns DONE, else PAUSED or FAILED.

    left     function that gives the seconds left of this sitting.
    signals  list that isn't empty any more when the process shall end.
    """
    run = run_beside(race)
    while moment := race.next_moment("ours"):
        for stage, share in SHARES.items():
            whole, until = share * race.minutes, share * race.minutes_at(moment)
            code = take_turn(run, stage, whole, until, left, signals)
            if code != DONE:
                return code
        states = [newest_state(run, stage) for stage in SHARES]
        networks = load_networks(run.checkpoints, DEVICE, unfinished=True)
        minutes, steps = (sum(state[name] for state in states) for name in ("minutes", "step"))
        race.judge("ours", moment, minutes, steps,
                   lambda volume, networks=networks: pipeline.segment(volume, networks).labels)
    return DONE


def run_beside(race):
    """A run of its own with the race's training slices, and without validation patients."""
    run, source = runs.Run(f"{race.run.name}-race{race.minutes:g}"), race.run
    for stage in ("liver", "tumour"):  # not copied where the disk allows it
        for file in (source.stores / stage).iterdir():
            link = run.stores / stage / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                files.link(file, link)
    split = (source.lists / "split.csv").read_text(encoding="utf8")
    if (run.lists / "split.csv").is_file():
        if (run.lists / "split.csv").read_text(encoding="utf8") != split:
            advice = f"delete it, and {run.checkpoints}"
            raise ValueError(f"{run.lists} is of another split than {source.lists}: {advice}")
        return run
    chunks = [file.name for file in lists.training_files(source.lists)]
    for name in (*chunks, "cases.csv", "recipe.json"):
        files.write_text(run.lists / name, (source.lists / name).read_text(encoding="utf8"))
    heading = (source.lists / "val.csv").read_text(encoding="utf8").partition("\n")[0]
    files.write_text(run.lists / "val.csv", heading + "\n")
    files.write_text(run.lists / "split.csv", split)  # the last: all is there
    return run


def take_turn(run, stage, whole, until, left, signals):
    """Train a stage until it has learnt for `until` minutes of `whole`.

    returns  DONE when it has, else PAUSED or FAILED.
    """
    if signals or left() <= 0:
        return PAUSED
    trial, epochs = run.checkpoints / f"{stage}-epochs.json", 1
    if whole >= 1 and not trial.is_file():  # how fast is it here? Thrown away, and not counted
        shutil.rmtree(run.checkpoints / stage, ignore_errors=True)
        if code := train(run, stage, 1, steps=TRIAL_STEPS):
            return code
        epochs = epochs_in(newest_state(run, stage), whole, from_the_start=True)
        shutil.rmtree(run.checkpoints / stage)
        files.write_json(trial, epochs)
    if (state := newest_state(run, stage)) and state["step"] >= TRIAL_STEPS:  # enough for a speed
        epochs = epochs_in(state, whole)
    elif trial.is_file():
        epochs = files.read_json(trial)
    minutes = until - state.get("minutes", 0.0)
    if minutes < 0.001 or state and state["step"] >= state["total_steps"]:
        return DONE
    code = train(run, stage, epochs, min(minutes, max(0.001, left() / 60)))
    return code or (PAUSED if signals or left() <= 0 else DONE)


def train(run, stage, epochs, minutes=0.0, steps=0):
    """Notebook 04 for so many minutes or steps; DONE when they are up or it is finished."""
    budget = {"epochs": epochs, "chunk_minutes": float(minutes), "chunk_steps": steps}
    fixed = {"validations": KEPT, "loggers": "", "device": DEVICE}
    before = newest_state(run, stage).get("minutes", 0.0)
    code, signal = jobs.carried_out(jobs.training(run, stage=stage, **budget, **fixed), run)
    if signal or code != PAUSED:
        return PAUSED if signal else code
    learnt = newest_state(run, stage)["minutes"] - before
    return DONE if steps or learnt > 0.9 * minutes else PAUSED  # else a file `stop` ended it


def newest_state(run, stage):
    """The newest state of a stage's training, {} before the first."""
    return checkpoints.read_newest(run.checkpoints / stage)[0] or {}


def epochs_in(state, whole, from_the_start=False):
    """Whole epochs that a stage will have gone through when its minutes are up, at its speed.

    state           of a training: step, minutes, total_steps, and epochs in its settings.
    whole           minutes that the stage has in all.
    from_the_start  they begin anew, for a trial that is thrown away.
    """
    step, minutes = state["step"], state["minutes"]
    per_epoch = state["total_steps"] // state["settings"]["epochs"]
    left = whole if from_the_start else max(0.0, whole - minutes)
    reached = step / minutes * left + (0 if from_the_start else step)
    return max(1, round(reached / per_epoch), step // per_epoch + 1)
