"""A notebook executed without a person: what it prints, how it ends, what signals do to it.

Notebook 06 is exported, too: as the report, one HTML file.
"""

import contextlib
import errno
import io
import os
import signal
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from helpers import processes, runs, together
from helpers.parameters import parameters_of
from helpers.processes import DONE, FAILED, PAUSED
from helpers.running import report_page, steps

EVALUATION = "06_evaluation"  # the notebook that is exported as the report
INFERENCE = "05_cascade_inference"  # and this one, of scans that others' networks segment
# the process of side_by_side that began this one: where it was killed, the next call needs the
# folder that is trained in here
PARENT = int(os.environ.pop("CASCADE_LIVER_PARENT", 0))


@dataclass
class Job:
    """One notebook with the parameters it will get.

    part  the stage of a notebook that runs several times.
    page  where notebook 06 is exported as the report; None for the place among the run's reports.
    """

    notebook: str
    parameters: dict
    part: str = ""
    page: Path | None = None

    @property
    def name(self):
        return steps.name_of(self.notebook, self.part, self.parameters.get("trial", ""))

    def stage(self, run):
        """The Step that the notebook will begin: whether it is up to date, and if not, why."""
        return steps.Step(self.name, run, {k: v for k, v in self.parameters.items() if k != "run"})

    def report(self, run):
        """The page that the notebook is exported as: 06, and 05 of scans that others' networks
        segment, which need no reference; None for all others.
        """
        if self.notebook == INFERENCE and self.parameters.get("weights"):
            return run.reports / "predictions.html"
        return self.page or run.reports / "report.html" if self.notebook == EVALUATION else None


def training(run, **changes):
    """The job that trains a stage by notebook 04; `changes` are parameters unlike their
    defaults.
    """
    parameters = parameters_of(runs.NOTEBOOKS / "04_training.ipynb") | changes
    return Job("04_training", parameters | {"run": run.name, "interactive": False},
               parameters["stage"])


def carried_out(job, run, execute=None):
    """Execute one notebook unless it is up to date, and print what happens as it happens.

    execute  `inline.executed` for this very process in place of a kernel.
    returns  (exit code, the name of a signal that came meanwhile or "").
    """
    stage, report = job.stage(run), job.report(run)
    reasons = together.of_first(stage.changes)
    if not reasons and report and not report.is_file():
        reasons = [f"{runs.relative(report)} is gone"]
    if not reasons:
        print(f"{job.name}: up to date")
        return DONE, ""
    print(f"\n── {job.name} ({'; '.join(reasons)})", flush=True)
    out = run.reports / "notebooks" / f"{job.name}.ipynb"
    out.parent.mkdir(parents=True, exist_ok=True)
    error, signals = (execute or executed)(job, run, out)
    return _outcome(job, stage, out, error), signals[0] if signals else ""


def _outcome(job, stage, out, error):
    if isinstance(error, KeyboardInterrupt):
        print(f"{job.name}: stopped by {error}; run again to resume", file=sys.stderr)
        return PAUSED
    if getattr(error, "ename", "") == steps.NothingToDo.__name__:
        print(f"{job.name}: {error.evalue}")
        return DONE
    # the executed notebook, which is not written whole
    if isinstance(error, OSError) and error.filename in (None, str(out)):
        out.unlink(missing_ok=True)
        room = "; make room, then run again" if error.errno == errno.ENOSPC else ""
        print(f"{job.name}: failed. {runs.relative(out)} can't be written: "
              f"{error.strerror or error}{room}", file=sys.stderr)
        return FAILED
    if error is not None:
        as_far = f"\n  the notebook as far as it came: {runs.relative(out)}" if out.exists() else ""
        print(f"{job.name}: failed. {told(error)}{as_far}", file=sys.stderr)
        return FAILED
    state = together.of_first(lambda: stage.state)
    if state not in ("paused", "done"):
        print(f"{job.name}: ended without its last cell; see {runs.relative(out)}", file=sys.stderr)
        return FAILED
    return PAUSED if state == "paused" else DONE


