"""A notebook's own cells in this very process, without a kernel: what torchrun starts many of."""

import contextlib
import os
import traceback

from helpers import files, runs, together


@contextlib.contextmanager
def joined():
    """Meet the others where torchrun has started several; all but the first are silent."""
    if not together.is_launched():
        yield
        return
    together.join()
    with contextlib.ExitStack() as opened:
        if together.rank():
            nowhere = opened.enter_context(open(os.devnull, "w"))
            opened.enter_context(contextlib.redirect_stdout(nowhere))
        yield
    together.leave()


def executed(job, run, out):
    """Execute the code cells of a job's notebook one after the other, as `jobs.executed` does in a
    kernel; no copy of the notebook is kept, and nothing is drawn on the way.

    returns  (error or None, no signals: a training sees to them itself).
    """
    try:
        run_cells(job.notebook, job.parameters)
    except KeyboardInterrupt:
        return KeyboardInterrupt("SIGINT"), []
    except Exception as error:
        traceback.print_exc()
        error.ename, error.evalue = type(error).__name__, str(error)
        return error, []
    together.wait()  # until the first one has written the last file
    return None, []


def run_cells(notebook, parameters):
    """Run the code cells of a notebook as a kernel would, with these parameters."""
    cells = files.read_json(runs.NOTEBOOKS / f"{notebook}.ipynb")["cells"]
    names = {"__name__": "__main__", "display": lambda *_: None}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{notebook}, cell {number}", "exec"), names)
            if "parameters" in cell["metadata"].get("tags", []):
                names |= parameters
