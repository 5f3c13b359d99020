"""Numbered generations of a training's state on disk: written whole, checked by a hash, the newest
sound one is used.
"""

import hashlib
import io
import pickle
from pathlib import Path

import torch

from helpers import together
from helpers.files import written_whole

KEPT = 3


def newest_first(folder):
    """The generation files of a folder, newest first."""
    return sorted(Path(folder).glob("generation-*.pt"), reverse=True)


def step_of(path):
    """The step in a generation's file name."""
    return int(Path(path).stem.removeprefix("generation-"))


def write(folder, step, content):
    """Write the state at a step beside and rename it, a SHA-256 before the content; older ones than
    KEPT go.

    Newer ones go too: the training would have resumed from them if they weren't damaged. Of
    processes that train together the first alone writes.
    content  nested dicts and lists of tensors, numbers and strings: what
             torch.load(weights_only=True) can read.
    Raises TypeError for anything else: now, and not when it is too late to save something better.
    """
    if together.rank():
        return
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(0)
    if foreign := torch.serialization.get_unsafe_globals_in_checkpoint(buffer):
        kinds = ", ".join(sorted(foreign))
        raise TypeError(f"a state may hold tensors, numbers and text, not {kinds}")
    data = buffer.getbuffer()
    path = Path(folder) / f"generation-{step:08d}.pt"
    with written_whole(path) as beside, open(beside, "wb") as handle:
        handle.write(hashlib.sha256(data).digest())
        handle.write(data)
    files = newest_first(folder)
    sound = [path for path in files if step_of(path) <= step]
    for path in {*files} - {*sound[:KEPT]}:
        path.unlink()


def read(path):
    """The content of one generation.

    Raises ValueError, naming the file, when its bytes are not those that were written.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: can't be read ({error.strerror})") from error
    if len(data) < 33 or hashlib.sha256(data[32:]).digest() != data[:32]:
        raise ValueError(f"{path}: is damaged ({len(data):,} bytes, checksum differs)")
    try:
        return torch.load(io.BytesIO(data[32:]), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        kind = type(error).__name__
        message = f"{path}: is whole, but torch {torch.__version__} can't read it ({kind})"
        raise ValueError(message) from error


def read_newest(folder):
    """(content, sentences about damaged generations) of the newest sound one; (None, []) when none
    was ever written.

    Raises RuntimeError when there are generations and all are damaged: starting afresh is the
    user's decision.
    """
    damaged = []
    for path in newest_first(folder):
        try:
            return read(path), damaged
        except ValueError as error:
            damaged.append(f"{error}; the generation before it is used")
    if damaged:
        files = " · ".join(sentence.partition("; the generation")[0] for sentence in damaged)
        raise RuntimeError(
            f"{folder}: all generations are damaged; delete the folder to train afresh. {files}"
        )
    return None, []
