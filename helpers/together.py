"""Processes that train together, as torchrun starts them: which one this is, what they agree on.

Without torchrun there is one, and nothing here does anything.
"""

import datetime
import os
import sys

PATIENCE = datetime.timedelta(hours=12)  # for the first process, while it alone validates


def is_launched():
    """True in a process that torchrun has started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def join():
    """Meet the other processes that torchrun has started."""
    import torch

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backend, timeout=PATIENCE)


def leave():
    """The opposite of `join`."""
    if group := _group():
        group.destroy_process_group()


def _group():
    """torch.distributed where processes have joined, else None; torch is not loaded for it."""
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    is_joined = distributed and distributed.is_available() and distributed.is_initialized()
    return distributed if is_joined else None


def rank():
    """The number of this process; the first, 0, is the only one that writes."""
    group = _group()
    return group.get_rank() if group else 0


def count():
    """How many processes train together."""
    group = _group()
    return group.get_world_size() if group else 1


def of_first(work, *arguments):
    """What work(*arguments) returns in the first process, in all of them; it must be picklable."""
    group = _group()
    if not group:
        return work(*arguments)
    result = [None if rank() else work(*arguments)]
    group.broadcast_object_list(result)
    return result[0]


def any_of(text):
    """The text of the first process in which it isn't empty."""
    group = _group()
    if not group:
        return text
    texts = [""] * count()
    group.all_gather_object(texts, text)
    return next(filter(None, texts), "")


def wait():
    """Go on when all have come here."""
    of_first(str)
