"""The whole sequence of notebooks without a person: python -m helpers.run."""

import argparse
import ast
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from helpers import paths, stages

SEQUENCE = ("01", "02", "03", "04", "05", "06")
TRAINED = ("gate", "liver", "tumour")
DONE, FAILED, USAGE, PAUSED = 0, 1, 2, 75
EXPLAINED = """
exit codes: 0 done, 1 failed (the message says what and where), 2 wrong usage, 75 paused with work left: run again to go on.
Ctrl-C (or SIGTERM) saves a training and pauses; a second one ends at once. Either way nothing is lost.
examples:
  python -m helpers.run                                          the synthetic data set, start to report
  python -m helpers.run --run lits --data /data/lits             your scans
  python -m helpers.run --run lits --only 04 --set stage=liver chunk_minutes=50
"""


class Usage(Exception):
    """Something on the command line can't be meant; nothing has been written."""


@dataclass
class Job:
    """One notebook with the parameters it will get; `part` is the stage of a notebook that runs several times."""

    notebook: str
    parameters: dict
    part: str = ""

    @property
    def name(self):
        return f"{self.notebook}_{self.part}" if self.part else self.notebook


def main(words=None):
    """Run the command line `words`; returns the exit code."""
    try:
        ask = asked(words)
        run = paths.Run(ask.run)
        jobs = planned(ask, run)
    except (Usage, ValueError, FileNotFoundError) as error:
        print(f"helpers.run: {error}", file=sys.stderr)
        return USAGE
    for job in jobs:
        code = carry_out(job, run)
        if code != DONE:
            return code
    report = run.reports / "report.html"
    print(f"\nreport: {paths.shown(report)}" if report.is_file() else "\ndone")
    return DONE


def asked(words):
    """The command line as a namespace; argparse itself exits with 2 for words it doesn't know."""
    ask = argparse.ArgumentParser("python -m helpers.run", description=__doc__, epilog=EXPLAINED,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    ask.add_argument("--run", default="demo", help="name of this attempt in data_lists, checkpoints and reports")
    ask.add_argument("--data", help="folder of scans; without it the run's own from before, or the synthetic data set")
    ask.add_argument("--only", help="notebooks by number with commas between, such as 04,05; default " + ",".join(SEQUENCE))
    ask.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="notebook parameters")
    return ask.parse_args(words)


def planned(ask, run):
    """The jobs in order, after everything on the command line has been checked.

    Raises Usage, ValueError or FileNotFoundError with one sentence.
    """
    chosen = [found_notebook(word.strip()) for word in (ask.only.split(",") if ask.only else SEQUENCE)]
    declared = {name: stages.parameters_of(paths.NOTEBOOKS / f"{name}.ipynb") for name in chosen}
    given = values_given(ask.set)
    for name, value in given.items():
        having = [d[name] for d in declared.values() if name in d]
        if not having:
            known = sorted({p for d in declared.values() for p in d} - {"run", "interactive"})
            raise Usage(f"no selected notebook has a parameter {name!r}; they have {', '.join(known)}")
        given[name] = of_type(name, value, having[0])
    first = any(name.startswith("01") for name in chosen)
    if ask.data is not None:
        if not first:
            raise Usage("--data is read by notebook 01, which --only leaves out")
        given["data"] = checked_data(ask.data)
    elif first and "data" not in given:
        given["data"] = data_of_before(run)
    if not first and not run.known():
        known = sorted({p.name for p in (paths.ROOT / "data_lists").glob("*") if p.is_dir()})
        raise Usage(f"there is no run {run.name!r} yet; begin with notebook 01, or choose one of: {', '.join(known) or 'none'}")
    jobs = []
    for name in chosen:
        parameters = {k: v for k, v in given.items() if k in declared[name]} | {"run": run.name}
        if "interactive" in declared[name]:
            parameters["interactive"] = False
        for part in parts_of(name, given):
            more = {"stage": part} if part else {}
            jobs.append(Job(name, declared[name] | parameters | more, part))
    return jobs


def parts_of(notebook, given):
    if not notebook.startswith("04"):
        return [""]
    if "stage" not in given:
        return TRAINED
    if given["stage"] not in TRAINED:
        raise Usage(f"stage {given['stage']!r}: choose one of {', '.join(TRAINED)}")
    return [given["stage"]]


