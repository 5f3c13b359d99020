"""Work on many items by processes here or on a Dask cluster: the same answers, bounded by the memory there is."""

import math
import os
import time

import pytest

from helpers import crews, processes

distributed = pytest.importorskip("distributed")


@pytest.fixture
def address():
    """Of a cluster of one worker, a thread of this process."""
    one = {"n_workers": 1, "threads_per_worker": 1, "processes": False}
    with distributed.LocalCluster(**one, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def root_of(number):
    return math.isqrt(number)


def test_a_cluster_answers_as_this_process_does(address):
    items = [1, 4, 9]
    assert dict(crews.spread(root_of, items, 1)) == dict(crews.spread(root_of, items, scheduler=address)) == {0: 1, 1: 2, 2: 3}
    with pytest.raises(ValueError, match="nonnegative"):
        list(crews.spread(root_of, [-1], scheduler=address))


def test_no_worker_is_given_more_than_its_memory(address):
    need_of = {1: 1, 4: 1 << 50}.get
    results = dict(crews.spread(root_of, [1, 4], scheduler=address, needs=need_of))
    assert results[0] == 1 and isinstance(results[1], processes.WorkerDied)
    assert results[1].sentence.startswith(f"needs 1048576.0 GiB of memory, and the largest worker of {address} has ")


def test_a_worker_has_four_fifths_of_its_limit_for_its_threads():
    class Client:
        def wait_for_workers(self, *_, **__):
            pass

        def scheduler_info(self, **_):
            workers = {"a": (10, 1), "b": (10, 4), "c": (0, 2)}  # 0 is no limit
            return {"workers": {k: {"memory_limit": limit, "nthreads": n} for k, (limit, n) in workers.items()}}

    assert crews._rooms(Client(), "x") == {"a": 8, "b": 2, "c": math.inf}


def test_so_many_processes_as_there_is_memory_for(monkeypatch):
    started = []
    monkeypatch.setattr(crews, "memory_bytes", lambda: 7 * crews.GIB)
    monkeypatch.setattr(processes, "parallel_map", lambda work, items, workers: started.append(workers) or [])
    for most_gib in (1, 2, 3, 4, 9):  # 9 GiB is more than there is: one at a time
        list(crews.spread(root_of, [1] * 9, 5, needs=lambda item, gib=most_gib: gib * crews.GIB))
    assert started == [5, 3, 2, 1, 1]


def test_memory_is_bounded_by_the_control_group(tmp_path, monkeypatch):
    for text, bound in (("max", math.inf), ("1048576\n", 1 << 20)):
        (tmp_path / "limit").write_text(text)
        monkeypatch.setattr(crews, "LIMITS", [tmp_path / "none", tmp_path / "limit"])
        assert 0 < crews.memory_bytes() <= bound


def test_a_scheduler_without_workers_is_said(monkeypatch):
    monkeypatch.setattr(crews, "PATIENCE_S", 0.2)
    none = distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None)
    with none, pytest.raises(OSError, match="this scheduler has had no worker for 0.2 s; start one with: dask worker"):
        list(crews.spread(root_of, [1], scheduler=none.scheduler_address))


def slow(item):
    time.sleep(1)
    return item


def test_a_cluster_that_loses_its_last_worker_is_said(monkeypatch):
    monkeypatch.setattr(crews, "PATIENCE_S", 0.5)
    one = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**one) as cluster:
        results = crews.spread(slow, range(3), scheduler=cluster.scheduler_address)
        assert next(results)[1] in range(3)  # longer than the patience, while there is a worker
        cluster.scale(0)
        with pytest.raises(OSError, match="has had no worker for 0.5 s"):
            list(results)


def test_a_worker_is_known_by_its_machine():
    assert crews.host_of("tcp://10.0.0.5:40311") == "10.0.0.5"


def deadly(item):
    """Ends its process at every fourth item, as what is too much for a machine does."""
    time.sleep(0.05)
    if item % 4 == 1:
        os.kill(os.getpid(), 9)
    return item


def test_who_waits_at_a_worker_that_dies_is_not_blamed():
    more = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**more) as cluster:
        results = dict(crews.spread(deadly, range(16), scheduler=cluster.scheduler_address))
    assert {item for item, result in results.items() if isinstance(result, processes.WorkerDied)} == {1, 5, 9, 13}
    assert all(results[item] == item for item in range(16) if item % 4 != 1)
