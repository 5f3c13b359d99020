"""A race: entrants learn for the same minutes from the same patients.

python -m helpers.comparing.race ours monai --run mine

Each one's clock counts learning only; at some moments it predicts the validation patients, and
every scan's Dice goes into reports/<run>/race-<minutes>.csv. Who is stopped resumes where it was
saved. Every call ends with the page of all that was judged so far, race-<minutes>.md; a call
without an entrant writes the page only.
"""

import argparse
import io
import math
import sys
import time

import filelock
import torch

from helpers import files, processes, runs
from helpers.comparing import nnunet, race_curve, race_entrants, race_ours
from helpers.comparing.race_curve import NAMES
from helpers.comparing.race_rules import Race
from helpers.processes import DONE, FAILED, PAUSED, USAGE

SAVED_SECONDS = 60.0


def learn(race, name, entrant, over):
    """Let an entrant learn and be judged until it is through or has to pause: DONE or PAUSED.

    entrant  has step(share of the time gone), predict(volume), start, state_dict, load_state_dict.
    over     function that says whether to pause; the state is saved then, at every moment, and
             every SAVED_SECONDS.
    """
    file, seconds, steps = race.folder(name) / "state.pt", 0.0, 0
    if file.is_file():
        state = torch.load(file, map_location="cpu", weights_only=True)
        entrant.load_state_dict(state["entrant"])
        seconds, steps = state["seconds"], state["steps"]
        if state["start"] != entrant.start:
            raise ValueError(
                f"{NAMES[name]}: it began from {state['start']} and finds {entrant.start} now; let "
                f"it find the same again, or delete {file.parent} and its rows of {race.table}"
            )
        at = f"{seconds / 60:.1f} minutes, {steps:,} steps"
        print(f"{NAMES[name]}: resumes after {at}", flush=True)

    def save():
        state = {"seconds": seconds, "steps": steps, "start": entrant.start}
        buffer = io.BytesIO()
        torch.save(state | {"entrant": entrant.state_dict()}, buffer)
        with files.written_whole(file) as beside:
            beside.write_bytes(buffer.getbuffer())

    saved = seconds
    while moment := race.next_moment(name):
        while seconds < 60 * race.minutes_at(moment):
            if over():
                save()
                return PAUSED
            began = time.monotonic()
            entrant.step(min(1.0, seconds / (60 * race.minutes)))
            seconds, steps = seconds + time.monotonic() - began, steps + 1
            if seconds - saved > SAVED_SECONDS:
                save()
                saved = seconds
        save()
        race.judge(name, moment, seconds / 60, steps, entrant.predict, entrant.start)
    return DONE


def entered(name, race):
    """The entrant, ready at the start; raises ModuleNotFoundError where its library is missing."""
    if name == "nnunet":
        return nnunet.Entrant(race.scratch / "nnunet", race.cases("train"))
    recipe = files.read_json(race.run.lists / "recipe.json")["recipe"]
    size, folder = recipe["size"], race.scratch / "slices"
    items = race_entrants.slices_of(folder, race.cases("train"), size)
    if name == "monai":
        return race_entrants.monai(items, size)
    return race_entrants.smp(items, size, recipe["windows"][0])


def main(words=None):
    """Run the command line `words`; returns the exit code."""
    processes.print_any_letter()
    plain, known = argparse.RawTextHelpFormatter, ", ".join(NAMES)
    ask = argparse.ArgumentParser(
        "python -m helpers.comparing.race", description=__doc__, formatter_class=plain
    )
    add = ask.add_argument
    add("names", nargs="*", metavar="ENTRANT", help=f"of {known}; they learn one after another")
    add("--run", required=True, help="with lists, stores and validation patients, by 01 and 02")
    add("--minutes", type=float, default=60.0, help="of learning; default 60")
    add("--moments", type=int, default=8, help="at which the patients are predicted; default 8")
    add("--sitting", type=float, default=math.inf, help="pause after so many minutes, exit code 75")
    words = ask.parse_args(words)
    if unknown := set(words.names) - set(NAMES):
        ask.error(f"{', '.join(sorted(unknown))} is no entrant; choose of {known}")
    end, code = time.monotonic() + 60 * words.sitting, DONE
    try:
        race = Race(runs.Run(words.run), words.minutes, words.moments)
        race.cases("val")
        if words.names:
            race.agree()
        elif not race.table.is_file():
            raise FileNotFoundError(f"{race.table}: nobody was judged yet; name some of {known}")
    except (ValueError, FileNotFoundError) as error:
        print(f"helpers.comparing.race: {error}", file=sys.stderr)
        return USAGE
    for name in words.names:
        if code == DONE:
            code = enter(name, race, lambda: end - time.monotonic())
    if race.table.is_file():
        page = race.table.with_suffix(".md")
        race_curve.write_page(race.rows(), page)
        print(f"{race_curve.sentence(race.rows())}\n{runs.relative(page)}")
    return code


def enter(name, race, left):
    """Let one entrant learn for the seconds that `left()` gives, in one process at a time; returns
    DONE, PAUSED or FAILED.
    """
    if race.next_moment(name) is None:
        print(f"{NAMES[name]}: is through")
        return DONE
    try:
        with filelock.FileLock(race.folder(name).with_suffix(".lock"), timeout=0):
            entrant = None if name == "ours" else entered(name, race)
            # signals not before: workers that nnU-Net prepares with have to obey SIGTERM
            with processes.collected() as signals:
                if name == "ours":
                    code = race_ours.learn(race, left, signals)
                else:
                    code = learn(race, name, entrant, lambda: bool(signals) or left() <= 0)
    except filelock.Timeout:
        print(f"helpers.comparing.race: {NAMES[name]} is racing in another process; wait for it",
              file=sys.stderr)
        return FAILED
    if code == PAUSED:
        print(f"{NAMES[name]}: paused; run again to resume")
    return code


if __name__ == "__main__":
    sys.exit(main())
