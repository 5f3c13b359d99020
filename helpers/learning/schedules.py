"""The learning rate over time, as a function of the step, with an end that can be moved without a
jump.
"""

import math

# share of the highest rate at which a fall ends, and at which a finished training resumes
FLOOR = 0.01


def schedule(name, optimiser, total_steps, warm_up_steps):
    """The schedule of an optimiser: "cosine" is stepped each step, "plateau" with each score.

    Raises ValueError for another name.
    """
    if name == "cosine":
        return Cosine(optimiser, total_steps, warm_up_steps)
    if name == "plateau":
        from torch.optim.lr_scheduler import ReduceLROnPlateau

        return ReduceLROnPlateau(optimiser, mode="max", factor=0.5, patience=3)
    raise ValueError(f"schedule {name!r}: choose 'cosine' or 'plateau'")


class Cosine:
    """A linear warm-up to the optimiser's own rate, then half a cosine down to FLOOR of it
    (Loshchilov and Hutter 2017).

    falls  [first step, share of the highest rate there, last step] of each fall; `move_end` adds
           one.
    """

    def __init__(self, optimiser, total_steps, warm_up_steps):
        self.optimiser, self.highest = optimiser, optimiser.param_groups[0]["lr"]
        self.steps, self.warm_up_steps = 0, max(1, warm_up_steps)
        self.falls = [[self.warm_up_steps, 1.0, total_steps]]
        self._set()

    def share(self, step):
        """The rate at a step as a share of the highest."""
        if step < self.warm_up_steps:
            return FLOOR + (1 - FLOOR) * step / self.warm_up_steps
        first, high, last = [fall for fall in self.falls if fall[0] <= step][-1]
        gone = min(1.0, (step - first) / max(1, last - first))
        return FLOOR + (high - FLOOR) * (1 + math.cos(math.pi * gone)) / 2

    def move_end(self, step, total_steps):
        """From `step` on, or from the end of the warm-up, fall from the rate there to FLOOR at
        another last step.
        """
        first = max(step, self.warm_up_steps)
        high = self.share(first)
        self.falls = [fall for fall in self.falls if fall[0] < first] + [[first, high, total_steps]]
        self._set()

    def step(self):
        """Set the rate of the next step."""
        self.steps += 1
        self._set()

    def state_dict(self):
        names = ("highest", "steps", "warm_up_steps", "falls")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state):
        for name, value in state.items():
            setattr(self, name, value)
        self._set()

    def _set(self):
        for group in self.optimiser.param_groups:
            group["lr"] = self.highest * self.share(self.steps)
