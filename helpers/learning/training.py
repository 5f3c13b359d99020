"""The state of one stage's training: what it consists of, how it is saved and taken over again, what may change."""

import contextlib
import math
import os
import time
from pathlib import Path

from helpers import files, steps
from helpers.cascade.weights import save_weights
from helpers.learning import checkpoints

FORMAT = 2  # of the saved state
PLAIN = ("step", "history", "clock", "best", "best_step", "best_weights", "best_card", "stale", "losses", "validate_every")
FREE = steps.WITHOUT_EFFECT | {"epochs", "patience", "accumulate"}  # settings that may change between sittings


class Training:
    """The state of one stage's training, in memory and in a folder; made by `chunks.resume`.

    step       steps done; the next batch is that of this number.
    history    a dict per validation: step, loss, rate, score and what else was judged; `clock` holds its minutes.
    best       highest score so far, at step `best_step`; its weights are part of the state, best.safetensors is a copy.
    made_with  what may differ between sittings and is told when it does: versions, device, threads.
    """

    def __init__(
        self, folder, settings, parts, total_steps, card, validate_every, patience=0, save_seconds=60.0, made_with=None
    ):  # fmt: skip
        self.folder, self.settings, self.parts, self.total_steps = Path(folder), settings, parts, total_steps
        self.card, self.validate_every, self.patience, self.save_seconds = card, validate_every, patience, save_seconds
        self.step, self.history, self.clock, self.losses = 0, [], [], []
        self.best, self.best_step, self.best_weights, self.best_card, self.stale = -1.0, 0, {}, {}, 0
        self.minutes, self.made_with, self.paused_by = 0.0, made_with or {}, ""
        self.is_saved, self.in_step, self.found = False, False, []
        self.save_took, self.began = 0.0, None  # seconds, and when the sitting began by the monotonic clock

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
        """Note the loss of this step, a float. Raises FloatingPointError when it is no number: nothing more would be learnt."""
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the training in {self.folder} gives a loss of {loss} at step {self.step + 1:,}: run again with "
                "precision='32-true', or under another run name with a lower learning_rate"
            )
        self.losses.append(float(loss))

    def judge(self, network, **scores):
        """Note a validation; `score` decides what is best, and the best network's weights are kept.

        Without a score, because every patient trains, the newest weights are kept.
        Raises ValueError for a score that is no number.
        """
        score = scores.get("score")
        if score is not None and not math.isfinite(score):
            raise ValueError(f"the validation after step {self.step + 1:,} gives no score: are there validation slices?")
        mean = sum(self.losses) / max(1, len(self.losses))
        self.history.append({"step": self.step + 1, "loss": mean} | scores)
        self.clock.append(self.minutes_now())
        self.losses = []
        if score is None or score > self.best:
            self.best, self.best_step, self.stale = -1.0 if score is None else float(score), self.step + 1, 0
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
            self.best_card = self.card_at(self.step + 1)
            self.write("best", self.best_weights, self.best_card)
        else:
            self.stale += 1

    def minutes_now(self):
        """Minutes of training so far, all sittings together."""
        return self.minutes + (time.monotonic() - self.began) / 60 if self.began is not None else self.minutes

    def save(self):
        """Write a generation: everything that the next step depends on.

        Raises OSError, naming the generation to go on from, when it can't be written.
        """
        began = time.monotonic()
        state = {name: getattr(self, name) for name in PLAIN}
        state |= {"format": FORMAT, "settings": self.settings, "total_steps": self.total_steps, "minutes": self.minutes_now()}
        state |= {"made_with": self.made_with, "parts": {name: part.state_dict() for name, part in self.parts.items()}}
        with self.told(f"the state of step {self.step:,}"):
            checkpoints.write(self.folder, self.step, state)
        self.is_saved, self.found = True, checkpoints.newest_first(self.folder)
        self.save_took = time.monotonic() - began

    def restore(self, state):
        """Take over a saved state, after checking that it belongs to these settings."""
        if state.get("format") != FORMAT:
            raise ValueError(f"the training in {self.folder} was saved by another version of this project; finish it with "
                             "that version, choose another run name, or delete the folder to train afresh")  # fmt: skip
        refuse_other_settings(state["settings"], self.settings, self.folder)
        for name in (*PLAIN, "minutes"):
            setattr(self, name, state[name])
        for name in self.parts.keys() & state["parts"].keys():  # 16-mixed alone has a scaler, and may be new in this sitting
            self.parts[name].load_state_dict(state["parts"][name])
        self.is_saved, self.in_step = True, False
        for name in sorted(self.made_with.keys() & state["made_with"].keys()):
            if self.made_with[name] != state["made_with"][name]:
                told = f"{name} was {state['made_with'][name]!r}, is {self.made_with[name]!r}"
                print(f"{told}: not the same result to the last bit")
                if name == "liver":  # it makes the regions that the tumour's validation is judged in
                    self.best, self.stale = -1.0, 0
                    print("scores so far were taken in other regions; the best one is sought anew")
        if state["total_steps"] != self.total_steps:
            self._move_end(state["total_steps"])

    def _move_end(self, before):
        if self.step >= self.total_steps:
            raise ValueError(f"the training in {self.folder} has done {self.step:,} of {before:,} steps, the epochs asked "
                             f"for have {self.total_steps:,}: ask for more epochs")  # fmt: skip
        for part in self.parts.values():
            if hasattr(part, "move_end"):
                part.move_end(self.step, self.total_steps)
        self.is_saved = False
        print(f"the end moves from step {before:,} to step {self.total_steps:,}; the learning rate goes on without a jump")

    def finish(self):
        """Make the best weights final: final.safetensors, and its card beside it as JSON for people."""
        self.write("final", self.best_weights, self.best_card)
        with self.told("final.json"):
            files.write_json(self.folder / "final.json", self.best_card | {"minutes": round(self.minutes, 2)})

    def card_at(self, step):
        """The card of weights after a step: what they were made of, with what, and the latest scores."""
        return self.card | {"settings": self.settings, "step": step, "scores": self.history[-1:], "made_with": self.made_with}

    def write(self, name, weights, card):
        """Write weights, a module or its state_dict, as NAME.safetensors with a card inside."""
        with self.told(f"{name}.safetensors"):
            save_weights(self.folder / f"{name}.safetensors", weights, card)

    @contextlib.contextmanager
    def told(self, what):
        """Say of a full or read-only disk what can't be written, and what is whole."""
        try:
            yield
        except OSError as error:
            whole = [checkpoints.step_of(path) for path in checkpoints.newest_first(self.folder)[:1]]
            left = f"the state of step {whole[0]:,} is whole" if whole else "nothing was trained yet"
            full = error.errno in files.FULL
            why = os.strerror(error.errno) if error.errno else error
            help_it = "make room" if full else "make the folder writable"
            said = f"{self.folder}: {what} can't be written ({why}); {left}: {help_it} and run again"
            raise OSError(error.errno, said) from error


def refuse_other_settings(old, new, folder):
    """Raise ValueError, naming every value that differs, when a training would go on under other settings or lists."""
    old, new = _flat(old), _flat(new)
    keys = [key for key in old.keys() | new.keys() if key not in FREE and old.get(key) != new.get(key)]
    if keys:
        told = "; ".join(f"{key} was {old.get(key)!r}, is {new.get(key)!r}" for key in sorted(keys))
        raise ValueError(
            f"the training in {folder} has other settings: {told}. Set them back to go on, choose another run name, "
            "or delete the folder to train afresh"
        )


def _flat(settings):
    """Nested settings on one level, so that a list that changed is named and not all of them."""
    flat = {}
    for name, value in settings.items():
        flat |= {f"{name} {key}": inner for key, inner in value.items()} if isinstance(value, dict) and value else {name: value}
    return flat
