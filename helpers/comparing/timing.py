"""Seconds and memory, measured side by side: the only comparison that holds on a machine that does other things too."""

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


def side_by_side(variants, rounds):
    """Time every variant once a round, in turns: forwards in one round, backwards in the next.

    variants  dict of name -> function of a number, which is counted up; each is called once before, to warm up.
    returns   DataFrame of seconds, a column a variant, a row a round.
    """
    for work in variants.values():
        work(0)
    rows = []
    for k in range(1, rounds + 1):
        seconds = {}
        for name in list(variants)[:: 1 if k % 2 else -1]:
            began = time.perf_counter()
            variants[name](k)
            seconds[name] = time.perf_counter() - began
        rows.append({name: seconds[name] for name in variants})
    return pd.DataFrame(rows)


def summarised(seconds, items=1):
    """Medians of `side_by_side` and how sure they are; the first column is what the others are compared with.

    items    pieces of work a call, such as the slices of a batch.
    returns  DataFrame, a row a variant: seconds, items_per_second, low and high (quartiles of the latter), times_slower
             (the median of the ratios within each round).
    """
    first = seconds.iloc[:, 0]
    low, middle, high = (seconds.quantile(share) for share in (0.25, 0.5, 0.75))
    table = {"seconds": middle, "items_per_second": items / middle, "low": items / high, "high": items / low}
    return pd.DataFrame(table | {"times_slower": seconds.div(first, axis=0).median()})


def of_process(command, every=0.02):
    """Run a command to its end; dict of seconds, peak_gib (it and its children, resident) and output (stdout and stderr).

    every  seconds between two looks at its memory. Its runs lie where ours do.
    Raises RuntimeError with the last lines that it printed when it fails.
    """
    env = os.environ | {"CASCADE_LIVER_ROOT": str(runs.ROOT)}
    with tempfile.TemporaryFile() as file:
        began, peak = time.perf_counter(), 0
        process = psutil.Popen([str(word) for word in command], stdout=file, stderr=subprocess.STDOUT, env=env)
        while process.poll() is None:
            peak = max(peak, _resident(process))
            time.sleep(every)
        seconds = time.perf_counter() - began
        file.seek(0)
        output = file.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: ended with {process.returncode}: {output[-2000:]}")
    return {"seconds": seconds, "peak_gib": peak / 2**30, "output": output}


def _resident(process):
    """Bytes in memory of a process and its children."""
    total = 0
    with contextlib.suppress(psutil.Error):  # it has just ended
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss
    return total


def machine():
    """What seconds depend on here: cores, threads, load (processes that wanted a core in the last minute), half precision."""
    half = half_precision_supported(torch.device("cpu"))
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": load, "half precision": half}


def convolution_rates(channels, sizes, batch_size, dtype, repeats=5):
    """How fast this machine's convolutions are, FLOP/s: dict (channels, size) -> best of `repeats`, 3 × 3, forward."""
    rates = {}
    for n, size in zip(channels, sizes, strict=True):
        x = torch.rand(batch_size, n, size, size).to(dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.rand(n, n, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
        seconds = []
        with torch.no_grad():
            for _ in range(repeats + 1):
                began = time.perf_counter()
                torch.nn.functional.conv2d(x, weight, padding=1)
                seconds.append(time.perf_counter() - began)
        rates[n, size] = 2 * batch_size * n * n * 9 * size**2 / min(seconds[1:])
    return rates


def operations(work):
    """Floating-point operations of a call, as torch counts them (matrix products and convolutions)."""
    with FlopCounterMode(display=False) as counted:
        work()
    return counted.get_total_flops()
