"""Training in sittings: the state of a training, when to save, when to pause, and how to go on exactly from there."""

import contextlib
import signal
import time
from pathlib import Path

import filelock
import numpy as np
import torch

from helpers import generations, networks, paths, stages

COUNTED = ("step", "history", "best", "best_step", "stale", "losses")  # the plain values of a saved state


class Training:
    """The state of one stage's training, in memory and in a folder; made by `resume`.

    step       steps done; the next batch is that of this number.
    history    a dict per validation: step, minutes, loss, rate, score and what else was judged.
    best       highest score so far, at step `best_step`; its weights are in best.safetensors.
    """

    def __init__(self, folder, settings, parts, total_steps, card, validate_every, patience=0, save_seconds=60.0):
        self.folder, self.settings, self.parts, self.total_steps = Path(folder), settings, parts, total_steps
        self.card, self.validate_every, self.patience, self.save_seconds = card, validate_every, patience, save_seconds
        self.step, self.history, self.best, self.best_step, self.stale = 0, [], -1.0, 0, 0
        self.minutes, self.losses, self.notes, self.paused_by = 0.0, [], [], ""

    @property
    def finished(self):
        return self.step >= self.total_steps or bool(self.patience and self.stale >= self.patience)

    @property
    def due_to_validate(self):
        """True within the step after which a validation is due."""
        return (self.step + 1) % self.validate_every == 0 or self.step + 1 == self.total_steps

    @property
    def sentence(self):
        """Where the training stands."""
        at = f"step {self.step:,} of {self.total_steps:,}"
        best = f"; best score {self.best:.3f} at step {self.best_step:,}" if self.best >= 0 else ""
        if self.finished:
            early = f", stopped early: no better score in {self.patience} validations" if self.step < self.total_steps else ""
            return f"finished at {at}{early}{best}"
        return f"paused at {at} ({self.paused_by}): run again to go on{best}"

    def log(self, loss):
        """Note the loss of this step, a float."""
        self.losses.append(float(loss))

    def judge(self, network, **scores):
        """Note a validation; `score` decides what is best, and the best network's weights are kept.

        Without a score, because every patient trains, the newest weights are kept.
        """
        mean = sum(self.losses) / max(1, len(self.losses))
        self.history.append({"step": self.step + 1, "minutes": round(self.minutes_now(), 3), "loss": mean} | scores)
        self.losses = []
        if scores.get("score", np.inf) > self.best:
            self.best, self.best_step, self.stale = float(scores.get("score", -1.0)), self.step + 1, 0
            self.keep("best", network)
        else:
            self.stale += 1

    def keep(self, name, network):
        """Write weights as NAME.safetensors with the card, the settings and the latest scores inside."""
        card = self.card | {"settings": self.settings, "step": self.step + 1, "minutes": round(self.minutes_now(), 2)}
        networks.save_weights(self.folder / f"{name}.safetensors", network, card | {"scores": self.history[-1:]})

    def minutes_now(self):
        return self.minutes + (time.monotonic() - self._began) / 60 if hasattr(self, "_began") else self.minutes

    def save(self):
        """Write a generation: everything that the next step depends on."""
        state = {name: getattr(self, name) for name in COUNTED}
        state |= {"settings": self.settings, "minutes": self.minutes_now()}
        generations.write(self.folder, self.step, state | {"parts": {n: p.state_dict() for n, p in self.parts.items()}})

    def restore(self, state):
        """Take over a saved state, after checking that it belongs to these settings."""
        refuse_other_settings(state["settings"], self.settings, self.folder)
        for name in (*COUNTED, "minutes"):
            setattr(self, name, state[name])
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])

    def finish(self):
        """Make the best weights final: final.safetensors, and its card beside it as JSON for people."""
        best, card = networks.load_weights(self.folder / "best.safetensors")
        networks.save_weights(self.folder / "final.safetensors", best, card)
        paths.write_json(self.folder / "final.json", card)