def found_notebook(word):
    names = sorted(p.stem for p in paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    matches = [name for name in names if name == word or name.split("_")[0] == word.zfill(2)]
    if not matches:
        raise Usage(f"there is no notebook {word!r}; there are {', '.join(names)}")
    return matches[0]


def values_given(words):
    """NAME=VALUE words as a dict; a value is read as a Python literal, or else as text."""
    given = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise Usage(f"--set {word!r}: write NAME=VALUE")
        try:
            given[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            given[name] = {"true": True, "false": False}.get(text.lower(), text)
    return given


def of_type(name, value, default):
    """The value in the type of the parameter's default; raises Usage when it has another one."""
    if isinstance(default, str):
        return value if isinstance(value, str) else str(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        kinds = f"{type(value).__name__}, the notebook's default {default!r} is {type(default).__name__}"
        raise Usage(f"{name}={value!r}: is {kinds}")
    return value


def checked_data(folder):
    """The absolute path of a folder that holds scans."""
    from helpers import layouts

    try:
        layouts.scan(folder)
    except (FileNotFoundError, ValueError) as error:
        raise Usage(str(error)) from error
    return str(Path(folder).expanduser().absolute())


def data_of_before(run):
    """The data folder that the run was made from: leaving --data out must not turn it into another run."""
    import json

    stamp = stages.Stage("01_exploration", run, {}).stamp
    return json.loads(stamp.read_text(encoding="utf8"))["settings"].get("data", "") if stamp.is_file() else ""


def carry_out(job, run):
    """Execute one notebook unless it is up to date; returns an exit code. Prints what happens as it happens."""
    stage = stages.Stage(job.name, run, {k: v for k, v in job.parameters.items() if k != "run"})
    reasons = stage.changes()
    if not reasons:
        print(f"{job.name}: up to date")
        return DONE
    print(f"\n── {job.name} ({'; '.join(reasons)})", flush=True)
    out = run.reports / "notebooks" / f"{job.name}.ipynb"
    out.parent.mkdir(parents=True, exist_ok=True)
    began = time.time_ns()
    error = executed(job, run, out)
    if isinstance(error, KeyboardInterrupt):
        print(f"{job.name}: stopped by {error}; run again to go on", file=sys.stderr)
        return PAUSED
    if error is not None:
        print(f"{job.name}: failed. {told(error)}\n  the notebook as far as it came: {paths.shown(out)}", file=sys.stderr)
        return FAILED
    if not stage.stamp.is_file() or stage.stamp.stat().st_mtime_ns < began:
        print(f"{job.name}: ended without its last cell; see {paths.shown(out)}", file=sys.stderr)
        return FAILED
    paused = stage.changes()[:1]
    return PAUSED if paused and paused[0].startswith("it paused") else DONE


def executed(job, run, out):
    """Execute a notebook in a thread, so that signals reach us and not papermill; returns the error or None."""
    outcome = []
    worker = threading.Thread(target=_papermill, args=(job, out, outcome), daemon=True)
    with _signals() as asked:
        worker.start()
        told_to_stop = False
        while worker.is_alive():
            worker.join(0.2)
            if asked and not told_to_stop and job.part:
                told_to_stop = True  # a training saves itself; the second signal doesn't wait for it
                (run.checkpoints / "stop").parent.mkdir(parents=True, exist_ok=True)
                (run.checkpoints / "stop").touch()
                print(f"{asked[0]}: the training saves and pauses …", file=sys.stderr, flush=True)
            if len(asked) > (1 if job.part else 0):
                _end_kernels()
                return KeyboardInterrupt(asked[0])
    return outcome[0]


def _papermill(job, out, outcome):
    import logging
    import warnings

    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="(papermill|nbformat|jupyter_client|zmq).*")
    try:
        papermill.execute_notebook(
            paths.NOTEBOOKS / f"{job.notebook}.ipynb", out, job.parameters, kernel_name="python3", cwd=paths.NOTEBOOKS,
            progress_bar=False, stdout_file=sys.stdout, stderr_file=sys.stderr,
        )  # fmt: skip
        outcome.append(None)
    except BaseException as error:  # handed to the main thread, which tells it
        outcome.append(error)


class _signals:
    """Collect SIGINT and SIGTERM while a notebook runs."""

    def __enter__(self):
        asked = []
        numbers = (signal.SIGINT, signal.SIGTERM)
        self.before = {n: signal.signal(n, lambda number, _: asked.append(signal.Signals(number).name)) for n in numbers}
        return asked

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)


def _end_kernels():
    import psutil

    for child in psutil.Process(os.getpid()).children(recursive=True):
        child.kill()


def told(error):
    """One sentence for an error from papermill."""
    name = getattr(error, "ename", "")
    if name:
        return f"{name}: {error.evalue}" if name != "ValueError" else str(error.evalue)
    if "Kernel died" in str(error) or type(error).__name__ == "DeadKernelError":
        return "Its kernel died, most often for want of memory; run again to go on"
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
