"""Training in sittings: when to save, when to pause, and how to resume exactly from there."""

import contextlib
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import filelock
import pandas as pd
import torch

from helpers import files, processes, together
from helpers.learning import checkpoints, threads
from helpers.learning.training import Training

AHEAD = 8  # at most so many batches are made while steps are taken, each by a thread of its own
# of the time: where saving is slow, it is done more rarely than every `save_seconds`
SAVING_SHARE = 0.05
RARELY_SECONDS = 600  # but so often at least: a computer that slept while it saved seemed slow


def resume(folder, parts, plan):
    """The Training in a folder: from its newest sound generation, or from the start when there is
    none.

    parts  dict of everything with a state_dict: network, optimiser, scheduler, ema. Where the plan
           has another number of steps than the saved state, a part's `move_end(step, total_steps)`
           is called.
    plan   plans.Plan.
    Raises ValueError for other settings than the saved ones, RuntimeError when every generation is
    damaged or gone.
    """
    training = Training(folder, parts, plan)
    training.folder.mkdir(parents=True, exist_ok=True)
    training.known_files = checkpoints.newest_first(training.folder)
    state, notes = together.of_first(checkpoints.read_newest, training.folder)
    for note in notes:
        print(note)
    if state:
        training.restore(state)
        print(f"resumes at step {training.step:,} of {plan.total_steps:,}")
    elif weights := sorted(path.name for path in training.folder.glob("*.safetensors")):
        raise RuntimeError(
            f"{folder}: holds {', '.join(weights)}, but no generation to resume from; put the "
            "generations back, choose another run name, or delete the folder to train afresh"
        )
    return training


def sitting(training, batches, minutes=0.0, steps=0):
    """Yield (step, batch) until the training is finished or has to pause; save now and then, and at
    the end. While a step is taken, threads on half of the cores make the next batches.

    It pauses after `minutes` or `steps` (0 for no limit), for a file named `stop` in the training's
    folder or the one above (which it removes), and on SIGINT and SIGTERM: the interrupt button of a
    notebook sends the first.
    Raises RuntimeError when another process trains in the same folder, or has since this one read
    it.
    """
    ahead = min(AHEAD, max(1, processes.cores() // 2))
    makers = ThreadPoolExecutor(ahead, initializer=torch.set_num_threads, initargs=(1,))
    with _held(training), processes.collected(impatient=True) as signals, makers, \
            threads.measured(training, batches) as taken:
        training.began = began = time.monotonic()
        first = training.step
        stops = [folder / "stop" for folder in (training.folder, training.folder.parent)]
        if not training.is_saved:
            training.save()
        saved, took = time.monotonic(), []
        coming = deque(makers.submit(batches, first + k) for k in range(ahead))
        while not training.finished:
            steps_are_up = steps and training.step - first >= steps
            minutes_count = minutes if training.step > first else 0  # each sitting learns something
            reason = _reason(signals, stops, steps_are_up, minutes_count, began)
            training.paused_by = together.any_of(reason)
            if training.paused_by:
                break
            # dropout, where a network has it
            torch.manual_seed(1_000_003 * batches.seed + training.step)
            position, batch = batches.position(training.step), coming.popleft().result()
            coming.append(makers.submit(batches, training.step + ahead))
            training.in_step = True
            stepped = time.monotonic()
            yield training.step, batch
            took.append(time.monotonic() - stepped)
            training.step, training.is_saved, training.in_step = training.step + 1, False, False
            if batches.position(training.step)[:2] != position[:2] and "ema" in training.parts:
                averaged, card = training.parts["ema"].module, training.card_at(training.step)
                training.write(f"chunk_{position[1] + 1:02d}", averaged, card)
            rarely = min(training.save_took / SAVING_SHARE, RARELY_SECONDS)
            wait = max(training.plan.save_seconds, rarely)
            if time.monotonic() - saved > wait:
                taken.reconsider(took)
                training.save()
                saved, took = time.monotonic(), []
                print(_progress(training, first, saved - began), flush=True)
        if not training.is_saved:
            training.save()
        training.minutes, training.began = training.minutes_now(), None
        _write_history(training)
        for stop in stops:
            stop.unlink(missing_ok=True)
        together.wait()  # until the first process has written all


def _write_history(training):
    frame = pd.DataFrame(training.history)
    if len(frame):
        frame.insert(1, "minutes", [round(minutes, 3) for minutes in training.clock])
    with training.naming_what_fails("history.csv"):
        files.write_csv(training.folder / "history.csv", frame)


def _progress(training, first, seconds):
    left = (training.plan.total_steps - training.step) * seconds / (training.step - first) / 60
    recent = training.losses[-50:]
    loss = f", loss {sum(recent) / len(recent):.3f}" if recent else ""
    best = f", best score {training.best:.3f}" if training.best >= 0 else ""
    at = f"step {training.step:,} of {training.plan.total_steps:,}"
    return f"{at}{loss}{best}, about {left:.0f} min left"


def _reason(signals, stops, steps_are_up, minutes, began):
    if signals:
        return f"{signals[0]} received"
    if any(stop.exists() for stop in stops):
        return "a file named stop"
    if steps_are_up:
        return "chunk_steps are up"
    return "chunk_minutes are up" if minutes and time.monotonic() - began > 60 * minutes else ""


@contextlib.contextmanager
def _held(training):
    """The training's folder for this process and those it trains with, tidied after processes
    that were killed in it.
    """
    folder = training.folder
    if together.rank():
        yield
        return
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    with training.naming_what_fails("the lock"):
        try:
            lock.acquire()
        except filelock.Timeout:
            raise RuntimeError(
                f"another process is training in {folder}; wait for it, or choose another run name"
            ) from None
    try:
        if checkpoints.newest_first(folder) != training.known_files:
            raise RuntimeError(
                f"{folder}: another process has trained here since its state was read; "
                "run this notebook again"
            )
        files.remove_leftovers(folder)
        # the last sitting broke off in the middle of a step, by an error or a second interrupt
        if training.in_step:
            training.restore(checkpoints.read_newest(folder)[0])
            print(f"resumes from step {training.step:,}, the last one saved")
        # a process killed before its next save may have left the weights of a later step
        if training.best_weights:
            training.write("best", training.best_weights, training.best_card)
        yield
    finally:
        lock.release()
