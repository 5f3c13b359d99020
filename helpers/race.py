"""The race of notebook 08: contestants learn for the same minutes from the same patients: python -m helpers.race.

Each contestant is a process of its own. Its clock counts learning only; at some moments it predicts the validation patients,
and every case's Dice goes into `reports/<run>/race-<minutes>.csv`. A contestant that is stopped goes on where it saved.
"""

import argparse
import os
import subprocess
import sys
import time

from helpers import course, interrupts, paths
from helpers.course import NAMES
from helpers.jobs import DONE, FAILED, PAUSED, USAGE


def entered(name, race):
    """The contestant, ready at the start; raises ModuleNotFoundError where its library is missing."""
    if name == "nnunet":
        from helpers import nnunet

        return nnunet.Contestant(race.scratch / "nnunet", race.cases("train"))
    from helpers import contestants

    recipe = paths.read_json(race.run.lists / "recipe.json")["recipe"]
    items = contestants.slices_of(race.scratch / "slices", race.cases("train"), recipe["size"])
    if name == "monai":
        return contestants.monai(items, recipe["size"])
    return contestants.smp(items, recipe["size"], recipe["windows"][0])


def called(name, race, python=""):
    """Run a contestant as a process of its own, showing what it says; returns DONE or PAUSED.

    python  with nnunetv2, for nnU-Net; empty takes this one. Raises RuntimeError when the contestant fails.
    """
    words = ["-m", "helpers.race", name, "--run", race.run.name, "--minutes", race.minutes, "--moments", race.moments]
    command = [python or sys.executable, *words]
    env = os.environ | {"CASCADE_LIVER_ROOT": str(paths.ROOT), "PYTHONPATH": str(paths.HERE), "PYTHONUNBUFFERED": "1"}
    said, piped = [], {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([str(w) for w in command], text=True, cwd=paths.HERE, env=env, **piped) as process:
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
        race = course.Race(paths.Run(asked.run), asked.minutes, asked.moments)
        race.cases("val")
        race.agree()
    except (ValueError, FileNotFoundError) as error:
        print(f"helpers.race: {error}", file=sys.stderr)
        return USAGE
    if race.next_moment(asked.name) is None:
        print(f"{NAMES[asked.name]}: is through")
        return DONE
    import filelock

    try:
        with filelock.FileLock(race.folder(asked.name).with_suffix(".lock"), timeout=0):
            return raced(asked, race)
    except filelock.Timeout:
        print(f"helpers.race: {NAMES[asked.name]} is racing in another process; wait for it", file=sys.stderr)
        return FAILED


def raced(asked, race):
    """Let one contestant learn, as the command line `asked` for; returns DONE, PAUSED or FAILED."""
    began = time.monotonic()
    contestant = None if asked.name == "ours" else entered(asked.name, race)
    with interrupts.collected() as signals:  # not before: workers that nnU-Net prepares with have to obey SIGTERM
        left = (lambda: 60 * asked.sitting - time.monotonic() + began) if asked.sitting else (lambda: float("inf"))
        if asked.name == "ours":
            from helpers import turns

            code = turns.learn(race, left, signals)
        else:
            code = course.learn(race, asked.name, contestant, lambda: bool(signals) or left() <= 0)
    if code == PAUSED:
        print(f"{NAMES[asked.name]}: paused; run again to go on")
    return code


if __name__ == "__main__":
    sys.exit(main())
