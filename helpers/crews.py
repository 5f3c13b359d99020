"""Who works on many items: this process, several here, or those of a Dask cluster."""

import math
from functools import partial
from pathlib import Path

import psutil

from helpers import processes

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
GIB = 1 << 30
USABLE = 0.8  # of a worker's memory: with more in use Dask gives it nothing to do
ANSWER_S = 10  # for a scheduler
PATIENCE_S = 60  # for a worker to come to a cluster that has none
INSTALL = "pip install distributed"


class NoRoom(processes.WorkerDied):
    """Instead of a result: no worker of a cluster has as much memory as `how` says."""

    @property
    def sentence(self):
        return self.how


def spread(work, items, workers=None, scheduler="", needs=None):
    """Give every item to `work`.

    work       function of a module, or a partial of one, so that it can travel.
    workers    processes; 1 stays in this one, None takes one for each core.
    scheduler  address of a Dask cluster that does it instead: its workers have this project and the
               same files under the same paths.
    needs      function (item) -> bytes of memory that it may take. So many processes work at a time
               as there is memory for, and a cluster's worker with less isn't given the item.
    yields     (index of the item, result), in the order in which they are finished; WorkerDied for
               an item that ended its process twice, NoRoom for one that no worker has memory for.

    Raises what `work` raises; RuntimeError when processes can't start at all; ValueError without
    dask.distributed, OSError where no scheduler answers, or no worker comes or is left.
    """
    if scheduler:
        yield from _by_dask(work, items, scheduler, needs or (lambda item: 0))
        return
    if workers == 1:
        yield from enumerate(map(work, items))
        return
    workers = workers or processes.cores()
    if needs:
        room = memory_bytes() // max([1, *map(needs, items)])
        workers = max(1, min(workers, int(room)))
    yield from processes.parallel_map(work, items, workers)


def memory_bytes():
    """Memory that is free here, and no more than the control group (Docker's --memory) gives."""
    limit = math.inf
    for file in map(Path, LIMITS):
        try:
            limit = min(limit, int(file.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min(psutil.virtual_memory().available, limit)


def _by_dask(work, items, address, needs):
    try:
        import distributed
    except ImportError as error:
        raise ValueError(f"scheduler {address}: {error}; {INSTALL}") from error
    with _connected(distributed, address) as client:
        room_of = _rooms(client, address)
        # who was with a worker that died is given to another one below, once
        client.run_on_scheduler(
            lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
        submits, index_of = {}, {}
        for index, item in enumerate(items):
            need = needs(item)
            hosts = {host_of(name) for name, room in room_of.items() if room >= need}
            if hosts:
                where = {} if min(room_of.values()) >= need else {"workers": list(hosts)}
                submits[index] = partial(client.submit, work, item, pure=False, **where)
                index_of[submits[index]()] = index
            else:
                most = max(room_of.values())
                yield index, NoRoom(f"needs {need / GIB:.1f} GiB of memory, and the largest worker "
                                    f"of {address} has {most / GIB:.1f}")
        suspects = []
        for future in _ended(distributed, client, address, index_of):
            if isinstance(future.exception(), distributed.KilledWorker):
                suspects.append(index_of[future])
            else:
                yield index_of[future], future.result()
        # Dask suspects all that a worker held: one after the other each shows whether it was it
        for index in suspects:
            (future,) = _ended(distributed, client, address, [submits[index]()])
            if isinstance(future.exception(), distributed.KilledWorker):
                yield index, processes.WorkerDied("twice, on a cluster")
            else:
                yield index, future.result()


def _ended(distributed, client, address, futures):
    """Futures as they end, for as long as there are workers: a nanny may fail to start its worker
    again.
    """
    left = set(futures)
    while left:
        try:
            for future in distributed.as_completed(left, timeout=PATIENCE_S):
                left.discard(future)
                yield future
        except TimeoutError:
            _wait_for_a_worker(client, address)


def _connected(distributed, address):
    try:
        return distributed.Client(address, timeout=ANSWER_S)
    except (OSError, ValueError) as error:
        raise OSError(f"{address}: no scheduler answers there within {ANSWER_S} s ({error}); start "
                      "one with: dask scheduler") from error


def host_of(address):
    """The machine of a worker: one that its nanny starts again has another port."""
    return address.rpartition("://")[2].rpartition(":")[0]


def _wait_for_a_worker(client, address):
    try:
        client.wait_for_workers(1, timeout=PATIENCE_S)
    except TimeoutError:
        raise OSError(f"{address}: this scheduler has had no worker for {PATIENCE_S} s; "
                      f"start one with: dask worker {address} --nthreads 1") from None


def _rooms(client, address):
    """Bytes of memory that each worker of a cluster has for one item, a dict by its address."""
    _wait_for_a_worker(client, address)
    workers = client.scheduler_info(n_workers=-1)["workers"].items()
    return {name: USABLE * (worker["memory_limit"] or math.inf) / worker["nthreads"]
            for name, worker in workers}
