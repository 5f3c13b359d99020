"""Our own recipe in the race of notebook 08: gate, liver and tumour, trained by notebook 04 in turns.

The validation patients are taken out of the lists that 04 reads: nothing is chosen by them, and no time goes into judging.
"""

import shutil
from pathlib import Path

from helpers import cascade, generations, jobs, lists, paths

SHARES = {"gate": 0.04, "liver": 0.60, "tumour": 0.36}  # of the learning minutes
KEPT = 48  # validations in a training: each keeps the newest weights, so those judged are at most 2 % of it old
TRIAL_STEPS = 40
DEVICE = "cpu"  # where the other contestants learn, too


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
        loaded = cascade.load(run.checkpoints, DEVICE, unfinished=True)
        minutes, steps = sum(state["minutes"] for state in states), sum(state["step"] for state in states)
        race.judge("ours", moment, minutes, steps, lambda volume, nets=loaded: cascade.segment(volume, nets).labels)
    return jobs.DONE


def own_run(race):
    """A run of its own beside the race's, whose lists hold the same training slices and no validation patients."""
    run = paths.Run(f"{race.run.name}-race{race.minutes:g}")
    for stage in ("liver", "tumour"):
        _linked(race.run.stores / stage, run.stores / stage)
    split = (race.run.lists / "split.csv").read_text(encoding="utf8")
    if (run.lists / "split.csv").is_file():
        if (run.lists / "split.csv").read_text(encoding="utf8") != split:
            raise ValueError(f"{run.lists} is of another split than {race.run.lists}: delete it, and {run.checkpoints}")
        return run
    run.lists.mkdir(parents=True, exist_ok=True)
    for file in [*lists.training_files(race.run.lists), race.run.lists / "cases.csv", race.run.lists / "recipe.json"]:
        paths.write_text(run.lists / file.name, file.read_text(encoding="utf8"))
    heading = (race.run.lists / "val.csv").read_text(encoding="utf8").partition("\n")[0]
    paths.write_text(run.lists / "val.csv", heading + "\n")
    paths.write_text(run.lists / "split.csv", split)  # the last: all is there
    return run


def _linked(source, folder):
    """The files of a store in another folder, without another copy of them where the disk allows it."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if not (folder / file.name).exists():
            paths.link(file, folder / file.name)


def _turn(run, stage, whole, until, left, signals):
    """Train a stage until it has learnt for `until` minutes of `whole`; returns DONE when it has, else PAUSED or FAILED."""
    if signals or left() <= 0:
        return jobs.PAUSED
    trial, rounds = run.checkpoints / f"{stage}-rounds.json", 1
    if whole >= 1 and not trial.is_file():  # how fast is it here? Thrown away, and not counted
        shutil.rmtree(run.checkpoints / stage, ignore_errors=True)
        if code := _sitting(run, stage, 1, steps=TRIAL_STEPS):
            return code
        rounds = rounds_in(_state(run, stage), whole, from_the_start=True)
        shutil.rmtree(run.checkpoints / stage)
        paths.write_json(trial, rounds)
    if (state := _state(run, stage)) and state["step"] >= TRIAL_STEPS:  # enough for a speed
        rounds = rounds_in(state, whole)
    elif trial.is_file():
        rounds = paths.read_json(trial)
    minutes = until - state.get("minutes", 0.0)
    if minutes < 0.001 or state and state["step"] >= state["total_steps"]:
        return jobs.DONE
    code = _sitting(run, stage, rounds, min(minutes, max(0.001, left() / 60)))
    return code or (jobs.PAUSED if signals or left() <= 0 else jobs.DONE)


def _sitting(run, stage, rounds, minutes=0.0, steps=0):
    """Notebook 04 for so many minutes or steps; DONE when they are up or the training is finished."""
    pause = {"chunk_minutes": float(minutes), "chunk_steps": steps}
    job = jobs.training(run, stage=stage, rounds=rounds, validations=KEPT, loggers="", device=DEVICE, **pause)
    before = _state(run, stage).get("minutes", 0.0)
    code, asked = jobs.carried_out(job, run)
    if code == jobs.PAUSED and not asked and (steps or _state(run, stage)["minutes"] - before > 0.9 * minutes):
        return jobs.DONE
    return jobs.PAUSED if asked else code  # a file `stop` ends a turn before its time


def _state(run, stage):
    """The newest state of a stage's training, {} before the first."""
    return generations.read_newest(Path(run.checkpoints / stage))[0] or {}


def rounds_in(state, whole, from_the_start=False):
    """Whole rounds over all chunks that a stage will have gone through when its minutes are up, at the speed so far.

    state  of a training: step, minutes, total_steps, and rounds in its settings.
    whole  minutes that the stage has in all; they begin anew for a trial that is thrown away, `from_the_start`.
    """
    step, minutes, per_round = state["step"], state["minutes"], state["total_steps"] // state["settings"]["rounds"]
    left = whole if from_the_start else max(0.0, whole - minutes)
    reached = step / minutes * left + (0 if from_the_start else step)
    return max(1, round(reached / per_round), step // per_round + 1)