def executed(job, run, out):
    """Execute a notebook in a thread, so that signals reach us and not papermill.

    returns  (error or None, signals).
    """
    outcome, stop = [], run.training(job.parameters.get("trial", "")) / job.part / "stop"
    worker = threading.Thread(target=_papermill, args=(job, run, out, outcome), daemon=True)
    with processes.collected() as signals:
        worker.start()
        told_to_stop = False
        while worker.is_alive():
            worker.join(0.2)
            if signals and not told_to_stop and job.part:
                # a training saves itself; the second signal doesn't wait for it
                told_to_stop = True
                stop.parent.mkdir(parents=True, exist_ok=True)
                stop.touch()
                print(f"{signals[0]}: the training saves and pauses …", file=sys.stderr, flush=True)
            if len(signals) > (1 if job.part else 0) or PARENT not in (0, os.getppid()):
                _end_kernels()
                outcome.insert(0, KeyboardInterrupt([*signals, "the end of its command"][0]))
                break
    if told_to_stop:
        stop.unlink(missing_ok=True)  # where the training had ended before it could see it
    return outcome[0], signals


def _papermill(job, run, out, outcome):
    import logging
    import warnings

    import papermill

    kernel = _own_python()
    logging.getLogger("papermill").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="(papermill|nbformat|jupyter_client|zmq).*")
    try:
        papermill.execute_notebook(
            runs.NOTEBOOKS / f"{job.notebook}.ipynb", out, job.parameters, kernel_name="python3",
            cwd=runs.NOTEBOOKS, kernel_manager_class=kernel,
            progress_bar=False, stdout_file=sys.stdout, stderr_file=sys.stderr,
            # or each kernel warns that its port on this machine isn't encrypted
            extra_arguments=["--log-level=ERROR"],
        )
        if page := job.report(run):
            report_page.export(out, page)
        outcome.append(None)
    except BaseException as error:  # handed to the main thread, which tells it
        error.kernel_exit = kernel.exit_code
        outcome.append(error)


def _own_python():
    """A class of kernels that run on this very Python and keep their exit code: what is registered
    as "python3" may belong to another one, which has no helpers.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    class OwnPython(AsyncKernelManager):
        exit_code = None
        kernel_spec = KernelSpec(**get_kernel_dict())

        async def is_alive(self):
            alive = await super().is_alive()
            if not alive and self.provisioner is not None:
                OwnPython.exit_code = await self.provisioner.poll()
            return alive

    return OwnPython


def _end_kernels():
    import psutil

    for child in psutil.Process(os.getpid()).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def told(error):
    """One sentence for an error from papermill."""
    name = getattr(error, "ename", "")
    if name:
        return f"{name}: {error.evalue}" if name != "ValueError" else str(error.evalue)
    if "Kernel died" in str(error) or type(error).__name__ == "DeadKernelError":
        return _of_dead_kernel(getattr(error, "kernel_exit", None))
    return f"{type(error).__name__}: {error}"


def _of_dead_kernel(exit_code):
    """Why a kernel ended: killed, mostly for want of memory; crashed; or never begun."""
    if exit_code is None or exit_code == -9:
        return "Its kernel died, most often for want of memory; run again to resume"
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        return (f"Its kernel crashed within a library ({name}); run again to resume, where it "
                "trains with precision='32-true'")
    return (f"Its kernel ended with exit code {exit_code}: is ipykernel whole in {sys.executable}? "
            "pip install -r requirements.txt")


def write_report(page, values):
    """Execute notebook 06 without what it prints, leaving no notebook, and export it as `page`.

    values  its parameters by name; others are passed over, so a notebook may give its `globals()`.
    Raises RuntimeError with one sentence when it fails or is stopped.
    """
    parameters = parameters_of(runs.NOTEBOOKS / f"{EVALUATION}.ipynb")
    parameters |= {name: values[name] for name in parameters if name in values}
    parameters["interactive"] = False
    job = Job(EVALUATION, parameters, page=Path(page))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        error, _ = executed(job, runs.Run("report"), Path(folder) / f"{EVALUATION}.ipynb")
    if error is not None:
        raise RuntimeError(f"{page}: the report can't be made. {told(error)}") from error
