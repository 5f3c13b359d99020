"""On which device and in which arithmetic a network trains and predicts on this machine."""

import torch

from helpers import files


def device_named(name):
    """The torch.device for "cpu", "cuda" or "auto", which takes a GPU where there is one."""
    return torch.device(name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu")


def half_precision_supported(device):
    """The arithmetic for predicting on a device, by its hardware: "bf16-mixed", "16-mixed" or "32-true".

    Not measured, so that it costs no time and a busy machine gives the same masks as an idle one.
    """
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    units = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if device.type == "cpu" and units else "32-true"


def fastest_precision(network, example, device, repeats=3):
    """Which arithmetic trains this network fastest here, measured: "32-true", "bf16-mixed" or, on a GPU, "16-mixed".

    example  float32 (B, C, H, W). Half precision has to win by a tenth, or plain float32 stays.
    """
    import copy
    import time

    trial = copy.deepcopy(network).to(device, memory_format=torch.channels_last).train()
    example = example.to(device).contiguous(memory_format=torch.channels_last)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the processor time of one thread is the same on a busy machine
    seconds = {}
    for name, dtype in (("32-true", None), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)):
        if name == "16-mixed" and device.type != "cuda" or name == "bf16-mixed" and half_precision_supported(device) != name:
            continue  # without units for it half precision only wins when the machine was busy with something else meanwhile
        times = []
        for _ in range(repeats + 1):
            began = clock()
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                out = trial(example)
            out.float().square().mean().backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(clock() - began)
        seconds[name] = min(times[1:])  # the first one warms up
    torch.set_num_threads(threads)
    best = min(seconds, key=seconds.get)
    return best if seconds[best] < 0.9 * seconds["32-true"] else "32-true"


def remembered_precision(folder, network, example, device):
    """`fastest_precision`, measured once a kind of device and remembered in `folder`, so that every sitting computes alike."""
    file = folder / "precision.json"
    known = files.read_json(file) if file.is_file() else {}
    if device.type not in known:
        known[device.type] = fastest_precision(network, example, device)
        files.write_json(file, known)
    return known[device.type]
