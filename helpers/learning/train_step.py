"""One step of training: forward, loss, backward, optimiser, average; all learning goes by it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric

from helpers import together
from helpers.learning import global_batch

# it would log the precision, which a notebook prints anyway
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


@dataclass
class TrainStep:
    """Called with a batch, the network learns from it; returns the loss, a float.

    fabric         device and precision; it takes over network and optimiser.
    loss_of        function (logits, target) -> loss, a scalar tensor.
    ema            weights.averaged(network), stepped like scheduler where there is one.
    memory_format  torch.channels_last is faster where the weights lie so, too.
    parts          of a batch, one after the other; doubled when GPU memory is short.

    Of processes that train together each takes its slices of the batch, and all get the
    same loss and the same gradients, those of the whole batch.
    """

    network: torch.nn.Module
    optimiser: torch.optim.Optimizer
    loss_of: Callable
    fabric: Fabric
    ema: torch.nn.Module | None = None
    scheduler: object | None = None
    memory_format: torch.memory_format = torch.channels_last
    parts: int = 1

    def __post_init__(self):
        global_batch.share_statistics(self.network)
        self.network, self.optimiser = self.fabric.setup(self.network, self.optimiser)

    def __call__(self, batch):
        # (B, C, H, W), (B, 1, H, W), of this process
        image, target = self.fabric.to_device(global_batch.part_of(batch))
        image = image.contiguous(memory_format=self.memory_format)
        self.network.train()
        loss, self.parts = in_parts(self.gradients, image, target, self.parts)
        self.optimiser.step()
        if self.ema is not None:
            self.ema.update_parameters(self.network)
        if self.scheduler is not None:
            self.scheduler.step()
        return loss

    def gradients(self, image, target, parts):
        """Forward and backward; gradients of parts add up to those of the batch."""
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for x, y in zip(image.chunk(parts), target.chunk(parts), strict=True):
            logits = self.network(x)  # (B / parts, classes, H, W)
            loss = self.loss_of(global_batch.of_all(logits), global_batch.of_all(y))
            loss = loss * (len(x) / len(image))
            # several processes take the mean of their gradients, where a sum is meant
            self.fabric.backward(loss * together.count())
            total += loss.item()
        return total


def in_parts(work, image, target, parts):
    """Call work(image, target, parts); when a GPU's memory is too small for a part, halve the parts
    and try again.

    returns  (what work returned, the number of parts that fitted).
    """
    while True:
        try:
            return work(image, target, parts), parts
        except torch.OutOfMemoryError:
            if parts >= len(image) or together.count() > 1:  # the others wouldn't follow
                raise
            parts *= 2
            torch.cuda.empty_cache()
            print(f"the GPU's memory is too small: batches are now worked through in {parts} parts")
