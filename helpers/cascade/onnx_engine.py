"""Networks as `helpers.export` writes them, computed by ONNX Runtime without torch."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import files
from helpers.cascade.inference import check_same_pixels
from helpers.cascade.rules import Rules
from helpers.parameters import unknown
from helpers.slices.recipe import Recipe

CARD = "cascade.json"
VERSION = 1  # raise when files of the old kind can't be read any more
AGAIN = "export the networks again: python -m helpers.export"
PLANES, PROBABILITY = "planes", "probability"  # what goes in and comes out of each graph


@dataclass
class OnnxNetwork:
    """A stage's network, by its ONNX file and its card; what weights.TrainedNetwork is to torch.

    Travels to other processes, each of which opens the file itself.
    """

    card: dict
    path: Path

    @functools.cached_property
    def session(self):
        return session_of(self.path)

    def __getstate__(self):
        return {"card": self.card, "path": self.path}

    @property
    def recipe(self):
        return Recipe(**self.card["recipe"])

    def probability(self, planes):
        """As weights.TrainedNetwork.probability, in float32."""
        height, width = planes.shape[2:]
        padded = np.pad(planes, ((0, 0), (0, 0), (0, -height % 32), (0, -width % 32)))
        return self.session.run([PROBABILITY], {PLANES: padded})[0]


def load_networks(folder):
    """(dict of OnnxNetwork, Rules) of a folder that `helpers.export` wrote.

    Raises ValueError, naming the file, for a folder of another version, files that are missing or
    aren't those that were written together, and networks that don't fit each other or this program.
    """
    card = read_card(folder)
    try:
        return _networks_of(card, folder)
    except (KeyError, TypeError, AttributeError) as error:
        message = f"is damaged, or was changed by hand ({type(error).__name__}: {error})"
        raise ValueError(f"{folder / CARD}: {message}; {AGAIN}") from error


def _networks_of(card, folder):
    networks = {stage: load_network(folder / f"{stage}.onnx", written, stage)
                for stage, written in card["networks"].items()}
    if missing := sorted({"liver", "tumour"} - networks.keys()):
        raise ValueError(f"{folder / CARD}: names no network for {missing[0]}; {AGAIN}")
    check_same_pixels(networks, folder)
    rules, known = card["rules"], vars(Rules())
    if others := sorted(rules.keys() - known.keys()):
        message = unknown(others[0], sorted(known), "the cascade has no rule")
        raise ValueError(f"{folder / CARD}: {message}; {AGAIN}")
    return networks, Rules(**rules | {"neck_widths_mm": tuple(rules["neck_widths_mm"])})


def read_card(folder):
    """What cascade.json says, a dict."""
    file = folder / CARD
    if not file.is_file():
        raise ValueError(f"{folder}: holds no {CARD}, so no networks for ONNX; {AGAIN}")
    card = files.recorded(file)
    if card.get("version") != VERSION:
        raise ValueError(f"{file}: is damaged, or of another version than {VERSION}, which this "
                         f"program reads ({card.get('version')}); {AGAIN}")
    return card


def load_network(file, written, stage):
    """The OnnxNetwork of a stage's file and what cascade.json says of it: its `card` and `sha256`.
    """
    if not file.is_file():
        raise ValueError(f"{file}: is missing; {AGAIN}")
    if files.sha256(file) != written["sha256"]:
        message = f"is damaged, or not the file that {CARD} was written with"
        raise ValueError(f"{file}: {message}; {AGAIN}")
    network = OnnxNetwork(written["card"], file)
    if network.card["stage"] != stage:
        raise ValueError(f"{file}: holds the {network.card['stage']} network; {AGAIN}")
    channels = network.session.get_inputs()[0].shape[1]
    if channels != (wanted := channels_of(network.card)):
        raise ValueError(f"{file}: takes {channels} channels, its recipe gives {wanted}; {AGAIN}")
    return network


def channels_of(card):
    """How many channels a network sees: each window of a slice and its neighbours."""
    return len(card["recipe"]["windows"]) * (2 * card["neighbours"] + 1)


def session_of(file):
    """An ONNX Runtime session on the CPU, of as many threads as OMP_NUM_THREADS says, else a core
    each. Raises ValueError where ONNX Runtime isn't there, or is too old for the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        message = f"the engine onnx needs onnxruntime: pip install onnxruntime ({error})"
        raise ValueError(message) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of types of its own
        message = f"ONNX Runtime {onnxruntime.__version__} can't read it ({error})"
        raise ValueError(f"{file}: {message}") from error