def refuse_other_settings(old, new, folder):
    """Raise ValueError, naming every value that differs, when a training would go on under other settings or lists."""
    keys = [key for key in old.keys() | new.keys() if key not in stages.WITHOUT_EFFECT and old.get(key) != new.get(key)]
    if keys:
        told = "; ".join(f"{key} was {old.get(key)!r}, is {new.get(key)!r}" for key in sorted(keys))
        raise ValueError(
            f"the training in {folder} has other settings: {told}. Set them back to go on, choose another run name, "
            "or delete the folder to train afresh"
        )


def resume(folder, settings, total_steps, parts, **how):
    """The Training in a folder: from its newest sound generation, or from the start when there is none.

    settings     plain values that decide what is learnt, hashes of the lists included.
    parts        dict of everything with a state_dict: network, optimiser, scheduler, ema.
    Raises ValueError for other settings than the saved ones, RuntimeError when every generation is damaged.
    """
    training = Training(folder, settings, parts, total_steps, **how)
    training.folder.mkdir(parents=True, exist_ok=True)
    state, training.notes = generations.read_newest(training.folder)
    for note in training.notes:
        print(note)
    if state:
        training.restore(state)
        print(f"goes on at step {training.step:,} of {total_steps:,}")
    return training


def sitting(training, batches, minutes=0.0, steps=0):
    """Yield (step, batch) until the training is finished or has to pause; save now and then, and at the end.

    It pauses after `minutes` or `steps` (0 for no limit), for a file named `stop` in the run's checkpoint folder
    (which it removes), and on SIGINT and SIGTERM: the interrupt button of a notebook sends the first.
    Raises RuntimeError when another process trains in the same folder.
    """
    import pandas as pd

    lock = filelock.FileLock(training.folder / ".lock", timeout=0)
    with _held(lock, training.folder), _signals() as asked:
        training._began = began = saved = time.monotonic()
        first, stop = training.step, training.folder.parent / "stop"
        while not training.finished:
            training.paused_by = _reason(asked, stop, steps and training.step - first >= steps, minutes, began)
            if training.paused_by:
                break
            torch.manual_seed(1_000_003 * batches.seed + training.step)  # dropout, where a network has it
            place = batches.place(training.step)
            yield training.step, batches(training.step)
            training.step += 1
            if batches.place(training.step)[:2] != place[:2] and "ema" in training.parts:
                training.keep(f"chunk_{place[1] + 1:02d}", training.parts["ema"].module)
            if time.monotonic() - saved > training.save_seconds:
                training.save()
                saved = time.monotonic()
                print(_progress(training, first, saved - began), flush=True)
        training.save()
        training.minutes = training.minutes_now()
        del training._began
        paths.write_csv(training.folder / "history.csv", pd.DataFrame(training.history))
        stop.unlink(missing_ok=True)


def _progress(training, first, seconds):
    left = (training.total_steps - training.step) * seconds / (training.step - first) / 60
    recent = training.losses[-50:]
    loss = f", loss {sum(recent) / len(recent):.3f}" if recent else ""
    best = f", best score {training.best:.3f}" if training.best >= 0 else ""
    return f"step {training.step:,} of {training.total_steps:,}{loss}{best}, about {left:.0f} min left"


def _reason(asked, stop, steps_are_up, minutes, began):
    if asked:
        return f"{asked[0]} received"
    if stop.exists():
        return "a file named stop"
    if steps_are_up:
        return "chunk_steps are up"
    return "chunk_minutes are up" if minutes and time.monotonic() - began > 60 * minutes else ""


@contextlib.contextmanager
def _held(lock, folder):
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RuntimeError(f"another process is training in {folder}; wait for it, or choose another run name") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _signals():
    """Collect SIGINT and SIGTERM instead of dying of them; a second SIGINT interrupts at once."""
    asked = []

    def note(number, frame):
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(signal.Signals(number).name)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: the stop file and the limits still work
        before = {}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
