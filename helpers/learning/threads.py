"""How many threads a training takes on a CPU: measured, since on a machine in use fewer are often
faster, told, and part of the training's state.
"""

import contextlib
import copy
import os
import statistics
import time

import torch

from helpers import together
from helpers.cascade.precision import step_seconds

GAIN = 1.25  # times as fast another number has to be: it changes the last bits of a result
SLOWER = 1.4  # times what it took a step has to take, to be measured again
AGAIN_SECONDS = 600  # and so often where fewer threads are taken than there are
TRIAL_SECONDS = 0.2  # of steps with each number, three at least


@contextlib.contextmanager
def measured(training, batches):
    """Threads for a sitting of a training, measured at its beginning, and afterwards as many as
    before.

    batches  function step -> (image, target); image float32 (B, C, H, W).
    """
    before = torch.get_num_threads()
    try:
        yield Threads(training, batches, before)
    finally:
        torch.set_num_threads(before)


class Threads:
    """Torch's threads for a training, of at most `most`; left as they are on a GPU, among processes
    that train together, and where OMP_NUM_THREADS says how many.
    """

    def __init__(self, training, batches, most):
        self.training, self.batches, self.most = training, batches, most
        self.usual, self.at = None, 0.0  # a step's seconds; when it was measured
        on_cpu = training.plan.made_with.get("device") == "cpu"
        alone = together.count() == 1 and "OMP_NUM_THREADS" not in os.environ
        self.is_free = most > 1 and on_cpu and alone and not training.finished
        if self.is_free:
            torch.set_num_threads(min(training.threads or most, most))
            self._measure()

    def reconsider(self, took):
        """Note the seconds that the steps since the last time took, a list; measure again where
        they took far longer than they did, or the machine may have become idle.
        """
        if not self.is_free or not took:
            return
        median = statistics.median(took)
        self.usual = self.usual or median
        idle = torch.get_num_threads() < self.most and time.monotonic() - self.at > AGAIN_SECONDS
        if idle or median > SLOWER * self.usual:
            self._measure()

    def _measure(self):
        """Take the fastest number of threads, of all and of halves of it."""
        now, rates, count = torch.get_num_threads(), {}, self.most
        network = copy.deepcopy(self.training.parts["network"]).train()
        image = self.batches(self.training.step)[0].to(next(network.parameters()).dtype)
        image = image.contiguous(memory_format=torch.channels_last)
        precision = self.training.plan.made_with["precision"]
        while count and rates.get(2 * count, 0) >= max(rates.values(), default=0) / 2:
            torch.set_num_threads(count)
            rates[count] = _slices_a_second(network, image, precision)
            count //= 2
        best = max(rates, key=rates.get)
        chosen = best if now not in rates or rates[best] > GAIN * rates[now] else now
        torch.set_num_threads(chosen)
        self.usual, self.at = None, time.monotonic()
        if chosen == self.training.threads:
            return
        told = ", ".join(f"{rate:.0f} with {count}" for count, rate in rates.items())
        changed = f", {self.training.threads} before: not the same result to the last bit"
        print(f"threads: {chosen} of {self.most}{changed if self.training.threads else ''}; "
              f"slices a second: {told}")
        self.training.threads, self.training.is_saved = chosen, False


def _slices_a_second(network, image, precision):
    step_seconds(network, image, precision, time.perf_counter)  # the first prepares
    took = []
    while len(took) < 3 or sum(took) < TRIAL_SECONDS:
        took.append(step_seconds(network, image, precision, time.perf_counter))
    return len(image) * len(took) / sum(took)
