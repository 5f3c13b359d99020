"""Sittings of notebook 04 in processes that can be killed: its own code cells, run in children of a
server that has torch.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import socket
import sys
from pathlib import Path

import safetensors.torch
import torch

from helpers import inline, runs
from helpers.learning import checkpoints, sittings

RUN = "proof"
STAGES = ("gate", "liver", "tumour")
PHANTOMS = ("phantom_cases=6", "phantom_size=64", "val_share=0.2", "test_share=0.2", "chunk_slices=64")
TRAINING = {"width": 4, "epochs": 4, "validations": 8, "save_seconds": 0.1, "precision": "32-true", "loggers": "csv",
            "chunk_minutes": 0.0, "chunk_steps": 0, "interactive": False}  # fmt: skip
COMPARED = ("network", "ema", "optimiser", "scheduler", "history", "best", "files")


def environment(root):
    """For a process that works in `root` with one thread, as the forked ones do that it is compared
    with.
    """
    return os.environ | {"CASCADE_LIVER_ROOT": str(root), "OMP_NUM_THREADS": "1"}


def server():
    """A multiprocessing context whose children begin with everything imported; POSIX only."""
    from multiprocessing import forkserver

    before = dict(os.environ)
    searched = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    os.environ.update({"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "PYTHONPATH": searched})
    context = multiprocessing.get_context("forkserver")
    ours = ["cascade.weights", "learning.losses", "learning.machine", "learning.sittings", "learning.train_step",
            "learning.validation", "looking.plots", "looking.viewer"]  # fmt: skip
    context.set_forkserver_preload(["harness", "monai.losses", "IPython.display", *(f"helpers.{name}" for name in ours)])
    forkserver.ensure_running()
    os.environ.clear()
    os.environ.update(before)
    return context


def begun(context, root, stage, log, launched=None, **parameters):
    """Start a sitting of 04 for a stage of the run in a root folder; returns the process.

    launched  what torchrun would put into its environment.
    """
    given = TRAINING | {"run": RUN, "stage": stage} | parameters
    process = context.Process(target=_sit, args=(str(root), given, str(log), launched or {}))
    process.start()
    return process


def begun_together(context, root, stage, log, count, **parameters):
    """Start a sitting in `count` processes that train together, as torchrun would; returns them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    of_all = {"TORCHELASTIC_RUN_ID": "proof", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    of_all |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    ranks = [of_all | {"RANK": str(k), "LOCAL_RANK": str(k)} for k in range(count)]
    return [begun(context, root, stage, log, launched, **parameters) for launched in ranks]


def _sit(root, given, log, launched):
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(written, 1)
    os.dup2(written, 2)
    torch.set_num_threads(1)
    # these networks are saved in no time: more saves, more kills within one
    sittings.SAVING_SHARE = 1.0
    runs.ROOT = Path(root)
    os.environ.update(launched)
    with inline.joined():
        inline.run_cells("04_training", given)


def folder_of(root, stage):
    return Path(root) / "checkpoints" / RUN / stage


def forget(root, stage, stamp_only=False):
    """Remove what earlier sittings of a stage have written, the regions it validates on included;
    or its stamp alone.
    """
    if not stamp_only:
        shutil.rmtree(folder_of(root, stage), ignore_errors=True)
    if stage == "tumour" and not stamp_only:
        shutil.rmtree(Path(root) / "data" / "stores" / RUN / "tumour_predicted", ignore_errors=True)
    (Path(root) / "reports" / RUN / "stages" / f"04_training_{stage}.json").unlink(missing_ok=True)


def finished(root, stage):
    stamp = Path(root) / "reports" / RUN / "stages" / f"04_training_{stage}.json"
    return stamp.is_file() and json.loads(stamp.read_text())["state"] == "done"


def hashes(root, stage):
    """A SHA-256 for everything that a training ends with: part of the state -> hex digest."""
    folder = folder_of(root, stage)
    state, damaged = checkpoints.read_newest(folder)
    assert not damaged, damaged
    ends = {name: state["parts"][name] for name in ("network", "ema", "optimiser", "scheduler")}
    ends |= {"history": [state["history"], state["losses"]]}
    ends |= {"best": [state[name] for name in ("best", "best_step", "stale", "best_weights")]}
    ends |= {"files": weights_in(folder)}
    return {name: digest(ends[name]) for name in COMPARED}


def weights_in(folder):
    """The tensors of every weights file; its card also names the commit, which may change while a
    proof runs.
    """
    return {path.name: safetensors.torch.load_file(path) for path in Path(folder).glob("*.safetensors")}


def digest(value):
    """SHA-256 of nested plain values and tensors, to the last bit, in a fixed order."""
    running = hashlib.sha256()

    def add(value):
        if isinstance(value, dict):
            for key in sorted(value, key=repr):
                running.update(repr(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            running.update(f"[{len(value)}]".encode())
            for inner in value:
                add(inner)
        elif isinstance(value, torch.Tensor):
            running.update(f"{value.dtype}{tuple(value.shape)}".encode() + value.contiguous().numpy().tobytes())
        else:
            running.update(repr(value).encode())

    add(value)
    return running.hexdigest()


def steps_done(root, stage):
    """The step of the newest generation, -1 before there is one."""
    return max((checkpoints.step_of(path) for path in checkpoints.newest_first(folder_of(root, stage))), default=-1)
