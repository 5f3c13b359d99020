"""By what networks are computed: torch, or what `helpers.export` wrote, without torch."""

from helpers.cascade import onnx_engine
from helpers.cascade.rules import Rules

ENGINES = ("torch", "onnx")


def load_networks(folder, engine=None, device="auto", unfinished=False):
    """(dict of the networks of a folder of weights, the Rules that came with them, the usual ones
    of torch's).

    engine  one of ENGINES, None for the one whose files the folder holds; "onnx" also looks into
            its folder "onnx". device, unfinished: as `weights.load_networks` takes them.
    Raises ValueError where the engine or the device isn't there, and what the two `load_networks`
    raise.
    """
    is_onnx = (folder / onnx_engine.CARD).is_file()
    if (engine or ENGINES[is_onnx]) == "onnx":
        if device == "cuda":
            raise ValueError("--device cuda: the engine onnx computes on the CPU")
        return onnx_engine.load_networks(folder if is_onnx else folder / "onnx")
    try:
        import torch
    except ImportError as error:
        raise ValueError("torch isn't installed; take --engine onnx, and with --run a folder that "
                         f"helpers.export wrote ({error})") from error
    from helpers.cascade import weights

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no NVIDIA GPU here; take --device cpu, or "
                         "leave it out")
    return weights.load_networks(folder, device, unfinished), Rules()
