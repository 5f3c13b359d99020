"""The state of one stage's training: what it consists of, how it is saved and taken over again,
what may change.
"""

import contextlib
import math
import os
import time
from pathlib import Path

import pandas as pd

from helpers import files
from helpers.cascade.weights import save_weights
from helpers.learning import checkpoints, plans

FORMAT = 3  # of the saved state
PLAIN = ("step", "history", "clock", "losses", "validate_every")
PLAIN += ("best", "best_step", "best_weights", "best_card", "stale")


class Training:
    """The state of one stage's training, in memory and in a folder; made by `sittings.resume`.

    parts      dict of everything with a state_dict: network, optimiser, scheduler, ema; plan:
               plans.Plan.
    step       steps done; the next batch is that of this number.
    history    a dict per validation: step, loss, rate, score and its components; `clock` holds its
               minutes.
    threads    that it computes with, 0 before they were measured.
    best       highest score so far, at step `best_step`; its weights are part of the state,
               best.safetensors is a copy.
    """

    def __init__(self, folder, parts, plan):
        self.folder, self.parts, self.plan = Path(folder), parts, plan
        self.step, self.history, self.clock, self.losses = 0, [], [], []
        self.best, self.best_step, self.stale = -1.0, 0, 0
        self.best_weights, self.best_card = {}, {}
        self.validate_every = plan.validate_every  # of the state: it stays when the end moves
        self.minutes, self.paused_by, self.threads = 0.0, "", 0
        self.is_saved, self.in_step, self.known_files = False, False, []
        # seconds, and when the sitting began by the monotonic clock
        self.save_took, self.began = 0.0, None

    @property
    def finished(self):
        out_of_patience = bool(self.plan.patience) and self.stale >= self.plan.patience
        return self.step >= self.plan.total_steps or out_of_patience

    @property
    def due_to_validate(self):
        """True within the step after which a validation is due."""
        return (self.step + 1) % self.validate_every == 0 or self.step + 1 == self.plan.total_steps

    @property
    def sentence(self):
        """Where the training stands."""
        at = f"step {self.step:,} of {self.plan.total_steps:,}"
        best = f"; best score {self.best:.3f} at step {self.best_step:,}" if self.best >= 0 else ""
        if not self.finished:
            return f"paused at {at} ({self.paused_by}): run again to resume{best}"
        is_early = self.step < self.plan.total_steps
        early = f", stopped early: no better score in {self.plan.patience} validations"
        return f"finished at {at}{early if is_early else ''}{best}"

    def log(self, loss):
        """Note the loss of this step, a float. Raises FloatingPointError when it is no number:
        nothing more would be learnt.
        """
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the training in {self.folder} gives a loss of {loss} at step {self.step + 1:,}: "
                "run again with precision='32-true', or under another run name with a lower "
                "learning_rate"
            )
        self.losses.append(float(loss))

    def note_validation(self, network, **scores):
        """Note a validation, and return it with the mean loss since the last; `score` decides whose
        weights are kept as best.

        Without a score, because every patient trains, the newest weights are kept.
        Raises ValueError for a score that is no number.
        """
        score = scores.get("score")
        if score is not None and not math.isfinite(score):
            raise ValueError(
                f"the validation after step {self.step + 1:,} gives no score: "
                "are there validation slices?"
            )
        values = {"loss": sum(self.losses) / max(1, len(self.losses))} | scores
        self.history.append({"step": self.step + 1} | values)
        self.clock.append(self.minutes_now())
        self.losses = []
        if score is None or score > self.best:
            self.best = -1.0 if score is None else float(score)
            self.best_step, self.stale = self.step + 1, 0
            weights = network.state_dict().items()
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in weights}
            self.best_card = self.card_at(self.step + 1)
            self.write("best", self.best_weights, self.best_card)
        else:
            self.stale += 1
        return values

    def minutes_now(self):
        """Minutes of training so far, all sittings together."""
        if self.began is None:
            return self.minutes
        return self.minutes + (time.monotonic() - self.began) / 60

    def save(self):
        """Write a generation: everything that the next step depends on.

        Raises OSError, naming the generation to resume from, when it can't be written.
        """
        began = time.monotonic()
        state = {name: getattr(self, name) for name in PLAIN}
        state |= {"format": FORMAT, "minutes": self.minutes_now(), "threads": self.threads}
        planned = ("settings", "total_steps", "made_with")
        state |= {name: getattr(self.plan, name) for name in planned}
        state |= {"parts": {name: part.state_dict() for name, part in self.parts.items()}}
        with self.naming_what_fails(f"the state of step {self.step:,}"):
            checkpoints.write(self.folder, self.step, state)
        self.is_saved, self.known_files = True, checkpoints.newest_first(self.folder)
        self.save_took = time.monotonic() - began

    def restore(self, state):
        """Take over a saved state, after checking that it belongs to these settings."""
        if state.get("format") != FORMAT:
            raise ValueError(
                f"the training in {self.folder} was saved by another version of this project; "
                "finish it with that version, choose another run name, or delete the folder to "
                "train afresh"
            )
        plans.refuse_other_settings(state["settings"], self.plan.settings, self.folder)
        for name in (*PLAIN, "minutes"):
            setattr(self, name, state[name])
        self.threads = state.get("threads", 0)
        # 16-mixed alone has a scaler, and may be new in this sitting
        for name in self.parts.keys() & state["parts"].keys():
            self.parts[name].load_state_dict(state["parts"][name])
        self.is_saved, self.in_step = True, False
        self._compare_made_with(state["made_with"], self.plan.made_with)
        if state["total_steps"] != self.plan.total_steps:
            self._move_end(state["total_steps"])

    def _compare_made_with(self, before, now):
        for name in sorted(now.keys() & before.keys()):
            if now[name] == before[name]:
                continue
            change = f"{name} was {before[name]!r}, is {now[name]!r}"
            print(f"{change}: not the same result to the last bit")
            if name == "liver":  # it makes the regions that the tumour's network is validated in
                self.best, self.stale = -1.0, 0
                print("scores so far were taken in other regions; the best one is sought anew")

    def _move_end(self, before):
        total = self.plan.total_steps
        if self.step >= total:
            raise ValueError(
                f"the training in {self.folder} has done {self.step:,} of {before:,} steps, "
                f"the epochs asked for have {total:,}: ask for more epochs"
            )
        for part in self.parts.values():
            if hasattr(part, "move_end"):
                part.move_end(self.step, total)
        self.is_saved = False
        print(f"the end moves from step {before:,} to step {total:,}; "
              "the learning rate continues without a jump")

    def finish(self, score_by_case):
        """Make the averaged weights of the end final: final.safetensors, its card beside it as
        JSON, and validation.csv with its scores.

        Not the best: on few validation patients that is often an early one by chance.

        returns  the files that it has written, history.csv included.
        """
        card = self.card_at(self.step)
        self.write("final", self.parts["ema"].module, card)
        names = ("final.safetensors", "final.json", "history.csv", "validation.csv")
        with self.naming_what_fails("final.json"):
            files.write_json(self.folder / "final.json", card | {"minutes": round(self.minutes, 2)})
        with self.naming_what_fails("validation.csv"):
            scores = pd.DataFrame(score_by_case.items(), columns=["case", "score"])
            files.write_csv(self.folder / "validation.csv", scores)
        return [self.folder / name for name in names]

    def card_at(self, step):
        """The card of weights after a step: what they were made of, with what, and the latest
        scores.
        """
        origin = {"settings": self.plan.settings, "made_with": self.plan.made_with}
        return self.plan.card | origin | {"step": step, "scores": self.history[-1:]}

    def write(self, name, weights, card):
        """Write weights, a module or its state_dict, as NAME.safetensors with a card inside."""
        with self.naming_what_fails(f"{name}.safetensors"):
            save_weights(self.folder / f"{name}.safetensors", weights, card)

    @contextlib.contextmanager
    def naming_what_fails(self, what):
        """Turn the error of a full or read-only disk into one that names what can't be written, and
        what is whole.
        """
        try:
            yield
        except OSError as error:
            whole = checkpoints.newest_first(self.folder)[:1]
            left = "nothing was trained yet"
            if whole:
                left = f"the state of step {checkpoints.step_of(whole[0]):,} is whole"
            why = os.strerror(error.errno) if error.errno else error
            remedy = "make room" if error.errno in files.FULL else "make the folder writable"
            fault = f"{self.folder}: {what} can't be written ({why})"
            raise OSError(error.errno, f"{fault}; {left}: {remedy} and run again") from error
