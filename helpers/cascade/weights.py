"""Networks built by name, averaged while they learn, saved with their card and loaded again."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch.optim.swa_utils import AveragedModel

from helpers import files, origins
from helpers.cascade import architectures
from helpers.cascade.fused import fused
from helpers.cascade.inference import check_same_pixels, network_input
from helpers.cascade.precision import HALF, autocast, device_named, half_precision_supported
from helpers.slices.recipe import STAGES, Recipe


@dataclass
class TrainedNetwork:
    """A stage's network with what its card says about reading slices, the precision it predicts in,
    and the file of its weights.
    """

    network: torch.nn.Module
    card: dict
    precision: str = "32-true"
    path: Path | None = None

    @property
    def recipe(self):
        return Recipe(**self.card["recipe"])

    @functools.cached_property
    def predicting(self):
        """The network as it predicts: fused on a CPU, where its weights are those of a file and
        won't change any more.
        """
        is_final = self.path is not None and next(self.network.parameters()).device.type == "cpu"
        dtype = HALF.get(self.precision, torch.float32)
        return fused(self.network, dtype) if is_final else self.network

    @torch.inference_mode()
    def probability(self, planes):
        """What the network says of grey values uint8 (B, C, y, x): float32 (B, H, W), both the next
        multiples of 32, or (B,) from the gate; NaN when any of it isn't finite.
        """
        weight = next(self.network.parameters())
        x = torch.from_numpy(network_input(planes, self.card["norm"])).to(weight)
        with autocast(weight.device, self.precision):
            logits = self.predicting(x.permute(0, 3, 1, 2)).float()  # (B, classes, H, W)
        if not torch.isfinite(logits.sum()):
            logits = torch.full_like(logits, torch.nan)
        return foreground(logits, self.card["stage"]).cpu().numpy()


def foreground(logits, stage):
    """Probability of what the stage looks for: (B, H, W), or (B,) for the gate."""
    if logits.shape[1] == 1:
        return logits[:, 0].sigmoid()
    classes = logits.softmax(1)
    return classes[:, 2] if stage == "tumour" else 1 - classes[:, 0]


def build(*words, **settings):
    """The network that an `architectures.Architecture` of these fields names; raises what its
    `build` raises.
    """
    return architectures.build(architectures.Architecture(*words, **settings))


def averaged(network, decay=0.995):
    """A moving average of the network's weights (EMA); early steps count more, so that it is useful
    from the start.
    """
    @torch.no_grad()
    def blend(kept, new, count):
        share = min(decay, (1 + int(count)) / (10 + int(count)))
        if torch.is_floating_point(kept[0]):
            torch._foreach_lerp_(kept, new, 1 - share)
        else:
            # BatchNorm counts its batches in whole numbers
            for a, b in zip(kept, new, strict=True):
                a.copy_(b)

    return AveragedModel(network, multi_avg_fn=blend, use_buffers=True)


def save_weights(path, network, card):
    """Write a network's weights as safetensors, with its card (a dict of plain values) inside.

    network  a module, or its state_dict. Its kernels are written in half precision: files of half
             the size, and what is lost is less than a bf16 network ever sees. A file that holds
             exactly this already keeps its time, so that nothing that was made from it looks out of
             date.
    """
    weights = network.state_dict() if isinstance(network, torch.nn.Module) else network
    weights = {name: halved(tensor.detach().cpu()) for name, tensor in weights.items()}
    content = save(weights, {"card": json.dumps(card)})
    path = Path(path)
    if not path.is_file() or path.stat().st_size != len(content) or path.read_bytes() != content:
        with files.written_whole(path) as beside:
            beside.write_bytes(content)


def halved(tensor):
    """A kernel in half precision; a tensor of one axis, or beyond float16's range, as it is."""
    is_kernel = tensor.ndim > 1 and tensor.is_floating_point()
    small = is_kernel and tensor.abs().max() < torch.finfo(torch.float16).max
    return (tensor.half() if small else tensor).contiguous()


def note_voxels(folder, cases_csv):
    """Write into the cards of a run's finished networks the voxel hashes of the scans that they
    learnt from, for weights whose cards don't have them yet; the weights stay as they are.

    folder     of checkpoints; cases_csv: what notebook 01 wrote about the very files that were
               learnt from, under the names that the cards have.
    Raises ValueError where it lacks some of them.
    """
    for path in paths_of(folder).values():
        card, weights = _read(path)
        names = card["data"]["training"]
        hashes = origins.hashes_of(cases_csv, names)
        if len(hashes) < len(names):
            raise ValueError(f"{cases_csv}: has the voxels of {len(hashes)} of the {len(names)} "
                             f"scans that {path} learnt from")
        card["data"]["voxels"] = hashes
        save_weights(path, weights, card)
        beside = path.with_suffix(".json")
        files.write_json(beside, files.recorded(beside) | {"data": card["data"]})


def load_weights(path, device="cpu"):
    """The network and the card that `save_weights` wrote, ready to predict.

    Raises ValueError, naming the file, when it is damaged or isn't ours.
    """
    card, weights = _read(path)
    try:
        network = build(**card["network"])
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        message = f"{path}: its weights aren't those of the network that its card names ({error})"
        raise ValueError(message) from error
    return network.to(device, memory_format=torch.channels_last).eval(), card


def card_of(path):
    """The card in a file of weights, without its tensors; raises ValueError, naming the file."""
    return _read(path, with_tensors=False)[0]


def _read(path, with_tensors=True):
    """(card, dict of tensors) of a file of weights; raises ValueError, naming it."""
    try:
        with safe_open(path, framework="pt") as opened:
            names = opened.keys() if with_tensors else ()
            weights = {name: opened.get_tensor(name) for name in names}
            return json.loads(opened.metadata()["card"]), weights
    except Exception as error:
        raise ValueError(f"{path}: can't be read as weights of this project ({error})") from error


def paths_of(folder, unfinished=False):
    """The weight files of a run's checkpoint folder: dict of paths for "liver", "tumour" and, where
    it was trained, "gate".

    unfinished  True takes the best weights so far where a training hasn't finished.
    Raises FileNotFoundError when the liver's or the tumour's are missing.
    """
    names = ("final", "best") if unfinished else ("final",)
    paths = {}
    for stage in STAGES:
        candidates = [folder / stage / f"{name}.safetensors" for name in names]
        if present := [path for path in candidates if path.is_file()]:
            paths[stage] = present[0]
        elif stage != "gate":
            message = f"{folder / stage}: holds no {' or '.join(names)} weights"
            raise FileNotFoundError(f"{message}; train this stage with notebook 04")
    return paths


def load_network(path, device="cpu", precision=None):
    """The TrainedNetwork that `save_weights` wrote; precision None is what the device predicts
    in.
    """
    device = torch.device(device)
    return TrainedNetwork(*load_weights(path, device),
                          precision or half_precision_supported(device), Path(path))


def load_networks(folder, device="auto", unfinished=False):
    """The networks of a run's checkpoint folder, as `paths_of` finds them: dict of TrainedNetwork.

    device  "cpu", "cuda" or "auto". Raises what `paths_of` and `load_weights` raise, and ValueError
            for a gate that doesn't fit the liver's network.
    """
    device = device_named(device)
    paths = paths_of(folder, unfinished)
    networks = {stage: load_network(path, device) for stage, path in paths.items()}
    check_same_pixels(networks, folder)
    return networks
