"""A process that dies costs its own item."""

import os
import signal
import subprocess
import sys
import time

import pytest

from helpers.processes import WorkerDied, parallel_map


def double(x):
    if x == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if x == "exit":
        os._exit(3)
    if x == "wrong":
        raise ValueError("the work's own fault")
    return 2 * x


def fussy(path):
    """Dies when another one works at the same time: what want of memory looks like."""
    (path / str(os.getpid())).touch()
    time.sleep(0.3)
    crowded = len(list(path.iterdir())) > 1
    (path / str(os.getpid())).unlink()
    if crowded:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def test_every_item_is_answered_and_the_dead_are_named():
    items = [1, "killed", 2, "exit", 3]
    assert dict(parallel_map(double, items, 2)) == {0: 2, 1: WorkerDied("SIGKILL"), 2: 4, 3: WorkerDied("exit code 3"), 4: 6}


def test_an_item_that_died_is_tried_again_alone(tmp_path):
    def work_of(items):
        return dict(parallel_map(fussy, items, 2))

    found = work_of([tmp_path, tmp_path])
    for left in tmp_path.iterdir():  # of one that was killed before it could tidy up
        left.unlink()
    assert set(found) == {0, 1} and "done" in found.values()


def test_an_error_of_the_work_is_raised():
    with pytest.raises(ValueError, match="own fault"):
        list(parallel_map(double, ["wrong"], 1))


def test_nothing_to_do():
    assert list(parallel_map(double, [], 2)) == []


def test_processes_that_can_not_start_are_an_error_not_a_wait(tmp_path):
    """A script without the guard that spawned processes need."""
    script = tmp_path / "script.py"
    script.write_text("from helpers.processes import parallel_map\nprint(list(parallel_map(abs, [1, 2], 2)))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "RuntimeError: a worker process ended before it began" in done.stderr


def slow(seconds):
    time.sleep(seconds)
    return os.getpid()


def test_results_come_as_they_are_finished_and_who_stops_listening_ends_the_workers():
    results = parallel_map(slow, [60, 0.1, 60], 2)
    index, pid = next(results)
    assert index == 1
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
