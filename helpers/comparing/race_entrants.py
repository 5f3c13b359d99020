"""What the race asks of a recipe from elsewhere, and the slices and batches that it learns from."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric

from helpers.cascade import liver
from helpers.comparing import baselines
from helpers.files import written_whole
from helpers.learning.train_step import TrainStep
from helpers.scans import reading
from helpers.slices import recipe

CLASSES, BATCH, SEED = 3, 8, 7
AIR = -1024  # HU beyond the scan's edge
BOTH = ("image", "label")


@dataclass
class Entrant:
    """A recipe for 2-D slices and three classes, with what the race asks of it.

    batches  as `batches_of` gives them.
    logits   function from HU float32 (B, 1, H, W) to logits (B, 3, H, W).
    rate     function from the share of the time gone, 0…1, to the learning rate.
    size     pixels along the slices, which are those of `slices_of`.
    start    what the weights were before the first step.
    """

    network: torch.nn.Module
    loss_of: object
    optimiser: torch.optim.Optimizer
    batches: object
    logits: object
    rate: object
    size: int
    start: str = "random weights"
    steps: int = 0

    def __post_init__(self):
        self.learn = TrainStep(
            self.network,
            self.optimiser,
            self.loss_of,
            Fabric(accelerator="cpu", devices=1),
            memory_format=torch.contiguous_format,
        )

    def step(self, share):
        for group in self.optimiser.param_groups:
            group["lr"] = float(self.rate(share))  # numpy's can't be read from a state
        self.steps += 1
        return self.learn(self.batches.draw())

    @torch.inference_mode()
    def predict(self, volume):
        """Labels uint8 (z, y, x): the likeliest class of each pixel, and of livers the largest."""
        self.network.eval()
        grid = recipe.whole_grid(volume.hu.shape, volume.spacing_mm, self.size)
        labels = np.zeros(volume.hu.shape, np.uint8)
        back = np.zeros((CLASSES, *labels.shape[1:]), np.float32)
        for start in range(0, len(labels), BATCH):
            hu = volume.hu[start : start + BATCH].astype(np.float32)
            planes = np.stack([grid.cut(plane, fill=AIR) for plane in hu])
            probability = self.logits(torch.from_numpy(planes)[:, None]).softmax(1).numpy()
            for k, classes in enumerate(probability, start=start):
                for plane, of_class in zip(back, classes, strict=True):
                    grid.back(of_class, plane)
                labels[k] = back.argmax(0)
        return with_one_liver(labels)

    def state_dict(self):
        network, optimiser = self.network.state_dict(), self.optimiser.state_dict()
        return {"network": network, "optimiser": optimiser, "steps": self.steps}

    def load_state_dict(self, state):
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = state["steps"]
        self.batches.reseed(SEED + self.steps)  # other slices than after the start


def batches_of(items, chain, batch_size):
    """The CachedBatches of an entrant: image (B, C, H, W), target (B, 1, H, W)."""
    # slices without liver are no mistake
    warnings.filterwarnings("ignore", message="Num (foregrounds|backgrounds)")
    return baselines.CachedBatches(items, BOTH, chain, batch_size, SEED)


def with_one_liver(labels):
    """Labels without all that isn't part of the largest component of liver and tumour together."""
    return np.where(liver.largest_component(labels >= 1)[0], labels, 0).astype(np.uint8)


def slices_of(folder, rows, size):
    """Slices of some cases, with and without liver, written once to a folder and mapped from there.

    rows     rows of cases.csv.
    size     pixels along the edge of a slice, whose longer side the scan fills.
    returns  list of dicts: "image" HU int16 and "label" uint8, both (1, size, size).
    """
    items = []
    for row in rows.to_dict("records"):
        paths = {name: folder / f"{row['case']}-{size}-{row['bytes']}.{name}.npy" for name in BOTH}
        if not all(path.is_file() for path in paths.values()):
            volume, labels = reading.read_row(row)
            grid = recipe.whole_grid(volume.hu.shape, volume.spacing_mm, size)
            stacks = grid.stack(volume.hu, fill=AIR), grid.stack(labels, labels=True)
            for name, stack in zip(BOTH, stacks, strict=True):
                with written_whole(paths[name]) as beside:
                    np.save(beside, stack[:, None])
        arrays = {name: np.load(path, mmap_mode="c") for name, path in paths.items()}
        slices = zip(*arrays.values(), strict=True)
        items += [dict(zip(BOTH, pair, strict=True)) for pair in slices]
    return items
