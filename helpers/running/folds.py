"""The folds of a cross-validation, each a run of its own, side by side."""

import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys

from helpers import processes
from helpers.processes import DONE, FAILED, PAUSED, USAGE

COMMAND = (sys.executable, "-m", "helpers.run")
ENDS = {DONE: "done", PAUSED: "paused, run again to resume", USAGE: "refused", FAILED: "failed"}


def all_folds(words_of, count):
    """Each fold in a process of its own, as many at once as there are cores, which share them.

    A signal is handed to those at work, which save and pause, and none is begun after it.
    words_of  function fold -> the words of its `helpers.run`; folds are counted from 0.
    returns   the exit code: FAILED where one failed, else PAUSED where one is not done.
    """
    running, at_once = set(), min(count, processes.cores())
    threads = max(1, processes.cores() // at_once)
    env = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    with processes.collected() as signals, \
            concurrent.futures.ThreadPoolExecutor(at_once) as crew:

        def work(fold):
            if signals:
                return PAUSED
            words = [*COMMAND, *words_of(fold)]
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                       text=True, encoding="utf8", errors="replace", env=env,
                                       start_new_session=True)
            running.add(process)
            for line in process.stdout:
                print(f"fold {fold}: {line}" if line.strip() else "", end="", flush=True)
            running.discard(process)
            return process.wait()

        futures, handed_on = [crew.submit(work, fold) for fold in range(count)], 0
        while concurrent.futures.wait(futures, timeout=0.2).not_done:
            if len(signals) > handed_on:
                handed_on = len(signals)
                for process in list(running):
                    with contextlib.suppress(ValueError):  # Windows, where Ctrl-C is theirs, too
                        process.send_signal(signal.SIGINT)
        codes = {fold: future.result() for fold, future in enumerate(futures)}
    print("\n".join(f"fold {fold}: {ENDS.get(code, f'exit code {code}')}"
                    for fold, code in codes.items()))
    ends = set(codes.values()) - {DONE}
    return DONE if not ends else PAUSED if ends == {PAUSED} else FAILED
