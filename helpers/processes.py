"""Work on many items in processes of their own: one that dies costs its own item and no other."""

import collections
import contextlib
import multiprocessing
import signal
from dataclasses import dataclass
from multiprocessing.connection import wait


@dataclass(frozen=True)
class WorkerDied:
    """What is left of an item whose process ended twice while working on it; `how` is "SIGKILL" or "exit code 3"."""

    how: str


def parallel_map(work, items, workers):
    """Give every item to `work` in one of several processes.

    work     function of a module, or a partial of one, so that it can travel.
    workers  processes, started afresh, because a notebook has threads, and a fork of those can hang.
    yields   (index of the item, result or Died) in the order in which they are finished. An item whose process dies is tried
             once more when all others are done, alone, with all of the memory for itself.

    Raises what `work` raises; RuntimeError when processes can't start at all.
    """
    waiting, again, crew = collections.deque(enumerate(items)), collections.deque(), {}
    try:
        while waiting or again or any(busy for _, busy in crew.values()):
            alone = not waiting and not any(busy for _, busy in crew.values())
            while len(crew) < min(workers, len(waiting)) or alone and again and not crew:
                crew.update([_hired(work)])
            for connection, (process, busy) in list(crew.items()):
                if busy is None and (waiting or alone and again):
                    busy = (*waiting.popleft(), False) if waiting else (*again.popleft(), True)
                    alone = False
                    crew[connection] = process, busy
                    with contextlib.suppress(OSError):  # it died while it had nothing to do: told below, as any other death
                        connection.send(busy[1])
            for connection in wait([c for c, (_, busy) in crew.items() if busy]):
                process, (index, item, second) = crew[connection]
                try:
                    good, result = connection.recv()
                except (EOFError, OSError):
                    process.join()
                    del crew[connection]
                    if second:
                        yield index, WorkerDied(_how(process.exitcode))
                    else:
                        again.append((index, item))
                    continue
                if not good:
                    raise result
                crew[connection] = process, None
                yield index, result
    finally:
        for connection, (process, _) in crew.items():
            connection.close()
            process.terminate()


def _hired(work):
    """A process that is ready: (our end of its connection, (process, no item yet))."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    process.start()
    theirs.close()
    try:
        ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"a worker process ended before it began ({_how(process.exitcode)})") from None
    return ours, (process, None)


def _serve(connection, work):
    """What a worker does until its master closes the connection or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the master, who ends us
    connection.send("ready")
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            answer = True, work(item)
        except Exception as error:  # travels to the master and is raised there
            answer = False, error
        try:
            connection.send(answer)
        except BrokenPipeError:
            return


def _how(exitcode):
    return signal.Signals(-exitcode).name if exitcode < 0 else f"exit code {exitcode}"


@contextlib.contextmanager
def collected(impatient=False):
    """Give a list that grows by the name of every SIGINT and SIGTERM, and keep them from killing this process.

    impatient  a second SIGINT raises KeyboardInterrupt, for a person who doesn't want to wait for the end of a step.
    Outside the main thread Python has no signals: the list stays empty.
    """
    asked = []

    def note(number, frame):
        if impatient and asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(signal.Signals(number).name)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        before = {}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
