"""On which device and in which precision a network trains and predicts on this machine."""

import copy
import pickle
import time

import torch

from helpers import files, processes

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def device_named(name):
    """The torch.device for "cpu", "cuda" or "auto", which takes a GPU where there is one."""
    return torch.device(name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu")


def autocast(device, precision):
    """The context in which a network computes in "32-true", "bf16-mixed" or "16-mixed"."""
    return torch.autocast(device.type, HALF.get(precision), enabled=precision in HALF)


def half_precision_supported(device):
    """The precision for predicting on a device, by its hardware: "bf16-mixed", "16-mixed" or
    "32-true".

    Not measured, so that it costs no time and a busy machine gives the same masks as an idle one.
    """
    if device.type == "cuda":
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if bf16 else "16-mixed"
    units = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if device.type == "cpu" and units else "32-true"


def fastest_precision(network, example, device, repeats=3):
    """Which precision trains this network fastest here, measured: "32-true", "bf16-mixed" or, on a
    GPU, "16-mixed".

    example  float32 (B, C, H, W). Half precision has to win by a tenth, or plain float32 stays.
    """
    candidates = ["32-true"]
    if half_precision_supported(device) == "bf16-mixed":
        candidates.append("bf16-mixed")  # without units for it it only wins by chance
    if device.type == "cuda":
        candidates.append("16-mixed")
    trial = copy.deepcopy(network).to(device, memory_format=torch.channels_last).train()
    example = example.to(device).contiguous(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the processor time of one thread is the same on a busy machine
    seconds = {}
    for name in candidates:
        seconds[name] = min(step_seconds(trial, example, name) for _ in range(repeats + 1))
    torch.set_num_threads(threads)
    best = min(seconds, key=seconds.get)
    return best if seconds[best] < 0.9 * seconds["32-true"] else "32-true"


def step_seconds(network, example, precision, clock=None):
    """Seconds of a step forwards and backwards of a network on an example (B, C, H, W), by a
    clock; without one the processor's, or a GPU's.
    """
    device = example.device
    clock = clock or (time.process_time if device.type == "cpu" else time.perf_counter)
    began = clock()
    with autocast(device, precision):
        out = network(example)
    out.float().square().mean().backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def remembered_precision(folder, network, example, device, wanted="auto"):
    """The precision that a training takes: the one wanted, or for "auto" the fastest.

    Found out once a kind of device and remembered in `folder`, so that every sitting computes
    alike. "32-true" where half precision ends the process that tries it, as torch does on some
    processors.
    """
    if wanted not in ("auto", *HALF) or wanted != "auto" and device.type != "cpu":
        return wanted
    file, key = folder / "precision.json", " ".join((device.type, wanted)).removesuffix(" auto")
    known = files.recorded(file)
    if key not in known:
        known[key] = _tried_apart(network, example, device, wanted)
        files.write_json(file, known)
    return known[key]


def _tried_apart(network, example, device, wanted):
    """`remembered_precision` where nothing is remembered: tried in a process of its own, because a
    crash would take this one along.
    """
    trial = network, example, device, wanted
    if device.type != "cpu" or wanted == "auto" and half_precision_supported(device) == "32-true":
        return _tried(trial)
    try:
        ((_, result),) = processes.parallel_map(_tried, [trial], 1)
    except (pickle.PicklingError, AttributeError, TypeError):  # a network that can't travel
        return _tried(trial)
    if isinstance(result, processes.WorkerDied):
        print(f"half precision crashes here ({result.how}): 32-true is taken")
        return "32-true"
    return result


def _tried(trial):
    network, example, device, wanted = trial
    if wanted == "auto":
        return fastest_precision(network, example, device)
    step_seconds(copy.deepcopy(network).train(), example, wanted)
    return wanted
