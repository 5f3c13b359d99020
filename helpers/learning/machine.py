"""The machine that a training runs on: device, precision and loggers as Fabric takes them, and a
description for the card.
"""

import logging
import os
import platform

import numpy
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import CSVLogger, TensorBoardLogger
from lightning_fabric.strategies import DDPStrategy

from helpers import __version__, parameters, together
from helpers.cascade.precision import device_named, remembered_precision
from helpers.origins import commit, processor


def fabric_for(folder, network, example, *, device="auto", precision="auto", loggers=""):
    """Fabric on the named device.

    folder     of the training: the loggers write there, and "auto" remembers the precision measured
               with network and example, an image (B, C, H, W).
    precision  "32-true", "bf16-mixed", "16-mixed", "64-true" or "auto", which takes the fastest;
               "32-true" in place of one in which this processor crashes. Afterwards
               `precision_of(fabric)`.
    loggers    a comma list, as `loggers_named` takes it.
    """
    chosen = device_named(device)
    tried = folder, network, example, chosen, precision
    precision = together.of_first(remembered_precision, *tried)
    fabric = fabric_of(chosen, precision, loggers_named(loggers, folder))
    fabric.strategy.precision.convert_module(network)  # "64-true" alone changes it
    return fabric


def fabric_of(device, precision="32-true", loggers=()):
    """Fabric on a torch.device, and with the processes that train together, without its notice that
    half precision is half precision.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    of_machines = {"devices": 1}
    if together.count() > 1:
        on_each = int(os.environ["LOCAL_WORLD_SIZE"])
        of_machines = {"devices": on_each, "num_nodes": together.count() // on_each}
        of_machines["strategy"] = DDPStrategy(forward_sync_buffers=False)
    fabric = Fabric(accelerator=device.type, precision=precision, loggers=loggers, **of_machines)
    fabric.launch()
    return fabric


def precision_of(fabric):
    """The precision that a Fabric computes in, by its name."""
    return fabric.strategy.precision.precision


def loggers_named(names, folder):
    """Loggers for a comma list of "csv", "tensorboard" and "wandb"; empty for none.

    wandb works without an account when WANDB_MODE is offline.
    Raises ValueError for an unknown name, ModuleNotFoundError with what to install.
    """
    if together.rank():
        return []
    known = {
        "csv": lambda: CSVLogger(folder, name="tracked", flush_logs_every_n_steps=1),
        "tensorboard": lambda: TensorBoardLogger(folder, name="tensorboard"),
        "wandb": lambda: _wandb(folder),
    }
    for name in parameters.listed(names):
        if name not in known:
            raise ValueError(f"logger {name!r}: choose of csv, tensorboard and wandb")
    return [known[name]() for name in parameters.listed(names)]


def _wandb(folder):
    try:
        from wandb.integration.lightning.fabric import WandbLogger
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the wandb logger needs: pip install wandb lightning") from error
    name = f"{folder.parent.name}-{folder.name}"
    return WandbLogger(project="cascade-liver-ct", name=name, save_dir=folder)


def described():
    """Plain values that a result may depend on besides its settings, for its card."""
    description = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "helpers": __version__,
        "commit": commit(),
        "system": platform.system(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "processes": together.count(),
    }
    if torch.cuda.is_available():
        description["gpu"] = torch.cuda.get_device_name()
    return description
