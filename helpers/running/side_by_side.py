"""Calls of helpers.run side by side: the folds of a cross-validation; gate and liver of a run."""

import concurrent.futures
import contextlib
import os
import shutil
import signal
import subprocess
import sys

from helpers import processes
from helpers.processes import DONE, FAILED, PAUSED, USAGE

COMMAND = (sys.executable, "-m", "helpers.run")
ENDS = {DONE: "done", PAUSED: "paused, run again to resume", USAGE: "refused", FAILED: "failed"}


def pays(jobs, run):
    """True for gate and liver, which don't wait for each other, where both have to learn: two at
    one thread learn more than one at two. A GPU is for one; OMP_NUM_THREADS is somebody's choice.
    """
    return ([job.part for job in jobs] == ["gate", "liver"] and processes.cores() > 1
            and "OMP_NUM_THREADS" not in os.environ and not shutil.which("nvidia-smi")
            and all(job.stage(run).changes() for job in jobs))


def words_of_training(job):
    """The command line of one stage's training; the run knows its other parameters."""
    trial = job.parameters.get("trial", "")
    return ["--run", job.parameters["run"], "--only", "04", "--set", f"stage={job.part}",
            *([f"trial={trial}"] if trial else [])]


def all_done(words_of):
    """Each in a process of its own, as many at once as there are cores, which share them.

    A signal is handed to those at work, which save and pause, and none is begun after it.
    words_of  dict name -> the words of its `helpers.run`.
    returns   (the exit code: FAILED where one failed, else PAUSED where one is not done; the name
              of a signal that came meanwhile or "").
    """
    running, at_once = set(), min(len(words_of), processes.cores())
    threads = max(1, processes.cores() // at_once)
    env = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1",
                        "CASCADE_LIVER_PARENT": str(os.getpid())}
    with processes.collected() as signals, \
            concurrent.futures.ThreadPoolExecutor(at_once) as crew:

        def work(name):
            if signals:
                return PAUSED
            words = [*COMMAND, *words_of[name]]
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                       text=True, encoding="utf8", errors="replace", env=env,
                                       start_new_session=True)
            running.add(process)
            for line in process.stdout:
                print(f"{name}: {line}" if line.strip() else "", end="", flush=True)
            running.discard(process)
            return process.wait()

        futures, handed_on = [crew.submit(work, name) for name in words_of], 0
        while concurrent.futures.wait(futures, timeout=0.2).not_done:
            if len(signals) > handed_on:
                handed_on = len(signals)
                for process in list(running):
                    with contextlib.suppress(ValueError):  # Windows, where Ctrl-C is theirs, too
                        process.send_signal(signal.SIGINT)
        codes = {name: future.result() for name, future in zip(words_of, futures, strict=True)}
    print("\n".join(f"{name}: {ENDS.get(code, f'exit code {code}')}"
                    for name, code in codes.items()))
    ends = set(codes.values()) - {DONE}
    code = DONE if not ends else PAUSED if ends == {PAUSED} else FAILED
    return code, signals[0] if signals else ""
