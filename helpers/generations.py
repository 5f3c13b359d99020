"""Numbered generations of a training's state on disk: written whole, checked by a hash, the newest sound one is used."""

import hashlib
import io
from pathlib import Path

import torch

from helpers import paths

KEPT = 3


def newest_first(folder):
    """The generation files of a folder, newest first."""
    return sorted(Path(folder).glob("generation-*.pt"), reverse=True)


def write(folder, step, content):
    """Write the state at a step beside and rename it, a SHA-256 before the content; older ones than KEPT go.

    content  nested dicts and lists of tensors, numbers and strings: what torch.load(weights_only=True) can read.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data = buffer.getbuffer()
    with paths.written_whole(Path(folder) / f"generation-{step:08d}.pt") as beside, open(beside, "wb") as handle:
        handle.write(hashlib.sha256(data).digest())
        handle.write(data)
    for old in newest_first(folder)[KEPT:]:
        old.unlink()


def read(path):
    """The content of one generation.

    Raises ValueError, naming the file, when its bytes are not those that were written.
    """
    data = Path(path).read_bytes()
    if len(data) < 33 or hashlib.sha256(data[32:]).digest() != data[:32]:
        raise ValueError(f"{path}: is damaged ({len(data):,} bytes, checksum differs)")
    return torch.load(io.BytesIO(data[32:]), map_location="cpu", weights_only=True)


def read_newest(folder):
    """(content, sentences about damaged generations) of the newest sound one; (None, []) when none was ever written.

    Raises RuntimeError when there are generations and all are damaged: starting afresh is the user's decision.
    """
    damaged = []
    for path in newest_first(folder):
        try:
            return read(path), damaged
        except ValueError as error:
            damaged.append(f"{error}; the generation before it is used")
    if damaged:
        raise RuntimeError(f"{folder}: all generations are damaged; delete the folder to train afresh. " + " · ".join(damaged))
    return None, []
