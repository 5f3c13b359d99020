"""Work on many items in processes of their own: one that dies costs its own item and no other."""

import concurrent.futures
import contextlib
import math
import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

DONE, FAILED, USAGE, PAUSED = 0, 1, 2, 75  # exit codes of all commands
CGROUP = ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us")


def cores():
    """How many processors this process may use: those of its affinity (taskset, Slurm), and no more
    than its control group's quota (Docker's --cpus) pays for.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        allowed = os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota())))


def _quota():
    """Processors that the control group may use, by the first file that says so; infinity for no
    limit.
    """
    for file in map(Path, CGROUP):
        try:
            quota, *period = file.read_text(encoding="ascii").split()
            period = period or [file.with_name("cpu.cfs_period_us").read_text(encoding="ascii")]
            return int(quota) / int(period[0]) if int(quota) > 0 else math.inf
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return math.inf


def print_any_letter():
    """Let this process print any letter whatever the encoding of terminal or file (Windows with
    `> log` takes cp1252): what it lacks becomes \\u2500.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@dataclass(frozen=True)
class WorkerDied:
    """Instead of a result: the process ended twice at work; `how` is "SIGKILL" or "exit code 3"."""

    how: str

    @property
    def sentence(self):
        """What became of an item, to stand behind its name."""
        return f"ended its process ({self.how}), most often for want of memory"


def progress(items, what, unit="case", total=None, **more):
    """tqdm's bar over items; shown after a second, gone when they are done. In a notebook it goes
    to stdout: a red box is for what is wrong.
    """
    ipython = sys.modules.get("IPython")
    file = sys.stdout if ipython and ipython.get_ipython() else sys.stderr
    return tqdm(items, what, total, leave=False, file=file, unit=unit, delay=1, **more)


def parallel_map(work, items, workers):
    """Give every item to `work` in one of several processes.

    work     function of a module, or a partial of one, so that it can travel.
    workers  processes, started afresh: a notebook has threads, and a fork of those can hang.
    yields   (index of the item, result or WorkerDied) in the order in which they are finished. An
             item whose process dies is tried once more, alone, when all others are done, so that it
             has all of the memory.

    Raises what `work` raises; RuntimeError when processes can't start at all.
    """
    waiting, again = dict(enumerate(items)), {}
    for index, result in _tried(work, waiting, workers):
        if isinstance(result, WorkerDied):
            again[index] = waiting[index]
        else:
            yield index, result
    yield from _tried(work, again, 1)


def _tried(work, items, workers):
    """(index, result or WorkerDied) of items, a dict by index, each given to a process once."""
    crew = _Crew(work)
    with concurrent.futures.ThreadPoolExecutor(max(1, min(workers, len(items)))) as threads:
        index_of = {threads.submit(crew.result_of, item): index for index, item in items.items()}
        try:
            for future in concurrent.futures.as_completed(index_of):
                yield index_of.pop(future), future.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            crew.dismiss()


class _Crew:
    """Worker processes, one for each thread that asks, each with a pipe of its own.

    In pools whose workers share a pipe, a death can cost more than its own item: it did in 3 of 100
    trials of pebble.ProcessPool, two early deaths and their second tries in each; here in 0 of 300.
    """

    def __init__(self, work):
        self.work, self.of_thread = work, threading.local()
        self.lock, self.processes, self.dismissed = threading.Lock(), [], False

    def result_of(self, item):
        """The result of an item from this thread's process; WorkerDied when that ends meanwhile."""
        process, connection = getattr(self.of_thread, "worker", None) or self._hire()
        try:
            connection.send(item)
            succeeded, result = connection.recv()
        except (EOFError, OSError):
            self.of_thread.worker = None
            return WorkerDied(self._end_of(process))
        if not succeeded:
            raise result
        return result

    def _hire(self):
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.work), daemon=True)
        with self.lock:
            if self.dismissed:
                raise concurrent.futures.CancelledError
            process.start()
            self.processes.append(process)
        theirs.close()
        try:
            ours.recv()
        except EOFError:
            how = self._end_of(process)
            raise RuntimeError(f"a worker process ended before it began ({how})") from None
        self.of_thread.worker = process, ours
        return self.of_thread.worker

    def _end_of(self, process):
        with self.lock:  # a process that starts meanwhile would take the exit code away
            process.join()
        code = process.exitcode
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def dismiss(self):
        """End all processes; who waits for one of them gets WorkerDied."""
        with self.lock:
            self.dismissed = True
            for process in self.processes:
                process.terminate()
            for process in self.processes:
                process.join()


def _serve(connection, work):
    """What a worker does until the other end of its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us, and ends us
    connection.send("ready")
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            answer = True, work(item)
        except Exception as error:  # travels back and is raised there
            answer = False, error
        try:
            connection.send(answer)
        except BrokenPipeError:
            return


@contextlib.contextmanager
def collected(impatient=False):
    """Give a list that grows by the name of every SIGINT and SIGTERM; they don't end this process.

    impatient  a second SIGINT raises KeyboardInterrupt, for who won't wait for a step's end.
    Outside the main thread Python has no signals: the list stays empty.
    """
    signals = []

    def note(number, frame):
        if impatient and signals and number == signal.SIGINT:
            raise KeyboardInterrupt
        signals.append(signal.Signals(number).name)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        before = {}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
