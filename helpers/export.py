"""Networks for use without torch, as ONNX with their recipe and rules: python -m helpers.export"""

import argparse
import importlib.util
import sys
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import torch

import helpers
from helpers import files, processes, runs
from helpers.cascade import onnx_engine, weights
from helpers.cascade.onnx_engine import CARD, PLANES, PROBABILITY, VERSION
from helpers.cascade.rules import Rules
from helpers.processes import DONE, FAILED, USAGE
from helpers.slices.pixels import normalised

CLOSE = 1e-3  # how far probabilities may lie from torch's
OPSET = 17  # read by ONNX Runtime since 2022
# of a batch: slices, rows and columns; whoever exports for one size fails for the other
SIZES = ((2, 64, 96), (3, 160, 128))
READ_ME = {
    "planes": "uint8 (slices, channels, rows, columns), rows and columns multiples of 32, black "
              "beyond the slice; a window's low and high HU are 0 and 255; channels are the slice "
              "and its neighbours, lowest first, of each all windows of the recipe",
    "probability": "float32 (slices, rows, columns), of the gate (slices,); NaN for what isn't "
                   "finite",
}
EXPLAINED = """
DIR gets gate.onnx (where there is a gate), liver.onnx, tumour.onnx and cascade.json. Segment with
them, in an environment without torch, too (in it: pip install "./helpers[predict]"):
  python -m helpers.predict scan.nii.gz --engine onnx --run DIR
exit codes: 0 done, 1 failed (the message says what and where), 2 wrong usage.
"""


def main(words=None):
    """Run the command line `words`; returns the exit code."""
    processes.print_any_letter()
    options = parsed(words)
    try:
        folder = runs.weights_folder(options.run)
    except ValueError as error:
        print(f"helpers.export: {error}", file=sys.stderr)
        return USAGE
    out = options.out or folder / "onnx"
    try:
        files.check_writable(out / CARD)
        networks = weights.load_networks(folder, "cpu", options.unfinished)
        differences = write(networks, out)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"helpers.export: {error}", file=sys.stderr)
        return FAILED
    for stage, difference in differences.items():
        print(f"{out / stage}.onnx: probabilities within {difference:.1e} of torch's in float32")
    print(out / CARD)
    return DONE


def parsed(words):
    """The command line as a namespace; argparse itself exits with 2 for words it doesn't know."""
    parser = argparse.ArgumentParser(
        "python -m helpers.export", description=__doc__, epilog=EXPLAINED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--run", required=True, help="whose networks: a run, or a folder of weights")
    add("-o", "--out", type=Path, metavar="DIR",
        help="folder to write; default onnx beside the weights, where --engine onnx looks for it")
    add("--unfinished", action="store_true",
        help="also take the best weights so far of a paused training")
    return parser.parse_args(words)


def write(networks, out):
    """Write a dict of TrainedNetworks as ONNX, and cascade.json last; returns for each stage how
    far its probabilities lie from torch's in float32.

    Raises ValueError without the package onnx, and for a network that ONNX can't hold, or that
    answers otherwise there.
    """
    if not importlib.util.find_spec("onnx"):
        raise ValueError("torch writes ONNX with a package that is missing: pip install onnx")
    differences, written = {}, {}
    for stage, trained in networks.items():
        trained, file = replace(trained, precision="32-true"), out / f"{stage}.onnx"
        with files.written_whole(file) as beside:
            differences[stage] = write_checked(trained, beside)
        written[stage] = {"sha256": files.sha256(file), "card": trained.card}
    card = {"version": VERSION, "helpers": helpers.__version__} | READ_ME
    card |= {"rules": asdict(Rules()), "networks": written}
    files.write_json(out / CARD, card)
    return differences


def write_checked(trained, path):
    """`write_graph`, and how far ONNX's probabilities lie from those of a TrainedNetwork."""
    try:
        write_graph(trained, path)
        difference = largest_difference(trained, path)
    except Exception as error:  # of a dozen types, by what a trace can't hold
        reason = str(error).strip().partition("\n")[0]
    else:
        if difference <= CLOSE:
            return difference
        reason = f"its probabilities lie {difference:.2g} from torch's"
    raise ValueError(f"the {trained.card['stage']} network can't be exported: {reason}")


class FromGrey(torch.nn.Module):
    """A TrainedNetwork from grey values to probabilities: what weights.TrainedNetwork.probability
    does around its network.
    """

    def __init__(self, trained):
        super().__init__()
        self.network, self.norm = trained.network, trained.card["norm"]
        self.stage = trained.card["stage"]

    def forward(self, planes):  # uint8 (B, C, H, W) -> float32 (B, H, W), or (B,)
        logits = self.network(normalised(planes.float() / 255, self.norm))
        return weights.foreground(logits + 0 * logits, self.stage)  # 0 · infinity is NaN


@torch.no_grad()
def write_graph(trained, path):
    """Write a TrainedNetwork as an ONNX file; BatchNorm goes into the convolutions before it."""
    example = torch.from_numpy(grey_planes(SIZES[0], trained.card))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            FromGrey(trained).eval(), (example,), path, input_names=[PLANES],
            output_names=[PROBABILITY], opset_version=OPSET, dynamo=False,
            dynamic_axes={PLANES: {0: "slices", 2: "rows", 3: "columns"}},
        )


def largest_difference(trained, path):
    """How far ONNX's probabilities lie from torch's, on planes of two sizes."""
    network = onnx_engine.OnnxNetwork(trained.card, path)
    planes = [grey_planes(size, trained.card) for size in SIZES]
    return max(float(np.abs(network.probability(p) - trained.probability(p)).max())
               for p in planes)


def grey_planes(size, card):
    """Blobs of all greys with noise on them, uint8 (slices, channels, rows, columns)."""
    (count, rows, columns), channels = size, onnx_engine.channels_of(card)
    rng = np.random.default_rng(0)
    blobs = [cv2.resize(rng.uniform(0, 255, (6, 6)), (columns, rows), interpolation=cv2.INTER_CUBIC)
             for _ in range(count * channels)]
    planes = np.reshape(blobs, (count, channels, rows, columns))
    return np.clip(planes + rng.normal(0, 8, planes.shape), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
