"""Training in sittings: when to save, when to pause, and how to go on exactly from there."""

import contextlib
import os
import platform
import subprocess
import time
from pathlib import Path

import filelock
import torch

from helpers import __version__, files, processes, runs
from helpers.learning import checkpoints
from helpers.learning.training import Training
from helpers.parameters import listed

SAVING_SHARE = 0.01  # of the time: where saving is slow, it is done more rarely than every `save_seconds`


def resume(folder, settings, total_steps, parts, made_with=None, **how):
    """The Training in a folder: from its newest sound generation, or from the start when there is none.

    settings     plain values that decide what is learnt, hashes of the lists included.
    parts        dict of everything with a state_dict: network, optimiser, scheduler, ema. Where `total_steps` differs
                 from the saved one, a part's `move_end(step, total_steps)` is called.
    made_with    what else may differ between sittings and is told when it does, such as the device.
    Raises ValueError for other settings than the saved ones, RuntimeError when every generation is damaged or gone.
    """
    training = Training(folder, settings, parts, total_steps, made_with=described() | (made_with or {}), **how)
    training.folder.mkdir(parents=True, exist_ok=True)
    training.found = checkpoints.newest_first(training.folder)
    state, notes = checkpoints.read_newest(training.folder)
    for note in notes:
        print(note)
    if state:
        training.restore(state)
        print(f"goes on at step {training.step:,} of {total_steps:,}")
    elif weights := sorted(path.name for path in training.folder.glob("*.safetensors")):
        raise RuntimeError(f"{folder}: holds {', '.join(weights)}, but no generation to go on from; put the generations "
                           "back, choose another run name, or delete the folder to train afresh")  # fmt: skip
    return training


def sitting(training, batches, minutes=0.0, steps=0):
    """Yield (step, batch) until the training is finished or has to pause; save now and then, and at the end.

    It pauses after `minutes` or `steps` (0 for no limit), for a file named `stop` in the training's folder or the one
    above (which it removes), and on SIGINT and SIGTERM: the interrupt button of a notebook sends the first.
    Raises RuntimeError when another process trains in the same folder, or has since this one read it.
    """
    with _held(training), processes.collected(impatient=True) as asked:
        training.began = began = time.monotonic()
        first, stops = training.step, [folder / "stop" for folder in (training.folder, training.folder.parent)]
        if not training.is_saved:
            training.save()
        saved = time.monotonic()
        while not training.finished:
            training.paused_by = _reason(asked, stops, steps and training.step - first >= steps, minutes, began)
            if training.paused_by:
                break
            torch.manual_seed(1_000_003 * batches.seed + training.step)  # dropout, where a network has it
            place, batch = batches.place(training.step), batches(training.step)
            training.in_step = True
            yield training.step, batch
            training.step, training.is_saved, training.in_step = training.step + 1, False, False
            if batches.place(training.step)[:2] != place[:2] and "ema" in training.parts:
                training.write(f"chunk_{place[1] + 1:02d}", training.parts["ema"].module, training.card_at(training.step))
            if time.monotonic() - saved > max(training.save_seconds, training.save_took / SAVING_SHARE):
                training.save()
                saved = time.monotonic()
                print(_progress(training, first, saved - began), flush=True)
        if not training.is_saved:
            training.save()
        training.minutes, training.began = training.minutes_now(), None
        _write_history(training)
        for stop in stops:
            stop.unlink(missing_ok=True)


def _write_history(training):
    import pandas as pd

    frame = pd.DataFrame(training.history)
    if len(frame):
        frame.insert(1, "minutes", [round(minutes, 3) for minutes in training.clock])
    with training.told("history.csv"):
        files.write_csv(training.folder / "history.csv", frame)


def _progress(training, first, seconds):
    left = (training.total_steps - training.step) * seconds / (training.step - first) / 60
    recent = training.losses[-50:]
    loss = f", loss {sum(recent) / len(recent):.3f}" if recent else ""
    best = f", best score {training.best:.3f}" if training.best >= 0 else ""
    return f"step {training.step:,} of {training.total_steps:,}{loss}{best}, about {left:.0f} min left"


def _reason(asked, stops, steps_are_up, minutes, began):
    if asked:
        return f"{asked[0]} received"
    if any(stop.exists() for stop in stops):
        return "a file named stop"
    if steps_are_up:
        return "chunk_steps are up"
    return "chunk_minutes are up" if minutes and time.monotonic() - began > 60 * minutes else ""


@contextlib.contextmanager
def _held(training):
    """The training's folder for this process alone, tidied after processes that were killed in it."""
    folder = training.folder
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    with training.told("the lock"):
        try:
            lock.acquire()
        except filelock.Timeout:
            raise RuntimeError(f"another process is training in {folder}; wait for it, or choose another run name") from None
    try:
        if checkpoints.newest_first(folder) != training.found:
            raise RuntimeError(f"{folder}: another process has trained here since its state was read; run this notebook again")
        files.remove_leftovers(folder)
        if training.in_step:  # the last sitting broke off in the middle of a step, by an error or a second interrupt
            training.restore(checkpoints.read_newest(folder)[0])
            print(f"goes back to step {training.step:,}, the last one saved")
        if training.best_weights:  # a process killed before its next save may have left the weights of a later step
            training.write("best", training.best_weights, training.best_card)
        yield
    finally:
        lock.release()


def described():
    """Plain values that a result may depend on besides its settings, for its card."""
    import numpy
    import torch

    told = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": numpy.__version__}
    told |= {"helpers": __version__, "commit": commit(), "system": platform.system(), "processor": processor()}
    told |= {"threads": torch.get_num_threads()}
    return told | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def processor():
    """The processor's name and its cores: "AMD EPYC 7R13, 2 cores"."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def commit():
    """The commit of this copy, "-dirty" after it when files were changed since; empty where there is no git."""
    words = ["git", "-C", str(runs.HERE), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def named(names, folder):
    """Loggers for a comma list of "csv", "tensorboard" and "wandb"; empty for none.

    wandb works without an account when WANDB_MODE is offline.
    Raises ValueError for an unknown name, ModuleNotFoundError with what to install.
    """
    return [_one(name, folder) for name in listed(names)]


def _one(name, folder):
    if name == "csv":
        from lightning_fabric.loggers import CSVLogger

        return CSVLogger(folder, name="tracked", flush_logs_every_n_steps=1)
    if name == "tensorboard":
        from lightning_fabric.loggers import TensorBoardLogger

        return TensorBoardLogger(folder, name="tensorboard")
    if name == "wandb":
        try:
            from wandb.integration.lightning.fabric import WandbLogger
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("the wandb logger needs: pip install wandb lightning") from error
        return WandbLogger(project="cascade-liver-ct", name=f"{folder.parent.name}-{folder.name}", save_dir=folder)
    raise ValueError(f"logger {name!r}: choose of csv, tensorboard and wandb")
