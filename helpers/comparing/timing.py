"""Seconds and memory, measured side by side: all that holds on a machine that does other things."""

import contextlib
import os
import subprocess
import tempfile
import time

import pandas as pd
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers import runs
from helpers.cascade.precision import half_precision_supported
from helpers.processes import cores

LOOK_S = 0.02  # between two looks at the memory of a process


class Others:
    """How busy other processes keep the machine while something is measured."""

    def __init__(self):
        self.began = self._seconds()

    def cores(self):
        """The cores that they took since this was made, on average; a virtual machine's neighbours
        count, too, where the system tells.
        """
        clock, everyone, ours = (b - a for a, b in zip(self.began, self._seconds(), strict=True))
        return max(0.0, (everyone - ours) / clock)

    @staticmethod
    def _seconds():
        """Of the clock; of all processors at work; of this process and its children that ended."""
        times, ours = psutil.cpu_times(), psutil.Process().cpu_times()
        everyone = sum(getattr(times, kind, 0) for kind in ("user", "nice", "system", "steal"))
        return time.perf_counter(), everyone, sum(ours[:4])


def side_by_side(variants, rounds):
    """Time every variant once a round, in turns: forwards in one round, backwards in the next.

    variants  dict of name -> function of a number, which is counted up; each is called once before.
    returns   DataFrame of seconds, a column a variant, a row a round; attrs["others"]: Others.cores
              meanwhile.
    """
    for work in variants.values():
        work(0)
    rows, others = [], Others()
    for k in range(1, rounds + 1):
        seconds = {}
        for name in list(variants)[:: 1 if k % 2 else -1]:
            began = time.perf_counter()
            variants[name](k)
            seconds[name] = time.perf_counter() - began
        rows.append({name: seconds[name] for name in variants})
    table = pd.DataFrame(rows)
    table.attrs["others"] = others.cores()
    return table


def summarised(seconds, items=1):
    """Medians of `side_by_side` and how sure they are; the others are compared with the first.

    items    work items a call, such as the slices of a batch.
    returns  DataFrame, a row a variant: seconds, items_per_second, low, high and best (quartiles
             and maximum of the latter), times_slower (the median of the ratios within each round),
             others (Others.cores meanwhile).
    """
    first = seconds.iloc[:, 0]
    low, middle, high = (seconds.quantile(share) for share in (0.25, 0.5, 0.75))
    rates = {"items_per_second": items / middle, "low": items / high, "high": items / low,
             "best": items / seconds.min()}
    slower = seconds.div(first, axis=0).median()
    return pd.DataFrame({"seconds": middle, **rates, "times_slower": slower,
                         "others": seconds.attrs.get("others")})


def of_process(command):
    """Run a command to its end, with runs where ours lie.

    returns  dict: seconds, peak_gib (it and its children, resident), output (stdout and stderr),
             others (Others.cores meanwhile).
    Raises RuntimeError with the last lines that it printed when it fails.
    """
    env = os.environ | {"CASCADE_LIVER_ROOT": str(runs.ROOT)}
    with tempfile.TemporaryFile() as file:
        began, peak, others = time.perf_counter(), 0, Others()
        words = [str(word) for word in command]
        process = psutil.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=env)
        while process.poll() is None:
            peak = max(peak, _resident(process))
            time.sleep(LOOK_S)
        seconds, others = time.perf_counter() - began, others.cores()
        file.seek(0)
        output = file.read().decode(errors="replace")
    if process.returncode:
        failed = f"{' '.join(words)}: ended with {process.returncode}"
        raise RuntimeError(f"{failed}: {output[-2000:]}")
    return {"seconds": seconds, "peak_gib": peak / 2**30, "output": output, "others": others}


def _resident(process):
    """Bytes in memory of a process and its children."""
    total = 0
    with contextlib.suppress(psutil.Error):  # it has just ended
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss
    return total


def machine():
    """What seconds depend on: cores, threads, load (processes that want a core), half precision."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    machine = {"cores": cores(), "threads": torch.get_num_threads(), "load": load}
    return machine | {"half precision": half_precision_supported(torch.device("cpu"))}


def convolution_rates(channels, sizes, batch_size, dtype):
    """FLOP/s of 3 × 3 convolutions here, forward: dict (channels, size) -> best of five."""

    def random(*shape):
        return torch.rand(*shape).to(dtype).contiguous(memory_format=torch.channels_last)

    rates = {}
    for n, size in zip(channels, sizes, strict=True):
        x, weight = random(batch_size, n, size, size), random(n, n, 3, 3)
        seconds = []
        with torch.no_grad():
            for _ in range(6):  # the first one warms up
                began = time.perf_counter()
                torch.nn.functional.conv2d(x, weight, padding=1)
                seconds.append(time.perf_counter() - began)
        rates[n, size] = 2 * batch_size * n * n * 9 * size**2 / min(seconds[1:])
    return rates


def operations(work):
    """Floating-point operations of a call, as torch counts them: matrix products, convolutions."""
    with FlopCounterMode(display=False) as counted:
        work()
    return counted.get_total_flops()
